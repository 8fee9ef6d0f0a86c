"""A plan in words, what of two configurations differs, and which commits lie between two revisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabrelease.tasks.engine import foresight, git
from fabrelease.tasks.plan import describe
from tests.apps import make_repository
from tests.documents import example

LIVE = {"id": "20261121T072953Z-74ddfc1", "revision": "74ddfc1", "subject": "Read settings"}


def plan(**more: Any) -> dict[str, Any]:
    return {"setup": [], "set_up": True, "live": LIVE, "last": None, "next": None, **more}


def test_a_whole_plan_in_words() -> None:
    assert describe(example("plan")["hosts"][0]) == [
        "setup would mend: there is no /etc/nginx/sites-enabled/mysite.conf",
        "deploy would put c5f1284 Greet the world live in place of 74ddfc1 Read settings from the environment",
        "+ c5f1284 Greet the world",
        "- 30b1a2c Try something",
        "environment 6f0a3c5: made anew",
        "~ django 5.2.8 → 6.0.1",
        "not pinned, so that newer ones may come: gunicorn",
        "+ pages/migrations/0002_echo_revision.py",
        "secrets added: TOKEN",
        "changed: config/environment",
        "@@ -2,3 +2,3 @@",
        "-COLOUR=red",
        "+COLOUR=blue",
        "the last deploy took 10 s, from its first file to its first visitor",
    ]


def test_nothing_to_do_no_setup_and_a_first_release_in_words() -> None:
    assert describe(plan()) == [
        "setup would change nothing",
        "deploy would change nothing: 74ddfc1 Read settings is live with these settings",
    ]
    assert describe(plan(set_up=False, live=None))[-1] == "deploy needs setup first: fab setup"
    environment = {"name": "", "reused": False, "source": None, "problem": "there is no Python 3.99", "packages": None}
    following = {**LIVE, "environment": environment, "migrations": None, "come": None, "gone": None, "files": None, "secrets": None}
    assert describe(plan(live=None, next=following))[1:] == [
        "deploy would put 74ddfc1 Read settings live",
        "nothing is live yet: it would be the first release",
        "the environment could not be made: there is no Python 3.99",
    ]
    assert "not in this repository" in "\n".join(describe(plan(next=following)))


def test_files_that_come_go_and_change() -> None:
    found = foresight.compare({"a": "1\n2\n", "b": "x\n", "c": "same"}, {"a": "1\n3\n", "c": "same", "d": "new\n"})
    assert [(one.file, one.change) for one in found] == [("a", "changed"), ("b", "gone"), ("d", "new")]
    assert found[0].diff == "--- live/a\n+++ next/a\n@@ -1,2 +1,2 @@\n 1\n-2\n+3"


def test_commits_between_two_revisions(tmp_path: Path) -> None:
    repository = make_repository("tinysite", tmp_path / "app", ("one", "two"))
    one, two = (git.resolve(repository.path, ref) for ref in ("one", "two"))
    ahead, behind = git.between(one.commit, two), git.between(two.commit, one)
    assert ahead is not None
    assert ahead == git.Between([(two.short, two.subject)], [])
    assert behind == git.Between([], [(two.short, two.subject)])
    assert git.between(one.commit, one) == git.Between([], [])
    assert git.between("0" * 40, one) is None
    assert git.between("--output=x", one) is None


def test_the_files_of_requirements_of_a_revision(tmp_path: Path) -> None:
    repository = make_repository("tinysite", tmp_path / "app", ("one",))
    (repository.path / "deploy").mkdir()
    (repository.path / "deploy/base.txt").write_text("six\n")
    repository.commit("more")
    found = git.read_files(git.resolve(repository.path, "more"), foresight.REQUIREMENTS)
    assert {"requirements.txt", "deploy/base.txt"} <= set(found)
    assert found["deploy/base.txt"] == "six\n"
    assert not any(name.endswith(".py") for name in found)
