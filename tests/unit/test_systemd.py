"""What systemd shows of a unit, read as what it means for a release."""

from __future__ import annotations

import json

import pytest

from fabrelease.tasks.engine.remote.application import Application
from fabrelease.tasks.managers import systemd

NAME = "shop-20261121T104500Z-1a2b3c4"


def shown(active: str, sub: str, result: str = "success", job: str = "", pid: int = 0) -> dict[str, str]:
    return {"ActiveState": active, "SubState": sub, "Result": result, "Job": job, "MainPID": str(pid)}


@pytest.mark.parametrize(
    ("service", "is_up", "is_broken"),
    [
        (shown("inactive", "dead", job="812"), True, False),  # told to start, and systemd has not come to it
        (shown("inactive", "dead", "exit-code", job="812"), True, False),  # the same after an earlier run that failed
        (shown("failed", "failed", "exit-code", job="812"), True, False),
        (shown("activating", "start", pid=7), True, False),
        (shown("active", "running", pid=7), True, False),
        (shown("activating", "auto-restart", "exit-code"), False, True),
        (shown("activating", "auto-restart-queued", "exit-code"), False, True),  # as systemd 254 calls it
        (shown("failed", "failed", "exit-code"), False, True),
        (shown("inactive", "dead", "signal"), False, True),
        (shown("inactive", "dead"), False, False),
        (shown("deactivating", "stop-sigterm", pid=7), False, False),
    ],
)
def test_what_is_told_to_start_is_up_and_what_died_is_broken(
    service: dict[str, str], is_up: bool, is_broken: bool
) -> None:
    program = systemd._program(NAME, service, None)
    assert (program.is_up, program.is_broken, program.listener) == (is_up, is_broken, 0)


@pytest.mark.parametrize(
    ("service", "socket", "state", "is_up"),
    [
        ({}, shown("active", "listening"), "listening", True),
        (shown("inactive", "dead"), shown("active", "listening"), "listening", True),
        (shown("inactive", "dead"), shown("inactive", "dead", job="9"), "listening", True),
        (shown("active", "running", pid=7), shown("active", "running"), "running", True),
        (shown("inactive", "dead"), shown("failed", "failed", "resources"), "dead", False),
        (shown("activating", "auto-restart", "exit-code"), shown("active", "running"), "auto-restart", False),
    ],
)
def test_a_program_with_a_socket_is_up_while_that_listens_and_systemd_is_who_does(
    service: dict[str, str], socket: dict[str, str], state: str, is_up: bool
) -> None:
    program = systemd._program(NAME, service, socket)
    assert (program.state, program.is_up, program.listener) == (state, is_up, 1)


def test_a_unit_is_down_when_it_has_stopped_and_is_told_nothing() -> None:
    assert systemd._is_down(shown("inactive", "dead"))
    assert systemd._is_down(shown("failed", "failed", "signal"))
    assert not systemd._is_down(shown("deactivating", "final-sigkill"))  # its main process is gone, others are not
    assert not systemd._is_down(shown("inactive", "dead", job="3"))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (json.dumps({"MESSAGE": "plain"}), "plain"),
        (json.dumps({"MESSAGE": [0x61, 0xFF]}), "a\ufffd"),
        (json.dumps({"MESSAGE": None}), ""),
        ('{"MESSAGE": "cut', ""),
    ],
)
def test_what_the_journal_holds_is_read_whatever_was_written(line: str, text: str) -> None:
    assert systemd._message(systemd._entry(line)) == text


def test_what_this_project_says_itself_cannot_be_set() -> None:
    assert [name for name in ("User", "ExecStart", "MemoryMax", "ProtectSystem") if systemd.DRIVER.refuses(name)] == [
        "User",
        "ExecStart",
    ]


def test_what_setup_makes_is_missing_where_it_was_not_run() -> None:
    application = Application("never-set-up", "/srv/never-set-up", "nobody", 5)
    (unit,) = systemd.DRIVER.resources(application)
    assert unit.drift() == "there is no /etc/systemd/system/fabrelease-never-set-up.service"
    assert unit.removable() == []
