"""What a cutover knows of a host without a manager: who is connected, and what was written."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import sockets


@contextlib.contextmanager
def listening(family: socket.AddressFamily, address: object) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.bind(address)  # type: ignore[arg-type]
        server.listen(10)
        yield server


def connect(server: socket.socket, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket(server.family))
    client.connect(server.getsockname())
    return client


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_requests_in_the_queue_and_open_ones_are_counted_and_those_of_others_are_not(
    tmp_path: Path, kind: str
) -> None:
    families = {"unix": socket.AF_UNIX, "tcp": socket.AF_INET}
    places = {"unix": [str(tmp_path / "a.sock"), str(tmp_path / "a.sock2")], "tcp": [("127.0.0.1", 0)] * 2}
    with contextlib.ExitStack() as stack:
        server, other = (stack.enter_context(listening(families[kind], place)) for place in places[kind])
        name = server.getsockname()
        address = f"unix:{name}" if kind == "unix" else f"127.0.0.1:{name[1]}"
        assert sockets.connections(address).all == 0
        connect(other, stack)
        first, *_ = (connect(server, stack) for _ in range(3))
        # Of a connection that nobody has accepted yet, TCP knows twice: in the queue, and as open.
        assert sockets.connections(address) == (3, 0 if kind == "unix" else 3)
        accepted = [stack.enter_context(server.accept()[0]) for _ in range(3)]
        assert sockets.connections(address) == (0, 3)
        first.close()
        accepted[0].close()
        assert sockets.connections(address) == (0, 2)


def test_where_there_is_no_address_nothing_waits() -> None:
    assert sockets.connections("") == (0, 0)
