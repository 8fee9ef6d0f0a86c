"""What an application's programs use of the machine at this moment."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TypedDict

from . import killing, releases
from .application import WEB, Application
from .machine import HOST, managers_of

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
USER_TIME, SYSTEM_TIME, RESIDENT = 11, 12, 21  # fields of /proc/<pid>/stat after the name


class Use(TypedDict):
    """One program with all that it has started.

    ``cpu`` is in seconds since those were started, ``memory`` in bytes (pages that are shared count for each).
    """

    role: str
    release: str
    state: str
    pid: int
    processes: int
    since: float
    cpu: float
    memory: int


class Look(TypedDict):
    """All of them; ``at`` is in seconds of the host's own clock, ``now`` since 1970."""

    current: str | None
    at: float
    now: float
    uses: list[Use]


def look(application: Application) -> Look:
    """Look once.

    :raises Failed: a manager does not answer.
    """
    found: list[Use] = []
    for manager in map(HOST.manager, managers_of(application)):
        for program in manager.programs(application):
            release = releases.of_program(program.name) or ""
            pids = killing.with_descendants([program.pid]) if program.pid else set()
            cpu, memory = _sum(pids)
            found.append(
                {
                    "role": program.name[len(f"{application.name}-{release}-") :] or WEB,
                    "release": release,
                    "state": program.state,
                    "pid": program.pid,
                    "processes": len(pids),
                    "since": program.since,
                    "cpu": cpu,
                    "memory": memory,
                }
            )
    return {
        "current": releases.linked(application.root, "current"),
        "at": time.monotonic(),
        "now": time.time(),
        "uses": sorted(found, key=lambda use: (use["release"], use["role"] != WEB, use["role"])),
    }


def _sum(pids: set[int]) -> tuple[float, int]:
    cpu = memory = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            fields = killing.read(pid, "stat").rsplit(")", 1)[1].split()
            cpu += int(fields[USER_TIME]) + int(fields[SYSTEM_TIME])
            memory += int(fields[RESIDENT]) * PAGE
    return cpu / TICKS, memory
