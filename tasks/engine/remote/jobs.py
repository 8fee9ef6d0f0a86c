"""Timed jobs, and how they are: which one runs, how the last run ended, when the next one is."""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from . import kinds, process, releases, times, unitfiles
from .application import Application
from .failure import Failed
from .unitfiles import SERVICE, TIMER, Shown

IN_UTC = {"TZ": "UTC"}
STAMP = "%a %Y-%m-%d %H:%M:%S UTC"
SHOWN = (
    *("Id", "ActiveState", "UnitFileState", "NeedDaemonReload", "MainPID", "Result", "ExecMainStatus"),
    *("ExecMainStartTimestamp", "ExecMainExitTimestamp", "ActiveEnterTimestamp", "InactiveExitTimestamp"),
    *("LastTriggerUSec", "NextElapseUSecRealtime"),
)
WHY = {
    "exit-code": "exit status {status}",
    "oom-kill": "it was killed for want of memory",
    "signal": "it was killed by signal {status}",
    "timeout": "it took longer than its timeout and was ended",
}
LETTERS = ((3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class Job:
    """A timed job of a release, as its release.json says it.

    :ivar at: the calendar event that it runs at; empty where it runs every so often.
    :ivar every: seconds from one start to the next; 0 where it runs at a time.
    """

    name: str
    at: str
    every: int


class State(TypedDict):
    """How a job is. Times are UTC.

    ``when`` is as in the settings. ``started`` and ``ended`` are of the last run since the machine was started, None
    where there was none; ``ended`` is None while it runs, too. ``result`` is systemd's word, ``success`` where all is
    well, and None before the first run and while it runs; ``why`` puts a failure in words. ``next`` is None where it
    does not run again.
    """

    name: str
    when: str
    started: str | None
    ended: str | None
    result: str | None
    why: str
    next: str | None


def of_release(release: releases.Release) -> list[Job]:
    """The jobs of a release; none before it was configured."""
    return [Job(**job) for job in release.get("schedule", [])]


def live(application: Application) -> list[Job]:
    """The live release's jobs; none where nothing is live."""
    current = releases.linked(application.root, "current")
    return of_release(releases.read(application.root, current)) if current else []


def unit(application: Application, job: str) -> str:
    """The name of a job's units, without ending. No application and no job has a dot in its name."""
    return f"fabrelease-{application.name}.{job}"


def has_started(application: Application, group: str) -> bool:
    """Whether the control group of a process (/proc/PID/cgroup) says that a job of an application has started it."""
    pattern = rf"/{re.escape(unit(application, ''))}[\w-]+\{SERVICE}(/|$)"
    return re.search(pattern, group, re.MULTILINE) is not None


def show(names: Sequence[str]) -> dict[str, Shown]:
    """What systemd shows of units, by their names.

    :raises Failed: it does not answer.
    """
    return {shown["Id"]: shown for shown in unitfiles.show(names, SHOWN, IN_UTC)} if names else {}


def services(application: Application) -> dict[str, Shown]:
    """The same of all services of jobs, whatever release they are of, that run or have failed."""
    return show([unit(application, "*") + SERVICE])


def states(application: Application) -> list[State]:
    """How the live release's jobs are.

    :raises Failed: systemd does not answer.
    """
    jobs = live(application)
    names = [unit(application, job.name) for job in jobs]
    shown = show([name + kind for name in names for kind in (TIMER, SERVICE)])
    return [_state(job, shown[name + TIMER], shown[name + SERVICE]) for job, name in zip(jobs, names, strict=True)]


def in_use(application: Application) -> set[str]:
    """The releases that jobs run in.

    The first process of a job's waits in its release until the job has ended; see templates/systemd/job.sh.j2.
    """
    known = (releases.read(application.root, name) for name in releases.ids(application.root))
    if not any(map(of_release, known)):
        return set()
    pids = (int(shown.get("MainPID", "0")) for shown in services(application).values())
    return {name for pid in pids if pid and (name := _release_of(application, pid))}


def start(application: Application, name: str) -> None:
    """Start a job now, unless it runs.

    :raises Failed: the live release has none of that name.
    """
    names = [job.name for job in live(application)]
    if name not in names:
        known = ", ".join(names) or "none"
        raise Failed(kinds.ARGUMENT, f"there is no job called {name!r} here", f"There are: {known}")
    process.systemctl("start", "--no-block", unit(application, name) + SERVICE)


def log_command(application: Application, names: Iterable[str], follow: bool, lines: int) -> list[str]:
    """What shows what jobs have written, and what systemd says of them."""
    units = [f"--unit={unit(application, name)}{SERVICE}" for name in names]
    more = ["--follow"] if follow else []
    return ["journalctl", "--quiet", "--no-pager", "--all", "--output=short-iso", "-n", str(lines), *more, *units]


def _release_of(application: Application, pid: int) -> str | None:
    """The release that a process is in; None where it is in none of the application's."""
    try:
        place = os.readlink(f"/proc/{pid}/cwd")
    except OSError:  # it has ended
        return None
    found = re.match(rf"{re.escape(application.root)}/releases/({releases.ID.pattern})/", place)
    return found[1] if found else None


def _state(job: Job, timer: Shown, service: Shown) -> State:
    started, ended = (_seconds(service.get(f"ExecMain{what}Timestamp")) for what in ("Start", "Exit"))
    runs = service.get("ActiveState") in ("activating", "deactivating")
    result = None if runs or started is None else service["Result"]
    return {
        "name": job.name,
        "when": job.at or f"every {_span(job.every)}",
        "started": _utc(started),
        "ended": None if runs else _utc(ended),
        "result": result,
        "why": "" if result in (None, "success") else _why(str(result), service),
        "next": _utc(_next(job, timer, service)),
    }


def _next(job: Job, timer: Shown, service: Shown) -> float | None:
    """When it runs next; one that runs every so often is counted from its last start, or its timer's."""
    if not job.every:
        return _seconds(timer.get("NextElapseUSecRealtime"))
    stamps = (timer.get("ActiveEnterTimestamp"), timer.get("LastTriggerUSec"), service.get("InactiveExitTimestamp"))
    begun = [seconds for seconds in map(_seconds, stamps) if seconds is not None]
    return max(begun) + job.every if begun else None


def _why(result: str, service: Shown) -> str:
    return WHY.get(result, result).format(status=service["ExecMainStatus"])


def _span(seconds: int) -> str:
    """As the settings write it."""
    size, letter = next((size, letter) for size, letter in LETTERS if seconds % size == 0)
    return f"{seconds // size}{letter}"


def _seconds(stamp: str | None) -> float | None:
    """A time as systemd shows it in UTC, in seconds since 1970; None where there is none."""
    try:
        return float(calendar.timegm(time.strptime(stamp or "", STAMP)))
    except ValueError:
        return None


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else times.utc(seconds)
