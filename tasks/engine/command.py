"""A command of the user's own on this machine, whose output is read: where secrets or hosts come from."""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
import time
from pathlib import Path

from . import terminal

SECONDS = 60.0
LARGEST = 8 << 20  # bytes of an output
SAID_LINES = 10  # of what a command that failed says

_lock = threading.Lock()
_printed: dict[tuple[str, Path], bytes] = {}


class Failed(Exception):
    """A command came to nothing; the text says why, in one line and without what it printed on standard output."""


def output(command: str, folder: Path, seconds: float = SECONDS) -> bytes:
    """What a shell command prints; run once, however often it is asked for.

    Its standard input is the terminal's, for it may ask for a passphrase there.

    :param folder: where it runs.
    :param seconds: how long it may take.
    :raises Failed: its exit status is not 0, or it takes too long or prints too much.
    """
    with _lock:  # several hosts may ask at once
        if (command, folder) not in _printed:
            _printed[command, folder] = _run(command, folder, time.monotonic() + seconds)
        return _printed[command, folder]


def _run(command: str, folder: Path, end: float) -> bytes:
    try:
        process = subprocess.Popen(
            ["sh", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise Failed(f"cannot be started: {error.strerror}") from error
    with process:
        try:
            printed, said = _read(process, end)
            status = process.wait(max(0.1, end - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired):
            raise Failed("took too long, and was ended") from None
        finally:
            process.kill()
    if status:
        raise Failed(f"failed with exit status {status}{_words(said)}")
    return printed


def _read(process: subprocess.Popen[bytes], end: float) -> tuple[bytes, bytes]:
    """Both of its outputs, side by side: one that nobody reads would hold it up."""
    pieces: dict[int, bytearray] = {}
    with selectors.DefaultSelector() as open_yet:
        for stream in filter(None, (process.stdout, process.stderr)):
            open_yet.register(stream, selectors.EVENT_READ)
            pieces[stream.fileno()] = bytearray()
        while open_yet.get_map():
            ready = open_yet.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                pieces[key.fd] += piece
                if len(pieces[key.fd]) > LARGEST:
                    raise Failed(f"printed more than {terminal.size(LARGEST)}, and was ended")
                if not piece:
                    open_yet.unregister(key.fileobj)
    printed, said = pieces.values()
    return bytes(printed), bytes(said)


def _words(said: bytes) -> str:
    lines = terminal.visible(said.decode(errors="replace")).split("\n")
    text = " / ".join([line.strip() for line in lines if line.strip()][-SAID_LINES:])
    return f": {text}" if text else ""
