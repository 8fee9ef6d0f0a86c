"""The frames that the control machine and a host exchange over one SSH channel.

A frame is one letter, four bytes of length (big endian) and that many bytes. The control machine sends
calls, the data that belongs to a call up to its end (or to where it was given up), and a heartbeat every few
seconds; the host sends output lines, one result (with the seconds it took) or one failure a call, and echoes
the heartbeats. A frame has a largest size, and what a program writes is cut before it is sent.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, TypedDict

CALL, DATA, END, ABORT, HEARTBEAT = b"C", b"D", b"E", b"A", b"H"
OUTPUT, RESULT, FAILURE, CRASH = b"O", b"R", b"F", b"X"

HEADER = struct.Struct(">cI")
HEARTBEAT_SECONDS = 3.0
SILENCE_SECONDS = 15.0  # a host that hears nothing for so long gives up: the deployer died, or its network
FRAME_BYTES = 64 << 20
LINE_CHARACTERS = 10_000  # of a line that is shown: one that process.py has cut, and what it says of that, fits in
TEXT_CHARACTERS = 100_000  # of a failure's message
CLASS = "__class__"  # the key that tells an object of one of our classes from a mapping


class TooLarge(Exception):
    """A frame that nobody may send; its text says how large."""


class Call(TypedDict):
    """A function on the host, as ``module:name``, and what it is called with."""

    function: str
    args: list[Any]
    kwargs: dict[str, Any]


def encode(value: Any) -> Any:
    """An argument as JSON can say it: an object of a dataclass as its fields, and the name of its class."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {CLASS: f"{type(value).__module__}:{type(value).__qualname__}", **fields}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return [encode(item) for item in value] if isinstance(value, (list, tuple)) else value


def decode(value: Any) -> Any:
    """The argument that was encoded."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: decode(item) for key, item in value.items() if key != CLASS}
    if CLASS not in value:
        return fields
    module, name = value[CLASS].split(":")
    return getattr(importlib.import_module(module), name)(**fields)


def pack(kind: bytes, payload: Any = b"") -> bytes:
    """Build one frame.

    :param kind: one of the letters above.
    :param payload: bytes as they are, anything else as JSON.
    :raises TooLarge: it is too large for one frame.
    """
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    _check(len(body))
    return HEADER.pack(kind, len(body)) + body


def read(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Read one frame from a blocking stream.

    :returns: the letter and the payload, or None where the stream ended.
    :raises TooLarge: the other side announces a frame that is too large; it is not read.
    """
    return read_by(stream.read)


def read_by(receive: Callable[[int], bytes]) -> tuple[bytes, bytes] | None:
    """Read one frame by a function that returns exactly as many bytes as asked for, or fewer at the end."""
    header = receive(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    _check(length)
    body = receive(length)
    return (kind, body) if len(body) == length else None


def cut(text: str, length: int) -> str:
    """A text as far as it is not longer than it may be; where it is cut, that is said."""
    return text if len(text) <= length else f"{text[:length]} … (cut: {len(text) - length} more characters)"


def _check(length: int) -> None:
    if length > FRAME_BYTES:
        raise TooLarge(f"{length} bytes in one piece, where {FRAME_BYTES} is the most")
