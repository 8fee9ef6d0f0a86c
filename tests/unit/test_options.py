"""Hostile values for what is typed on the command line: refused in words, or exactly what was meant; never executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrelease.tasks.engine import git, level, terminal
from fabrelease.tasks.engine.errors import HostError, UsageError
from fabrelease.tasks.engine.remote import releases
from tests.apps import Repository, make_repository

# No NUL: a command line cannot hold one.
PIECES = ["-", "--", "one", "main", "HEAD", "@{", "^{", "}", "~", ":", "/", "..", "$(touch owned)", "`touch owned`", ";touch owned"]
PIECES += ["--output=owned", "--upload-pack=touch owned", "\n", "%s", "{}", "'", '"', " ", "é", "x" * 10_000]
hostile = st.lists(st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=5).map("".join)
GOOD, BAD = "20260101T000000Z-1111111", "20260102T000000Z-2222222"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return make_repository("tinysite", tmp_path_factory.mktemp("options") / "app")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("options")
    for name, state in ((GOOD, "good"), (BAD, "bad")):
        (path / f"releases/{name}").mkdir(parents=True)
        (path / f"releases/{name}/release.json").write_text(f'{{"id": "{name}", "state": "{state}"}}')
    return str(path)


def files(path: Path) -> set[Path]:
    return {found for found in path.rglob("*") if ".git/objects" not in str(found)}


@settings(deadline=None, max_examples=150)
@given(ref=hostile)
def test_any_ref_is_a_commit_of_the_repository_or_refused(repository: Repository, ref: str) -> None:
    before = files(repository.path)
    try:
        found = git.resolve(repository.path, ref)
    except UsageError as error:
        assert terminal.visible(ref.strip("\n")) in str(error)
    else:
        assert repository.git("cat-file", "-t", found.commit).strip() == "commit"
    assert files(repository.path) == before


@settings(deadline=None, max_examples=300)
@given(to=hostile | st.sampled_from([GOOD, GOOD[:9], "1111111", "111", BAD, "2222"]))
def test_a_rollback_goes_to_a_good_release_or_nowhere(root: str, to: str) -> None:
    try:
        chosen = level.choose({"web1": level.standing(releases.listing(root))}, to)
    except HostError as failed:
        assert "nothing was touched" in str(failed)
        assert to not in (GOOD, GOOD[:9], "1111111", "111")
    else:
        assert chosen == GOOD
        assert GOOD.startswith(to) or (GOOD.endswith("-1111111") and "1111111".startswith(to))
