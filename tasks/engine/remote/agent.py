"""The far end of a session: runs one function after another, and ends when nobody is listening any more.

It is started once a connection, as root, and told by frames (see wire.py) what to call. Its life is the
lock's life: when its input ends, or nothing was heard for SILENCE_SECONDS, it kills what it started and
exits, and the kernel drops the lock with it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from . import process, wire
from .failure import Failed, describe

_calls: queue.Queue[dict[str, Any]] = queue.Queue()
_data: queue.Queue[bytes | None] = queue.Queue(maxsize=64)
_data_open = False
_heard = time.monotonic()
_writing = threading.Lock()
_critical = threading.RLock()
_ending = threading.Event()
_duties: list[Callable[[], object]] = []
_tidy: Callable[[], object] | None = None


def send(kind: bytes, payload: Any = b"") -> None:
    """Send one frame to the control machine; where it cannot be, the input ends too, and with it the agent."""
    with _writing, contextlib.suppress(OSError):
        sys.stdout.buffer.write(wire.pack(kind, payload))
        sys.stdout.buffer.flush()


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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """For steps that touch what is live: when the deployer dies meanwhile, they come to their end first."""
    with _critical:
        yield


def if_abandoned(tidy: Callable[[], object] | None) -> None:
    """Set what is done when the deployer dies before its next call; None for nothing."""
    global _tidy
    _tidy = tidy


def is_ending() -> bool:
    """Whether the deployer is gone, so that waiting for something is of no use any more."""
    return _ending.is_set()


def end() -> None:
    """Tidy up, kill what runs for this session, and exit; the lock goes with the process."""
    if _ending.is_set():
        return
    _ending.set()
    with _critical:
        if _tidy is not None:
            with contextlib.suppress(Exception):
                _tidy()
        _do_duties()
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


def _serve(request: dict[str, Any]) -> None:
    """Run the calls of one request in their order, up to the first that fails."""
    global _data_open
    _data_open = request["data"]
    try:
        for call in request["calls"]:
            began = time.monotonic()
            value = run(call)
            send(wire.RESULT, {"value": value, "seconds": time.monotonic() - began})
    except Failed as failed:
        failure = {"message": failed.message, "hint": failed.hint, "needs_person": failed.needs_person}
        send(wire.FAILURE, failure)
    except OSError as error:
        send(wire.FAILURE, {"message": describe(error), "hint": "", "needs_person": False})
    except Exception:
        send(wire.CRASH, {"traceback": traceback.format_exc()})
    finally:
        for _ in incoming():  # what a failed call did not read must not be taken for the next call's
            pass


def run(call: wire.Call) -> Any:
    """Call a function by its module and name."""
    module, name = call["function"].split(":")
    return getattr(importlib.import_module(module), name)(*call["args"], **call["kwargs"])


def afterwards(duty: Callable[[], object]) -> None:
    """Set what is done once the running request is answered, before the next and before the session ends."""
    _duties.append(duty)


def _do_duties() -> None:
    while _duties:
        with uninterrupted(), contextlib.suppress(Exception):  # what it could not do, the next deploy does
            _duties.pop(0)()


def main() -> None:
    """Serve calls until the input ends."""
    os.umask(0o022)
    os.chdir("/")
    for loop in (_listen, _watch):
        threading.Thread(target=loop, daemon=True).start()
    signal.signal(signal.SIGHUP, lambda *_: None)  # the end of the input is what ends a session
    while True:
        _serve(_calls.get())
        _do_duties()
