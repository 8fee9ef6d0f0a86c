"""Ctrl-C while hosts are changed: the first ends it, and each after that only says so.

A host that hears nothing more goes back, or finishes where it has switched, by itself; nobody has to wait for that
here, and nothing here could make it faster.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from .errors import Error
from .remote import kinds

TEXT = "interrupted; each host goes back by itself, or finishes where it has switched"
HINT = "See what is live: fab status. The next deploy clears away what was left."
AGAIN = b"\nIt is ending already: what is on the hosts comes to its end by itself, with or without this program.\n"


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """:raises Error: for Ctrl-C, with what becomes of the hosts."""
    with _first_counts():
        try:
            yield
        except KeyboardInterrupt as interrupt:
            raise Error(kinds.INTERRUPTED, f"{TEXT}\n  {HINT}") from interrupt


@contextlib.contextmanager
def _first_counts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not _is_usual():
        yield  # who handles signals in another way, or calls this from a thread, wants it so
        return
    before = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_usual() -> bool:
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGINT, _explain)
    raise KeyboardInterrupt


def _explain(*_: object) -> None:
    os.write(2, AGAIN)  # past Python's buffers: it may have been writing when the signal came
