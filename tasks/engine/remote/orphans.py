"""Processes of the application's user that have lost the manager that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable

from . import cgroup, jobs, killing
from .application import Application
from .unix import pwd

SECONDS = 5
PAUSE = 0.02


def end(
    application: Application, live: str | None, started: Callable[[str], bool], known: Callable[[], Collection[int]]
) -> list[int]:
    """End processes that run our releases and have no parent any more, with all they started.

    One that runs the live release has been replaced by another, which has its socket's name: ended gracefully, it
    would take that name away.

    :param live: the id of the live release.
    :param started: whether a control group says that a manager of the application's had started who is in it.
    :param known: the pids of the managers' programs.
    """
    uid, place = pwd.getpwnam(application.user).pw_uid, f"{application.root}/releases/{live}/"
    found = set(_orphans(application, uid, started, known()))
    _end([pid for pid in found if not _place(pid).startswith(place)], uid, signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    while (left := _orphans(application, uid, started, known())) and time.monotonic() < deadline:
        found.update(left)
        _end(left, uid, signal.SIGKILL)
        time.sleep(PAUSE)
    return sorted(found)


def kill(pids: Iterable[int], user: str) -> None:
    """Kill programs of a user's and all that they started, and no other user's process."""
    _end(pids, pwd.getpwnam(user).pw_uid, signal.SIGKILL)


def _end(pids: Iterable[int], uid: int, number: int) -> None:
    if pids := list(pids):
        everything = killing.with_descendants(pids)
        killing.end(everything, lambda pid: killing.belongs_to(pid, uid), number, SECONDS)


def _orphans(application: Application, uid: int, started: Callable[[str], bool], known: Collection[int]) -> list[int]:
    """The user's processes without a parent that are in a release, or that a manager or a session started."""
    found = []
    for pid, parent in killing.parents().items():
        if parent == 1 and pid not in known and killing.belongs_to(pid, uid):
            with contextlib.suppress(OSError):
                group = killing.read(pid, "cgroup")
                if jobs.has_started(application, group):  # it finishes in its own release
                    continue
                is_ours = started(group) or f"/{cgroup.NAME}." in group
                if is_ours or _place(pid).startswith(f"{application.root}/releases/"):
                    found.append(pid)
    return found


def _place(pid: int) -> str:
    """The directory that a process is in: its release's, unless it went elsewhere."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")
    return ""
