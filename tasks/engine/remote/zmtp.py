"""A question to a ZeroMQ socket of this host, and its answer: ZMTP 3.0 without security.

Root's process uses nothing but the standard library, and starting another Python to ask takes a hundred times as
long. The protocol: https://rfc.zeromq.org/spec/23/
"""

from __future__ import annotations

import socket
from typing import BinaryIO

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
MORE, LONG, COMMAND = 1, 2, 4
MOST_BYTES = 16 << 20


def ask(path: str, message: bytes, seconds: float) -> bytes:
    """Send a message of one frame to a ROUTER socket, and wait for one of one frame.

    :param path: of the unix socket.
    :param seconds: to wait for each piece.
    :raises OSError: nobody listens or answers, or not in ZMTP.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        with connection.makefile("rb") as stream:
            connection.sendall(GREETING)
            _read(stream, len(GREETING))
            connection.sendall(_frame(COMMAND, READY))  # it hangs up on who does not wait for its own
            _read_frame(stream)
            connection.sendall(_frame(0, message))
            return _read_frame(stream)


def _frame(flags: int, body: bytes) -> bytes:
    return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body


def _read_frame(stream: BinaryIO) -> bytes:
    flags = _read(stream, 1)[0]
    size = int.from_bytes(_read(stream, 8 if flags & LONG else 1), "big")
    if flags & MORE or size > MOST_BYTES:
        raise OSError("the answer is not one frame of a bounded size")
    return _read(stream, size)


def _read(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise OSError("the connection ended in the middle of an answer")
    return found
