"""What --profile tells: sums, rows, a picture that any text survives."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks import ns
from fabrelease.tasks.engine import profiling
from fabrelease.tasks.engine.profiling import Profile, Span, Traffic

SPANS = [
    Span("", "start", "start Python, import", 0.0, 0.2),
    Span("", "git", "git rev-parse", 0.2, 0.21),
    Span("", "git", "git show", 0.21, 0.22),
    Span("web1", "connect", "connect, log in", 0.25, 0.35),
    Span("web2", "connect", "connect, log in", 0.25, 0.45),
    Span("web1", "host", "cutover.start", 0.5, 0.9),
]
PROFILE = Profile("deploy", SPANS, {"web1": Traffic(1, 9, 12_345, 678), "web2": Traffic()}, 1.0)


def test_time_in_which_nothing_was_recorded_was_spent_here() -> None:
    assert profiling.covered(SPANS) == pytest.approx(0.22 + 0.2 + 0.4)
    assert "computed here 0.18 s" in next(line for line in PROFILE.lines() if line.startswith("this machine:"))


def test_each_host_is_told_its_time_channels_round_trips_and_bytes() -> None:
    said = "\n".join(PROFILE.lines())
    assert "web1: connecting 0.10 s, on the host 0.40 s\n" in said
    assert "1 SSH channel, 9 round trips, 12.3 kB sent, 678 bytes received" in said
    assert "web2: connecting 0.20 s\n" in said


def test_what_follows_on_itself_is_one_row() -> None:
    names = [(row.name, round(row.seconds, 3)) for row in profiling.merged(SPANS)]
    assert names[1:3] == [("git rev-parse and 1 more", 0.02), ("connect, log in", 0.1)]


def test_the_picture_has_a_bar_for_each_row(tmp_path: Path) -> None:
    data, picture = PROFILE.save(tmp_path / "fabrelease/profile")
    assert json.loads(data.read_text())["spans"][1]["name"] == "git rev-parse"
    drawn = ElementTree.parse(picture).getroot()
    texts = [text.text or "" for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "web1 cutover.start, 400 ms" in texts
    assert sum(", 20 ms" in text or ", 200 ms" in text or ", 100 ms" in text for text in texts) == 4
    assert (tmp_path / "fabrelease/.gitignore").read_text() == "*\n"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")))
def test_a_name_of_any_text_stays_text_in_the_picture(name: str) -> None:
    drawn = ElementTree.fromstring(Profile("x", [Span(name, "host", "y", 0, 1)], {}, 1.0).picture())
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert (f"{name} y, 1000 ms" if name else "y, 1000 ms") in texts


def test_nothing_is_kept_when_nobody_asked() -> None:
    with profiling.span("local", "nothing"):
        pass
    assert profiling._spans is None


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_every_command_takes_profile(name: str) -> None:
    (option,) = [argument for argument in ns[name].get_arguments() if argument.name == "profile"]
    assert option.kind is bool
    assert option.default is False
