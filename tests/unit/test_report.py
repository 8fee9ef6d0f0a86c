"""The page of a deploy: whatever is on it is text, and a browser runs and fetches nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import profiling, report, terminal
from fabrelease.tasks.engine.errors import Error, UsageError
from fabrelease.tasks.engine.git import Between
from fabrelease.tasks.engine.profiling import Profile, Span
from fabrelease.tasks.engine.remote import kinds
from fabrelease.tasks.engine.report import Changed, Report
from fabrelease.tasks.engine.terminal import Line

HOSTILE = "</pre></style></title>--><script>alert(1)</script><img src=x onerror='alert(1)'>\"&quot;"


class Read(HTMLParser):
    """What a browser finds in a page: elements with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(said: str) -> Read:
    """A page on which everything that others could have written is this."""
    made = Report(stage=said, release=said, revision=said, error=said, who=said)
    made.changes = [
        Changed(said, said, Between([(said, said)], [(said, said)]), {said: f"--- a\n+++ b\n@@ -1 +1 @@\n+{said}"}),
        Changed("web2", "", None, {}),
    ]
    profile = Profile("deploy", [Span(said, "host", said, 0.0, 1.0)], {}, 2.0)
    return Read(made.page(profile, [Line(0.0, said, "start", said, "green"), Line(1.0, said, "", said, "")]))


def test_a_hostile_value_is_text_wherever_it_stands() -> None:
    read = page(HOSTILE)
    assert read.elements == page("tame").elements
    assert {"script", "img", "link", "a", "form"}.isdisjoint(tag for tag, _ in read.elements)
    assert read.text.count(HOSTILE) == page("tame").text.count("tame") >= 15


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
def test_any_value_leaves_the_page_as_it_is_made(said: str) -> None:
    assert Counter(map(str, page(said).elements)) == Counter(map(str, page("tame").elements))


def test_the_browser_is_forbidden_to_run_and_to_fetch_anything() -> None:
    (policy,) = [
        dict(attributes)["content"] for tag, attributes in page("").elements if ("http-equiv", "Content-Security-Policy") in attributes
    ]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def test_a_deploy_that_failed_has_its_page_with_all_that_was_said(tmp_path: Path) -> None:
    file = tmp_path / "deploy.html"
    with pytest.raises(Error), report.writing(str(file)) as made:
        made.revision = "1a2b3c4 Begin"
        terminal.say("web1", "push", "1a2b3c4 is next")
        terminal.output("web1", "\x1b[31mred\x1b[0m \x07bell")
        with profiling.span("git", "git show"):
            raise Error(kinds.ARGUMENT, "web1: it did not answer")
    text = Read(file.read_text()).text
    assert [found for found in ("failed", "1a2b3c4 is next", "red \\x07bell", "web1: it did not answer", "git show") if found not in text] == []
    assert list(spans_kept()) == []


def spans_kept() -> Iterator[str]:
    """What goes on being kept after a report."""
    yield from [] if profiling._spans is None else ["spans"]
    yield from [] if terminal._lines is None else ["lines"]


def test_a_file_that_cannot_be_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere/deploy.html"):
        with pytest.raises(UsageError, match=re.escape(str(path))), report.writing(str(path)):
            raise AssertionError("it has begun")


def test_without_a_file_nothing_is_kept() -> None:
    with report.writing(None) as made:
        assert not made.is_wanted
        assert list(spans_kept()) == []
