"""The deploy lock, held by real sessions on this machine: who has it is said rightly, and nobody else can take it."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import lock, wire
from fabrelease.tasks.engine.remote.failure import Failed
from tests.unit.agents import Agent, agent

CALLS = """\
import os
from fabrelease.tasks.engine.remote import lock

lock.FOLDER = os.path.dirname(__file__) + "/locks"
take, finishing, state = lock.take, lock.finishing, lock.state
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "calls.py").write_text(CALLS)
    monkeypatch.setattr(lock, "FOLDER", str(tmp_path / "locks"))
    monkeypatch.setattr(lock, "_held", {})
    return tmp_path


@contextmanager
def holder(place: Path, who: str = "alice@laptop") -> Iterator[Agent]:
    """A session that has the lock."""
    with agent(place) as far:
        far.call(("calls:take", "site", str(place), who, "deploy of 1234567"))
        kind, answer = far.frame()
        assert kind == wire.RESULT, answer
        yield far


def test_only_its_owner_may_open_it(place: Path) -> None:
    with holder(place):
        assert stat.S_IMODE((place / "locks").stat().st_mode) == 0o700
        assert stat.S_IMODE((place / "locks/site.lock").stat().st_mode) == 0o600


def test_who_comes_second_is_told_who_has_it_and_what_for(place: Path) -> None:
    with holder(place):
        with pytest.raises(Failed, match=r"^alice@laptop has the deploy lock since 20\S+Z, for: deploy of 1234567$"):
            lock.take("site", str(place), "bob@desk", "deploy")
        held = lock.state("site", str(place))["lock"]
        assert (held["who"], set(held)) == ("alice@laptop", {"who", "what", "since", "finishing"})  # docs/json.md
    assert lock.state("site", str(place))["lock"] is None
    lock.take("site", str(place), "bob@desk", "deploy")


def test_a_dead_holder_is_not_blamed_for_what_another_has_taken(place: Path) -> None:
    with holder(place) as first:
        first.call(("calls:finishing", "site"))
        first.frame()
    path = place / "locks/site.lock"
    left = json.loads(path.read_text())
    assert (left["who"], left["finishing"]) == ("alice@laptop", True)
    with holder(place, "carol@home"):
        path.write_text(json.dumps(left))  # carol has it, and has not written so yet
        began = time.monotonic()
        with pytest.raises(Failed, match=r"^somebody has the deploy lock"):
            lock.take("site", str(place), "bob@desk", "deploy")
        assert time.monotonic() - began < lock.FINISHING_SECONDS / 2


def test_who_only_finishes_is_waited_for(place: Path) -> None:
    with holder(place) as first:
        first.call(("calls:finishing", "site"))
        first.frame()
        first.input.close()
        lock.take("site", str(place), "bob@desk", "deploy")
    assert json.loads((place / "locks/site.lock").read_text())["who"] == "bob@desk"


def test_who_goes_on_after_finishing_is_not_waited_for(place: Path) -> None:
    with holder(place) as first:
        first.call(("calls:finishing", "site"))
        first.frame()
        first.call(("calls:state", "site", str(place)))
        first.frame()
        began = time.monotonic()
        with pytest.raises(Failed, match=r"^alice@laptop has the deploy lock"):
            lock.take("site", str(place), "bob@desk", "deploy")
        assert time.monotonic() - began < lock.FINISHING_SECONDS / 2


def test_the_next_verb_of_one_program_says_what_it_has_the_lock_for(place: Path) -> None:
    with holder(place) as first:
        first.call(("calls:finishing", "site"), ("calls:take", "site", str(place), "alice@laptop", "rollback"))
        first.frame(), first.frame()
        held = lock.state("site", str(place))["lock"]
        assert (held["what"], held["finishing"]) == ("rollback", False)


def test_a_lock_that_everybody_may_open_is_not_used(place: Path) -> None:
    old = place / "site.lock"
    old.touch(0o644)
    with holder(place), old.open() as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert os.path.getsize(old) == 0
