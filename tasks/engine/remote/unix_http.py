"""HTTP over a unix socket as well as TCP, with somebody who may answer without an end."""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

LOOK_SECONDS = 0.2  # between two looks whether the answer is still wanted


def connect(address: str, timeout: float) -> socket.socket:
    """Connect to ``unix:PATH`` or ``HOST:PORT``.

    :param timeout: seconds, for connecting and for each read afterwards.
    """
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(address[len("unix:") :])
    except OSError:
        sock.close()
        raise
    return sock


class Connection(http.client.HTTPConnection):
    """An HTTP connection to an address.

    :param address: ``unix:PATH`` or ``HOST:PORT``.
    :param timeout: seconds for connecting and for each read.
    """

    def __init__(self, address: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.address, self.seconds = address, timeout

    def connect(self) -> None:
        """Open the connection."""
        self.sock = connect(self.address, self.seconds)


class Bounded(io.RawIOBase):
    """A connected socket, for http.client, that gives only so many bytes until one moment; its owner closes it.

    :param end: that moment, by the monotonic clock.
    :param size: how many bytes, headers and all.
    :param is_given_up: asked a few times a second; nothing is waited for any more once it is so.
    """

    def __init__(self, sock: socket.socket, end: float, size: int, is_given_up: Callable[[], bool]) -> None:
        self.sock, self.end, self.size, self.is_given_up = sock, end, size, is_given_up
        self.left = size

    def sendall(self, data: bytes) -> None:
        """Send all of it until that moment.

        :raises TimeoutError: not all was taken.
        """
        self.sock.settimeout(max(self.end - time.monotonic(), 0.01))
        self.sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads an answer from."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, and wait until something is.

        :raises TimeoutError: it is too late.
        :raises ConnectionError: it is too much.
        """
        if not self.left:
            raise ConnectionError(f"the answer goes on after {self.size} bytes")
        while True:
            if self.is_given_up() or time.monotonic() > self.end:
                raise TimeoutError
            if self._has_more() or select.select([self.sock], [], [], self._pause())[0]:
                break
        count = self.sock.recv_into(memoryview(buffer)[: self.left])
        self.left -= count
        return count

    def _has_more(self) -> bool:
        """Whether something was decrypted already and not read, which no select sees."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0

    def _pause(self) -> float:
        return min(LOOK_SECONDS, max(self.end - time.monotonic(), 0))

    def close(self) -> None:
        """Nothing: http.client closes what it still reads from."""
