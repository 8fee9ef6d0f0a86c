"""Ending processes: one by one, each by a handle, never by the number of a group.

The number of a group is chosen by the processes in it, so it may be supervisord's; and the number of a process
may have come to mean another one by the time it is used. A pidfd stays with its process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable


def end(pids: Iterable[int], is_meant: Callable[[int], bool], number: int, seconds: float) -> None:
    """Send a signal to processes, and wait until they have ended.

    :param is_meant: whether a process is one to end; asked once its handle is held, so that the answer is about
        the process that gets the signal.
    :param seconds: to wait at most.
    """
    deadline, waiting = time.monotonic() + seconds, select.poll()
    handles = [handle for pid in pids if (handle := _signal(pid, is_meant, number)) is not None]
    try:
        for handle in handles:
            waiting.register(handle, select.POLLIN)
        left = len(handles)
        while left and (ended := waiting.poll(max(deadline - time.monotonic(), 0) * 1000)):
            for handle, _ in ended:
                waiting.unregister(handle)
            left -= len(ended)
    finally:
        for handle in handles:
            os.close(handle)


def end_children(pids: Iterable[int], parent: int, seconds: float) -> None:
    """Kill processes that another one has started, whatever rights and group each has by now.

    A program that has become one that is set-user-ID is not its user's any more; its parent is who started it.
    """
    end(pids, lambda pid: parents().get(pid) == parent, signal.SIGKILL, seconds)


def send(pid: int, is_meant: Callable[[int], bool], number: int) -> bool:
    """Send a signal to a process that goes on; whether it got it."""
    handle = _signal(pid, is_meant, number)
    if handle is not None:
        os.close(handle)
    return handle is not None


def _signal(pid: int, is_meant: Callable[[int], bool], number: int) -> int | None:
    """The handle of a process that got the signal; None where it is not meant, or gone."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if is_meant(pid):
                signal.pidfd_send_signal(handle, 0)  # it is there still, so it is the one that was looked at
                signal.pidfd_send_signal(handle, number)
                return handle
        except OSError:
            pass
        os.close(handle)
    return None


def belongs_to(pid: int, uid: int) -> bool:
    """Whether a process is wholly a user's: its real, effective, saved and file system's user alike."""
    with contextlib.suppress(OSError):
        for line in read(pid, "status").splitlines():
            if line.startswith("Uid:"):
                return set(line.split()[1:]) == {str(uid)}
    return False


def of_user(uid: int) -> list[int]:
    """The processes that are wholly a user's and have not ended."""
    return [pid for pid, _ in _stats() if belongs_to(pid, uid)]


def parents() -> dict[int, int]:
    """Each process and its parent."""
    return {pid: int(fields[1]) for pid, fields in _stats()}


def started(pid: int) -> float:
    """When a process was started, in seconds since 1970; 0 where it has ended."""
    ticks = next((int(fields[19]) for other, fields in _stats() if other == pid), None)
    if ticks is None:
        return 0.0
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def in_session(leader: int) -> list[int]:
    """The processes of a session. None can come in from outside; one that calls setsid leaves."""
    return [pid for pid, fields in _stats() if int(fields[3]) == leader]


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that have not ended."""
    return sorted(child for child, parent in parents().items() if parent == pid)


def ignores_term(pid: int) -> bool:
    """Whether TERM does nothing to a process, as to the one of Python's that watches over its semaphores."""
    try:
        lines = read(pid, "status").splitlines()
    except OSError:
        return True
    masks = [int(line.partition(":")[2], 16) for line in lines if line.startswith("SigIgn:")]
    return any(mask & 1 << (signal.SIGTERM - 1) for mask in masks)


def with_descendants(pids: Iterable[int]) -> set[int]:
    """Processes and all that they, and those they started, have running."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found, waiting = set[int](), list(pids)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def read(pid: int, name: str) -> str:
    """A file of /proc/<pid>; not ``cmdline`` or ``environ``: a process can make the reader of its memory wait."""
    with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()


def _stats() -> list[tuple[int, list[str]]]:
    """Each process that has not ended, and its state, parent, group, session and so on, as in /proc/<pid>/stat."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            found.append((pid, read(pid, "stat").rsplit(")", 1)[1].split()))
    return [(pid, fields) for pid, fields in found if fields[0] != "Z"]
