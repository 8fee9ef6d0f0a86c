"""How many workers serve, changed while they do: a server that can takes one more at TTIN, one less at TTOU.

What was asked for is kept in a file in the application's root, and every release that goes live gets as many.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable
from typing import TypedDict

from . import agent, killing, kinds, releases, times
from .application import Application, Unit
from .failure import Failed
from .machine import HOST, Programs
from .unix import pwd

FILE = "scale"
PAUSE = 0.1  # between two signals: the kernel keeps one of a kind
SECONDS = 20.0  # for a worker to come; one that goes may have a request, and gets its time beside


class Scale(TypedDict):
    """So many workers, asked for by whom and when."""

    workers: int
    who: str
    at: str


def asked(root: str) -> Scale | None:
    """What was asked for; None where the settings decide."""
    damaged = (FileNotFoundError, ValueError, KeyError, TypeError)
    with contextlib.suppress(*damaged), open(f"{root}/{FILE}", encoding="utf-8") as file:
        found = json.load(file)
        return {"workers": int(found["workers"]), "who": str(found["who"]), "at": str(found["at"])}
    return None


def scale(application: Application, workers: int, who: str) -> int:
    """Have so many workers from now on, in the live release and in those after it.

    :returns: how many there were.
    :raises Failed: the server cannot do that while it runs, or does not come to that number.
    """
    before = _to(application, workers)
    known: Scale = {"workers": workers, "who": who, "at": times.utc()}
    releases.write_atomically(f"{application.root}/{FILE}", json.dumps(known).encode() + b"\n")
    return before


def reset(application: Application) -> int:
    """Have as many workers as the live release's settings say; how many that are.

    :raises Failed: as scale().
    """
    workers = _live(application)[1].workers
    _to(application, workers)
    releases.unlink(f"{application.root}/{FILE}")
    return workers


def keep(programs: Programs, web: Unit) -> None:
    """Give a release that was just started as many workers as were asked for.

    :param web: its server.
    :raises Failed: it does not come to that number.
    """
    found = asked(programs.application.root)
    if found is None or found["workers"] == web.workers:
        return
    if found["workers"] > web.most_workers:
        agent.output(
            f"{found['workers']} workers were asked for by fab scale, but {_cannot(web)}: it has {web.workers}"
        )
        return
    program = programs.state()
    pid = program.pid if program else 0
    _wait(lambda: len(programs.workers(pid)) >= web.workers, SECONDS)  # as many as it starts with
    _change(programs, web, pid, found["workers"])
    agent.output(f"{found['workers']} workers, as fab scale asked (web.workers: {web.workers})")


def _to(application: Application, workers: int) -> int:
    programs, web = _live(application)
    program = programs.state()
    if workers > web.most_workers:
        raise Failed(
            kinds.NOT_SCALED,
            f"{_cannot(web)}; nothing was touched",
            f"Set web.workers: {workers} and deploy: fab deploy",
        )
    if program is None or not program.pid:
        raise Failed(
            kinds.NOT_SCALED, "the live release does not run, so nothing was touched", "Look: fab status; fab logs"
        )
    before = len(programs.workers(program.pid))
    _change(programs, web, program.pid, workers)
    return before


def _cannot(web: Unit) -> str:
    if not web.most_workers:
        return "this server cannot change the number of its workers while it runs"
    return f"this server was started to have at most {web.most_workers} workers"


def _live(application: Application) -> tuple[Programs, Unit]:
    live = releases.linked(application.root, "current")
    if live is None:
        raise Failed(kinds.NOTHING_LIVE, "nothing is live, so there is nothing to scale", "Deploy first: fab deploy")
    programs = Programs(HOST, application, live)
    if programs.web is None:
        raise Failed(kinds.NOT_SCALED, "no server runs on this host", "See what does: fab status")
    return programs, programs.web


def _change(programs: Programs, web: Unit, pid: int, workers: int) -> None:
    uid = pwd.getpwnam(programs.application.user).pw_uid
    before = len(programs.workers(pid))
    for _ in range(abs(workers - before)):
        number = signal.SIGTTIN if workers > before else signal.SIGTTOU
        if not killing.send(pid, lambda pid: killing.belongs_to(pid, uid), number):
            break
        time.sleep(PAUSE)
    seconds = SECONDS + web.stop_seconds
    if not _wait(lambda: len(programs.workers(pid)) == workers, seconds):
        running = len(programs.workers(pid))
        raise Failed(
            kinds.NOT_SCALED,
            f"{running} workers run, and not {workers}, {seconds:.0f} seconds after the server was told so",
            "Look at it: fab status; fab logs --which app",
        )


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end and not agent.is_ending():
        time.sleep(PAUSE)
    return met
