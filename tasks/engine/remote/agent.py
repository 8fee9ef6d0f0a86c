"""The far end of a session: runs one function after another, and ends when nobody is listening any more.

It is started once a connection, as root, and told by frames (see wire.py) what to call. Its life is the
lock's life: when its input ends, or nothing was heard for SILENCE_SECONDS, it kills what it started and
exits, and the kernel drops the lock with it.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

from . import process, wire
from .failure import Failed

_calls: queue.Queue[dict[str, Any]] = queue.Queue()
_data: queue.Queue[bytes | None] = queue.Queue(maxsize=64)
_data_open = False
_heard = time.monotonic()
_writing = threading.Lock()


def send(kind: bytes, payload: Any = b"") -> None:
    """Send one frame to the control machine; a closed channel ends the agent."""
    try:
        with _writing:
            sys.stdout.buffer.write(wire.pack(kind, payload))
            sys.stdout.buffer.flush()
    except OSError:
        end()


def output(line: str) -> None:
    """Show one line to the person who typed the command, while the step runs."""
    send(wire.OUTPUT, {"line": line})


def incoming() -> Iterator[bytes]:
    """The data that came with the running call, piece by piece; what was read once does not come again."""
    global _data_open
    while _data_open:
        piece = _data.get()
        if piece is None:
            _data_open = False
        else:
            yield piece


def end() -> None:
    """Kill what runs for this session and exit; the lock goes with the process."""
    process.kill_all()
    os._exit(1)


def _listen() -> None:
    global _heard
    stream = sys.stdin.buffer
    while (frame := wire.read(stream)) is not None:
        _heard = time.monotonic()
        kind, body = frame
        if kind == wire.CALL:
            _calls.put(json.loads(body))
        elif kind == wire.HEARTBEAT:
            send(wire.HEARTBEAT)
        elif kind in (wire.DATA, wire.END):
            _queue_data(body if kind == wire.DATA else None)
    end()


def _queue_data(piece: bytes | None) -> None:
    global _heard
    while True:
        try:
            return _data.put(piece, timeout=1)
        except queue.Full:  # the step is slow, the deployer is not silent: its data waits in the channel
            _heard = time.monotonic()


def _watch() -> None:
    while True:
        time.sleep(1)
        if time.monotonic() - _heard > wire.SILENCE_SECONDS:
            end()


def _run(call: dict[str, Any]) -> None:
    global _data_open
    _data_open = call["data"]
    module, name = call["function"].split(":")
    try:
        result = getattr(importlib.import_module(module), name)(*call["args"], **call["kwargs"])
        send(wire.RESULT, {"value": result})
    except Failed as failed:
        send(
            wire.FAILURE,
            {"message": failed.message, "hint": failed.hint, "needs_person": failed.needs_person},
        )
    except OSError as error:
        send(wire.FAILURE, {"message": describe(error), "hint": "", "needs_person": False})
    except Exception:
        send(wire.CRASH, {"traceback": traceback.format_exc()})
    finally:
        for _ in incoming():  # what a failed call did not read must not be taken for the next call's
            pass


def describe(error: OSError) -> str:
    """An operating system's error in one sentence, with the file it is about."""
    where = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
    return f"{error.strerror or error}{where}"


def main() -> None:
    """Serve calls until the input ends."""
    os.umask(0o022)
    os.chdir("/")
    for loop in (_listen, _watch):
        threading.Thread(target=loop, daemon=True).start()
    while True:
        _run(_calls.get())
