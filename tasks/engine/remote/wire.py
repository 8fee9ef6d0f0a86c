"""The frames that the control machine and a host exchange over one SSH channel.

A frame is one letter, four bytes of length (big endian) and that many bytes. The control machine sends
calls, the data that belongs to a call, and a heartbeat every few seconds; the host sends output lines,
one result (with the seconds it took) or one failure a call, and echoes the heartbeats.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, TypedDict

CALL, DATA, END, HEARTBEAT = b"C", b"D", b"E", b"H"
OUTPUT, RESULT, FAILURE, CRASH = b"O", b"R", b"F", b"X"

HEADER = struct.Struct(">cI")
HEARTBEAT_SECONDS = 3.0
SILENCE_SECONDS = 15.0  # a host that hears nothing for so long gives up: the deployer died, or its network


class Call(TypedDict):
    """A function on the host, as ``module:name``, and what it is called with."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]


def pack(kind: bytes, payload: Any = b"") -> bytes:
    """Build one frame.

    :param kind: one of the letters above.
    :param payload: bytes as they are, anything else as JSON.
    """
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return HEADER.pack(kind, len(body)) + body


def read(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Read one frame from a blocking stream.

    :returns: the letter and the payload, or None where the stream ended.
    """
    return read_by(stream.read)


def read_by(receive: Callable[[int], bytes]) -> tuple[bytes, bytes] | None:
    """Read one frame by a function that returns exactly as many bytes as asked for, or fewer at the end."""
    header = receive(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    body = receive(length)
    return (kind, body) if len(body) == length else None
