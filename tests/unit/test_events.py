"""What a change tells: events to programs, what is wrong to who wants quiet, and what Ctrl-C means."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

import pytest
from invoke.context import Context

from fabrelease.tasks.engine import events, interruption, terminal
from fabrelease.tasks.engine.errors import Error, HostError, HostErrors, UsageError
from fabrelease.tasks.engine.remote import kinds
from fabrelease.tasks.engine.verb import verb
from tests.documents import documented, example, flatten

FAILURES = HostErrors(
    [HostError(kinds.HOOK, "web1", "it failed", "mend it"), HostError(kinds.DISK_FULL, "web2", "no room", needs_person=True)]
)


@verb(together=True)
def change(c: Context, fails: bool = False) -> None:
    """Main: change something."""
    with terminal.working("looking: web1"):
        terminal.say("web1", "push", "sent 1 kB")
    terminal.output("web1", "collected")
    terminal.say("", "notify", "nobody was told", "yellow")
    terminal.say("web1", "switch", "it is live", "green", release="R")
    if fails:
        raise FAILURES


@verb()
def answer(c: Context, json: bool = False, error: Error | None = None) -> None:
    """Look: answer something."""
    if error:
        raise error


@pytest.fixture(autouse=True)
def _console_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "console", terminal.console.__wrapped__)


def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


def documented_shape(event: dict[str, Any]) -> bool:
    keys = documented("events")
    return all(types <= keys[key] for key, types in flatten(event).items())


def test_a_change_is_told_to_programs_line_by_line_and_to_nobody_else(capsys: pytest.CaptureFixture[str]) -> None:
    change(Context(), json=True)
    written, said = capsys.readouterr()
    told = lines(written)
    assert said == ""
    assert all(documented_shape(event) for event in told)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time")) for event in told)
    assert told[-1].pop("seconds") < 10
    assert told == [
        {"event": "begin", "version": 1, "command": "change"},
        {"event": "working", "text": "looking: web1"},
        {"event": "step", "host": "web1", "step": "push", "level": "info", "text": "sent 1 kB"},
        {"event": "output", "host": "web1", "text": "collected"},
        {"event": "step", "host": None, "step": "notify", "level": "warning", "text": "nobody was told"},
        {"event": "step", "host": "web1", "step": "switch", "level": "good", "text": "it is live", "release": "R"},
        {"event": "end", "exit_status": 0},
    ]


def test_a_change_that_fails_is_told_with_the_code_of_each_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostErrors):
        change(Context(), fails=True, json=True)
    *_, first, second, last = lines(capsys.readouterr().out)
    assert (first["code"], first["host"], first["message"]) == ("FR-407", "web1", "web1: it failed\n  mend it")
    assert (second["event"], second["code"], second["host"]) == ("error", "FR-309", "web2")
    assert (last["event"], last["exit_status"]) == ("end", 3)


def test_afterwards_people_are_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    change(Context(), json=True)
    capsys.readouterr()
    change(Context())
    written, said = capsys.readouterr()
    assert written == ""
    assert [line.split()[1] for line in said.splitlines()] == ["push", "|", "nobody", "switch"]


def test_quiet_says_only_what_is_not_as_it_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    change(Context(), quiet=True)
    written, said = capsys.readouterr()
    assert (written, said.split()) == ("", ["notify", "nobody", "was", "told"])


def test_the_examples_of_the_events_have_every_documented_key() -> None:
    told = example("events")
    assert all(documented_shape(event) for event in told)
    assert {key for event in told for key in event} == set(documented("events"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UsageError(kinds.REVISION, "no such"), [{"code": "FR-110", "host": None, "message": "no such"}]),
        (FAILURES, FAILURES.plain()),
    ],
)
def test_a_command_without_an_answer_tells_programs_why(
    error: Error, expected: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Error):
        answer(Context(), json=True, error=error)
    (told,) = lines(capsys.readouterr().out)
    assert told == {"version": 1, "errors": expected}
    with pytest.raises(Error):
        answer(Context(), error=error)
    assert capsys.readouterr().out == ""


def test_the_second_ctrl_c_only_explains(capfd: pytest.CaptureFixture[str]) -> None:
    def leave() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        finally:  # sessions are closed, others are told
            os.kill(os.getpid(), signal.SIGINT)
            ended.append("orderly")

    ended: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Error, match="interrupted; each host goes back by itself") as interrupted, interruption.explained():
        leave()
    assert (ended, interrupted.value.kind, interrupted.value.code) == (["orderly"], kinds.INTERRUPTED, 1)
    assert "It is ending already" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_host_says_stays_in_the_line_of_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    with events.telling("deploy"):
        terminal.output("web1", "one\ntwo \x1b[2J")
    assert [event["event"] for event in lines(capsys.readouterr().out)] == ["begin", "output", "end"]
