"""The far end of a session: runs one function after another, and ends when nobody is listening any more.

It is started once a connection, as root, and told by frames (see wire.py) what to call. Its life is the
lock's life: when its input ends, or nothing was heard for SILENCE_SECONDS, it kills what it started and
exits, and the kernel drops the lock with it. From the moment it is decided that a session ends, it answers no
call any more, however soon the deployer is heard again.
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

from . import kinds, process, times, wire
from .failure import Failed, describe, kind_of

AHEAD = ["entry", "source", "environment", "configure", "cutover"]  # the modules of a deploy

_calls: queue.Queue[dict[str, Any]] = queue.Queue()
_data: queue.Queue[tuple[bytes, bytes]] = queue.Queue(maxsize=64)
_data_open = _data_aborted = False
_taking = threading.Lock()
_heard = time.monotonic()
_writing = threading.Lock()
_critical = threading.RLock()
_ending = threading.Event()
_duties: list[Callable[[], object]] = []
_before_next: list[Callable[[], object]] = []
_journal: tuple[str, str] | None = None
_if_abandoned: Callable[[], object] | None = None


def send(kind: bytes, payload: Any = b"") -> None:
    """Send one frame to the control machine; where it cannot be, the input ends too, and with it the agent."""
    with _writing, contextlib.suppress(OSError):
        sys.stdout.buffer.write(wire.pack(kind, payload))
        sys.stdout.buffer.flush()


def output(line: str) -> None:
    """Show one line to the person who typed the command, while the step runs; a very long one is cut."""
    send(wire.OUTPUT, {"line": wire.cut(line, wire.LINE_CHARACTERS)})


def incoming() -> Iterator[bytes]:
    """The data that came with the running call, piece by piece; what was read once does not come again."""
    while (piece := _take()) is not None:
        yield piece


def _take() -> bytes | None:
    global _data_open, _data_aborted
    with _taking:  # a program that is fed may end while its feeder waits for the next piece
        if not _data_open:
            return None
        kind, body = _data.get()
        if kind == wire.DATA:
            return body
        _data_open, _data_aborted = False, kind == wire.ABORT
        return None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """For steps that touch what is live: when the deployer dies meanwhile, they come to their end first."""
    with _critical:
        yield


def if_abandoned(duty: Callable[[], object] | None) -> None:
    """Set what is done when the deployer dies before its next call; None for nothing."""
    global _if_abandoned
    _if_abandoned = duty


def is_ending() -> bool:
    """Whether the deployer is gone, so that waiting for something is of no use any more."""
    return _ending.is_set()


def refuse_when_ending() -> None:
    """Refuse to begin anything in a session that ends; within uninterrupted() it is final that it does not.

    :raises Failed: it ends.
    """
    if _ending.is_set():
        raise Failed(
            kinds.CONNECTION_LOST,
            f"the host heard nothing from here for {wire.SILENCE_SECONDS:.0f} seconds and gave the session up;"
            " it ends by itself what was begun",
            "See what is live: fab status; then run the command again: it clears away what was left.",
        )


def end() -> None:
    """Tidy up, kill what runs for this session, and exit; the lock goes with the process."""
    if _ending.is_set():
        return
    _ending.set()
    with _critical:
        if _if_abandoned is not None:
            journal("the deployer went away in the middle: what it began is brought to its end")
            _attempt(_if_abandoned)
        _do_duties()
        process.kill_all()
        journal("end of the session")
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
        elif kind in (wire.DATA, wire.END, wire.ABORT):
            _queue_data(frame)


def _listen_to_the_end() -> None:
    try:
        _listen()
    finally:  # whatever was not understood: nobody is listened to any more
        end()


def _queue_data(frame: tuple[bytes, bytes]) -> None:
    global _heard
    while True:
        try:
            return _data.put(frame, timeout=1)
        except queue.Full:  # the step is slow, the deployer is not silent: its data waits in the channel
            _heard = time.monotonic()


def _watch() -> None:
    while True:
        time.sleep(1)
        if time.monotonic() - _heard > wire.SILENCE_SECONDS:
            end()


def _serve(request: dict[str, Any]) -> None:
    """Run the calls of one request in their order, up to the first that fails."""
    global _data_open, _data_aborted
    _data_open, _data_aborted = request["data"], False
    try:
        for call in request["calls"]:
            refuse_when_ending()
            began = time.monotonic()
            value = run(call)
            _finish_data()
            seconds = time.monotonic() - began
            journal(f"{call['function'].rpartition('.')[2]}: done in {seconds:.2f} s")
            send(wire.RESULT, {"value": value, "seconds": seconds})
    except Failed as failed:
        _fail(failed)
    except OSError as error:
        _fail(Failed(kind_of(error), describe(error)))
    except wire.TooLarge as error:
        _fail(Failed(kinds.TOO_LARGE, f"the answer is too large to be sent: {error}"))
    except Exception:
        journal(traceback.format_exc())
        send(wire.CRASH, {"traceback": wire.cut(traceback.format_exc(), wire.TEXT_CHARACTERS)})
    finally:
        for _ in incoming():  # what a failed call did not read must not be taken for the next call's
            pass


def _fail(failed: Failed) -> None:
    journal(f"failed: {failed.message}")
    message = wire.cut(failed.message, wire.TEXT_CHARACTERS)
    about = {"code": failed.kind.code, "hint": failed.hint, "needs_person": failed.needs_person}
    send(wire.FAILURE, {"message": message, **about})


def _next_request() -> dict[str, Any]:
    """Wait for a request, and meanwhile import what will be asked for."""
    while AHEAD and _calls.empty():
        importlib.import_module(f"{__package__}.{AHEAD.pop(0)}")
    return _calls.get()


def _finish_data() -> None:
    """Only what came whole counts: who sends it may give up after the last piece that a call wanted.

    :raises Failed: it was given up.
    """
    for _ in incoming():
        pass
    if _data_aborted:
        raise Failed(kinds.CONNECTION_LOST, "what is sent was not sent whole")


def run(call: wire.Call) -> Any:
    """Call a function by its module and name."""
    module, name = call["function"].split(":")
    function = getattr(importlib.import_module(module), name)
    return function(*wire.decode(call["args"]), **wire.decode(call["kwargs"]))


def afterwards(duty: Callable[[], object]) -> None:
    """Set what is done once the running request is answered, before the next and before the session ends."""
    _duties.append(duty)


def before_next(duty: Callable[[], object]) -> None:
    """Set what is done when the next request comes, and never where none comes."""
    _before_next.append(duty)


def _do_duties() -> None:
    while _duties:
        with uninterrupted():  # what one could not do, the next deploy does
            if _duties:  # the end of the session may have done it meanwhile
                _attempt(_duties.pop(0))


def _attempt(duty: Callable[[], object]) -> None:
    """Do what nobody waits for any more; where it fails, the journal says so."""
    try:
        duty()
    except Exception:
        journal(traceback.format_exc())


def keep_journal(root: str, who: str) -> None:
    """From now on, write down in the application's logs what this session does.

    :param who: the person and machine that it does it for.
    """
    global _journal
    _journal = f"{root}/logs/fabrelease.log", who


def journal(text: str) -> None:
    """Write one line into the application's log of what was done to it; before keep_journal() nothing."""
    if _journal is None:
        return
    path, who = _journal
    line = wire.cut(" | ".join(text.strip().splitlines()), wire.LINE_CHARACTERS)
    with contextlib.suppress(OSError):  # a full disk, or logs/ was taken away: what is done counts more
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
        try:
            os.write(handle, f"{times.utc()} {who}: {line}\n".encode(errors="replace"))
        finally:
            os.close(handle)


def main() -> None:
    """Serve calls until the input ends."""
    os.umask(0o022)
    os.chdir("/")
    for loop in (_listen_to_the_end, _watch):
        threading.Thread(target=loop, daemon=True).start()
    signal.signal(signal.SIGHUP, lambda *_: None)  # the end of the input is what ends a session
    while True:
        request = _next_request()
        while _before_next:
            _attempt(_before_next.pop(0))
        _serve(request)
        _do_duties()
