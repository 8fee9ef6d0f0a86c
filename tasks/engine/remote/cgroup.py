"""Control groups: whatever a command starts stays in the command's group, and is found and ended there.

Only root can move a process from one group to another, in both versions of control groups. The groups are made
below the one that the session itself is in, so they go with it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time

from . import killing

# In version 1, the hierarchy that only names groups, which is systemd's; in version 2 there is but one.
MOUNTS = {"name=systemd": "/sys/fs/cgroup/systemd", "": "/sys/fs/cgroup"}
NAME = "fabrelease-command"
CLEAR_SECONDS = 5
_numbers = itertools.count()


def make() -> str | None:
    """Make a group; None where this host lets nobody make one.

    :returns: its directory.
    """
    for place in _places():
        path = f"{place}/{NAME}.{os.getpid()}.{next(_numbers)}"
        with contextlib.suppress(OSError):
            os.mkdir(path)
            return path
    return None


def entering(path: str) -> list[str]:
    """The beginning of a command line that makes the rest of it run in a group; it takes root to execute it."""
    return ["/bin/sh", "-c", 'echo $$ >"$0"; exec "$@"', f"{path}/cgroup.procs"]


def clear(path: str) -> None:
    """Kill all that is in a group, and remove it."""
    end = time.monotonic() + CLEAR_SECONDS
    while not _remove(path) and time.monotonic() < end:
        if os.path.exists(f"{path}/cgroup.kill"):  # version 2, Linux 5.14: all at once
            with contextlib.suppress(OSError), open(f"{path}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
        killing.end(_members(path), lambda pid: pid in _members(path), signal.SIGKILL, 0.1)


def _remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:  # somebody is in it
        return False
    return True


def _members(path: str) -> list[int]:
    with contextlib.suppress(OSError), open(f"{path}/cgroup.procs", encoding="ascii") as file:
        return [int(line) for line in file]
    return []


def _places() -> list[str]:
    """Where our own group is."""
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        paths = {name: path for _, name, path in (line.rstrip("\n").split(":", 2) for line in file)}
    places = [f"{mount}{paths[name]}" for name, mount in MOUNTS.items() if name in paths]
    return [place for place in places if os.path.exists(f"{place}/cgroup.procs")]
