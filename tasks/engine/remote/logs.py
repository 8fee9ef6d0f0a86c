"""The logs on a host."""

from __future__ import annotations

import glob
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from . import agent, kinds, process
from .application import Application
from .failure import Failed

OWN = "fabrelease.log"  # what the host's side of a command did by itself
SECONDS = 60.0
LINES = 15
BYTES = 64000
TRACEBACK = "Traceback (most recent call last):"
CAUSE = 10  # lines of the first traceback
WIDTH = 1000  # characters of a line


class Log(Protocol):
    """What a program has written since some moment."""

    def lines(self) -> list[str]:
        """All of it that is kept, in order."""


def telling(lines: list[str], most: int = LINES) -> list[str]:
    """The few lines that say why a program did not start: the end of the first traceback, and the last lines.

    Where several workers fail the same way, or a server has a traceback of its own about that, the last lines alone
    would not hold the reason.
    """
    lines = [line if len(line) <= WIDTH else f"{line[:WIDTH]}…" for line in lines]
    first = next((at for at, line in enumerate(lines) if TRACEBACK in line), None)
    inside = range(len(lines) if first is None else first + 1, len(lines))
    end = next((at for at in inside if not lines[at].startswith((" ", "\t"))), len(lines)) + 1
    if end > len(lines) - most:
        return lines[-most:]
    cause = lines[max(inside.start - 1, end - CAUSE) : end]
    return [*cause, "…", *lines[-(most - len(cause) - 1) :]]


class Tail(Log):
    """The end of a file, from a position on.

    :param offset: the position; by default where the log ends now.
    """

    def __init__(self, path: str, offset: int | None = None) -> None:
        self.path = path
        self.offset = offset if offset is not None else _size(path)

    def lines(self) -> list[str]:
        """The end of it; a log that is shorter than the position was begun anew."""
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(self.offset if self.offset <= size else 0, size - BYTES))
                return file.read(BYTES).decode(errors="replace").splitlines()
        except OSError:
            return []


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def show(application: Application, manager: str, which: str, follow: bool, lines: int) -> None:
    """Write the ends of the logs, and with *follow* what comes after, until the session ends.

    :param manager: the name of the application's manager.
    :param which: ``app``, ``nginx``, ``fabrelease``, the manager's name or a job's; all of them where it is empty.
    """
    from . import drivers, jobs  # which need this module for their own logs

    driver = drivers.manager(manager)
    named: dict[str, list[str]] = {"app": [], "nginx": [], manager: [], "fabrelease": []}
    for path in sorted(glob.glob(f"{glob.escape(application.root)}/logs/*.log")):
        name = os.path.basename(path)
        kind = "fabrelease" if name == OWN else "nginx" if name.startswith("nginx-") else "app"
        named[kind].append(path)
    named[manager] = [path for pattern in driver.own_logs for path in glob.glob(pattern)]
    scheduled = [job.name for job in jobs.live(application)]
    if which and which not in (*named, *scheduled):
        known = ", ".join((*named, *scheduled))
        raise Failed(kinds.ARGUMENT, f"there are no logs called {which!r}", f"There are: {known}")
    paths = named.get(which, []) if which else [path for listed in named.values() for path in listed]
    commands = [_tail(paths, follow, lines)] if paths else []
    if which in ("", "app") and (command := driver.log_command(application, follow, lines)):
        commands.append(command)
    elif shown := [job for job in scheduled if which in ("", job)]:  # else they are in what it shows of the user's
        commands.append(jobs.log_command(application, shown, follow, lines))
    if not commands:
        raise Failed(kinds.NOTHING_LIVE, "there are no logs yet", "They are written once a release runs: fab deploy")
    with ThreadPoolExecutor(len(commands)) as pool:
        for done in [pool.submit(_show, command, follow) for command in commands]:
            done.result()


def _tail(paths: list[str], follow: bool, lines: int) -> list[str]:
    return ["tail", "-v", "-n", str(lines), *(["-F"] if follow else []), "--", *paths]


def _show(command: list[str], follow: bool) -> None:
    process.run(command, on_line=agent.output, timeout=None if follow else SECONDS)
