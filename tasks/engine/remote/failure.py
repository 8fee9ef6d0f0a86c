"""How a remote function says that it failed."""

from __future__ import annotations

import errno
import os

from . import kinds

FULL = (errno.ENOSPC, errno.EDQUOT)


class Failed(Exception):
    """A remote step failed in a way that a person can understand.

    :param kind: of the catalogue in kinds.py.
    :param message: what happened and why.
    :param hint: what to type or to look at next.
    :param needs_person: the live state is not what it should be.
    """

    def __init__(self, kind: kinds.Kind, message: str, hint: str = "", needs_person: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.needs_person = needs_person


def describe(error: Exception) -> str:
    """An error in one sentence; one of the operating system's with the file it is about."""
    if isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
        return f"{error.strerror or error}{where}"
    return str(error) or type(error).__name__


def kind_of(error: Exception) -> kinds.Kind:
    """The kind of an error: a step's own, or one of the operating system's."""
    if isinstance(error, Failed):
        return error.kind
    if not isinstance(error, OSError):
        return kinds.FAULT
    if error.errno in FULL:
        return kinds.DISK_FULL
    return kinds.READ_ONLY if error.errno == errno.EROFS else kinds.SYSTEM
