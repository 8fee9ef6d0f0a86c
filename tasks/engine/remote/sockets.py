"""Listening sockets as the kernel sees them: who listens, and how many connections wait or are open."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from . import kinds, process, tree
from .failure import Failed


def is_there(address: str) -> bool:
    """Whether the name of a unix socket is there, without which nobody reaches its server; a port always is."""
    return not address.startswith("unix:") or os.path.exists(address[len("unix:") :])


def clear(address: str) -> None:
    """Make sure that nobody but the release to be started can answer at its address.

    It may have run before and left its socket's name behind, where nothing listens; at a port, any other program may
    listen, and would be taken for a healthy release.

    :raises Failed: a port is taken.
    """
    kind, _, rest = address.rpartition(":")
    if kind == "unix":
        with contextlib.suppress(FileNotFoundError), _freed(rest):
            pass
    elif others := process.listeners(int(rest)):
        raise Failed(
            kinds.PORT_TAKEN,
            f"port {rest} is taken by {', '.join(others)}; nothing was switched",
            f"Stop it, or choose another web.bind. Look at it: ss -ltnp sport = :{rest}",
        )


@contextlib.contextmanager
def _freed(path: str) -> Iterator[tuple[str, int]]:
    """A name in a directory that the application's user may write to, and that directory, where nothing has it now.

    A directory is put aside as it is, until its release goes: how much is in it was the application's choice.
    """
    folder, name = os.path.split(path)
    with tree.within(folder) as handle:
        try:
            os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            os.rename(name, f".{name}.{time.monotonic_ns()}", src_dir_fd=handle, dst_dir_fd=handle)
        yield name, handle


def bridge(one: str, address: str, other: str, others: str) -> None:
    """Let two releases be reached by the names of each other's sockets, where these differ.

    ``current`` is renamed before nginx reads the new site: until then it asks the release that is live by the name
    that it knows, and what speaks otherwise must not answer; the link leads to the release that it was told of.

    :param one: a release's directory, whose server listens at *address*.
    :param other: the other's, whose server listens at *others*.
    """
    for place, own, foreign in ((one, address, others), (other, others, address)):
        name = os.path.basename(foreign)
        if foreign.startswith("unix:") and own != f"unix:{place}/run/{name}":
            with _freed(f"{place}/run/{name}") as (link, folder):
                os.symlink(foreign[len("unix:") :], link, dir_fd=folder)


class Connections(NamedTuple):
    """How many wait in the accept queue of a socket, and how many are open to it."""

    queued: int
    open: int

    @property
    def all(self) -> int:
        """How many there are."""
        return self.queued + self.open


def connections(address: str) -> Connections:
    """The connections to an address that is listened on."""
    if not address:
        return Connections(0, 0)
    is_unix = address.startswith("unix:")
    return _of_unix(address[len("unix:") :]) if is_unix else _of_port(address.rpartition(":")[2])


def _of_unix(path: str) -> Connections:
    return _counted(["ss", "-Hxa", "src", path], 1, path)


def _of_port(port: str) -> Connections:
    return _counted(["ss", "-Hta", "sport", "=", f":{port}"], 0)


def _counted(command: list[str], column: int, path: str = "") -> Connections:
    """Add up what ss shows; how many lines it has is the application's choice.

    :param column: where the state stands, and after it the queue.
    :param path: what has to be among a line's words.
    """
    queued = established = 0

    def count(line: str) -> None:
        nonlocal queued, established
        fields = line.split()
        if path and path not in fields:
            return
        state = fields[column]
        queued += int(fields[column + 1]) if state == "LISTEN" else 0
        established += state == "ESTAB"

    process.run(command, keep=0, on_line=count)
    return Connections(queued, established)
