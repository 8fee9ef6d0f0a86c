"""The far end of a session: what it answers, what it refuses, and what it does once nobody listens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import wire
from tests.unit.agents import Agent, agent

CALLS = '''\
"""What the tests call: each writes down what it does."""
import os, time
from fabrelease.tasks.engine.remote import agent, kinds, process
from fabrelease.tasks.engine.remote.failure import Failed

HERE = os.path.dirname(__file__)

def note(word):
    with open(HERE + "/notes", "a") as file:
        file.write(word + "\\n")

def echo(value):
    return value

def fail():
    raise Failed(kinds.LOCKED, "no", "do this", True)

def crash():
    raise KeyError("oops")

def missing():
    open("/nowhere/at all")

def say(length):
    agent.output("x" * length)

def count():
    return sum(len(piece) for piece in agent.incoming())

def first():
    return len(next(agent.incoming()))

def feed():
    return process.run(["cat"], stdin=agent.incoming()).lines

def much(size):
    return "x" * size

def going_back(seconds):
    """Like a host that has switched: it goes back, slowly, unless it hears that all have."""
    def back():
        note("going back")
        time.sleep(seconds)
        note("went back")
    agent.if_abandoned(back)

@agent.uninterrupted()
def stay():
    agent.refuse_when_ending()
    agent.if_abandoned(lambda: note("stayed"))

def long_step(seconds):
    with agent.uninterrupted():
        note("began")
        time.sleep(seconds)
        note("ended")

def later():
    agent.afterwards(lambda: note("duty"))
    agent.afterwards(crash)
    agent.before_next(lambda: note("next"))

def write_down(root):
    agent.keep_journal(root, "alice@laptop")
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with calls.py, and the notes that it leaves."""
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "notes").touch()
    return tmp_path


@pytest.fixture
def far(place: Path) -> Iterator[Agent]:
    with agent(place) as started:
        yield started


def failure(code: str, message: str, hint: str = "", needs_person: bool = False) -> dict[str, object]:
    return {"message": message, "code": code, "hint": hint, "needs_person": needs_person}


def notes(place: Path) -> list[str]:
    return (place / "notes").read_text().split("\n")[:-1]


def wait_for_note(place: Path, word: str, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while word not in notes(place):
        assert time.monotonic() < end, f"{word} is not among {notes(place)}"
        time.sleep(0.01)


def test_calls_are_answered_in_order_up_to_the_first_that_fails(far: Agent) -> None:
    far.call(("calls:echo", 1), ("calls:echo", "zwei"), ("calls:fail",), ("calls:echo", 4))
    assert [far.frame()[1]["value"] for _ in range(2)] == [1, "zwei"]
    assert far.frame() == (wire.FAILURE, failure("FR-501", "no", "do this", True))
    far.send(wire.HEARTBEAT)
    assert far.frame() == (wire.HEARTBEAT, None)


def test_an_error_of_the_system_is_a_failure_and_any_other_is_our_fault(far: Agent) -> None:
    far.call(("calls:missing",))
    kind, failed = far.frame()
    assert (kind, failed) == (wire.FAILURE, failure("FR-311", "No such file or directory: /nowhere/at all"))
    far.call(("calls:crash",))
    kind, crash = far.frame()
    assert kind == wire.CRASH
    assert "KeyError: 'oops'" in crash["traceback"]
    far.call(("calls:echo", 1))
    assert far.frame()[0] == wire.RESULT


def test_a_long_line_is_cut_and_said_to_be_cut(far: Agent) -> None:
    far.call(("calls:say", 1_000_000), ("calls:echo", 1))
    kind, said = far.frame()
    assert kind == wire.OUTPUT
    assert said["line"] == "x" * wire.LINE_CHARACTERS + " … (cut: 990000 more characters)"


def test_an_answer_that_is_too_large_is_a_failure(far: Agent) -> None:
    far.call(("calls:much", wire.FRAME_BYTES))
    kind, failed = far.frame()
    assert kind == wire.FAILURE
    assert "the answer is too large to be sent" in failed["message"]


def test_a_frame_that_is_too_large_ends_the_session(far: Agent) -> None:
    far.input.write(wire.HEADER.pack(wire.DATA, wire.FRAME_BYTES + 1))
    far.input.flush()
    assert far.process.wait(10) == 1


@pytest.mark.parametrize("function", ["count", "first", "feed"])
def test_data_that_is_given_up_fails_the_call_and_not_the_next(far: Agent, function: str) -> None:
    for _ in range(2):
        far.call((f"calls:{function}",), ("calls:echo", 1), data=True)
        far.send(wire.DATA, b"half")
        far.send(wire.ABORT)
        kind, failed = far.frame()
        assert (kind, failed["message"]) == (wire.FAILURE, "what is sent was not sent whole")
    far.call(("calls:count",), data=True)
    far.send(wire.DATA, b"whole")
    far.send(wire.END)
    assert far.frame()[1]["value"] == 5


def test_who_hears_nothing_goes_back_and_ends(place: Path) -> None:
    with agent(place, silence=1) as far:
        far.call(("calls:going_back", 0))
        far.frame()
        assert far.process.wait(10) == 1
    assert notes(place) == ["going back", "went back"]


def test_who_is_heard_does_not_go_back(place: Path) -> None:
    with agent(place, silence=1) as far:
        far.call(("calls:going_back", 0))
        for _ in range(12):
            far.send(wire.HEARTBEAT)
            time.sleep(0.25)
        assert far.process.poll() is None
    assert notes(place) == []


def test_who_goes_back_refuses_to_stay_however_soon_the_deployer_is_heard_again(place: Path) -> None:
    with agent(place, silence=1) as far:
        far.call(("calls:going_back", 2))
        far.frame()
        wait_for_note(place, "going back")
        far.call(("calls:echo", 1))
        kind, failed = far.frame()
        assert kind == wire.FAILURE
        assert "gave the session up" in failed["message"]
        far.call(("calls:stay",))
        assert far.frame()[0] in (wire.FAILURE, b"")  # refused, or the agent is gone already
        assert far.process.wait(10) == 1
    assert notes(place) == ["going back", "went back"]


def test_who_was_told_to_stay_stays(place: Path) -> None:
    with agent(place, silence=1) as far:
        far.call(("calls:going_back", 0), ("calls:stay",))
        far.frame(), far.frame()
        assert far.process.wait(10) == 1
    assert notes(place) == ["stayed"]


def test_a_step_that_must_not_be_interrupted_comes_to_its_end_first(place: Path) -> None:
    with agent(place) as far:
        far.call(("calls:going_back", 0), ("calls:long_step", 1), ("calls:echo", 1))
        far.frame()
        wait_for_note(place, "began")
        far.input.close()
        assert far.process.wait(10) == 1
    assert notes(place) == ["began", "ended", "going back", "went back"]


def test_duties_are_done_after_the_answer_and_what_is_before_the_next_only_there(place: Path) -> None:
    with agent(place) as far:
        far.call(("calls:later",))
        far.frame()
        wait_for_note(place, "duty")
        assert notes(place) == ["duty"]
        far.call(("calls:echo", 1))
        far.frame()
        assert notes(place) == ["duty", "next"]


def test_what_a_session_does_and_what_fails_is_written_down(place: Path) -> None:
    (place / "logs").mkdir()
    with agent(place) as far:
        far.call(("calls:fail",))
        far.call(("calls:write_down", str(place)), ("calls:later",), ("calls:fail",))
        for _ in range(4):
            far.frame()
        far.input.close()
        far.process.wait(10)
    log = (place / "logs/fabrelease.log").read_text().splitlines()
    assert all(line[:4] == time.strftime("%Y") and " alice@laptop: " in line for line in log)
    words = [line.split(" alice@laptop: ")[1] for line in log]
    assert words[0].startswith("calls:write_down: done in 0.")
    assert words[1].startswith("calls:later: done in 0.")
    assert words[2] == "failed: no"
    assert "KeyError: 'oops'" in words[3]
    assert words[4:] == ["end of the session"]


def test_a_log_that_is_a_link_is_not_written_to(place: Path) -> None:
    (place / "logs").mkdir()
    (place / "logs/fabrelease.log").symlink_to(place / "other")
    with agent(place) as far:
        far.call(("calls:write_down", str(place)), ("calls:echo", 1))
        assert [far.frame()[0] for _ in range(2)] == [wire.RESULT] * 2
    assert not os.path.lexists(place / "other")
