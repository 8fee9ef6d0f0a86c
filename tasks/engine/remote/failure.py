"""How a remote function says that it failed."""

from __future__ import annotations

import os


class Failed(Exception):
    """A remote step failed in a way that a person can understand.

    :param message: what happened and why.
    :param hint: what to type or to look at next.
    :param needs_person: the live state is not what it should be.
    """

    def __init__(self, message: str, hint: str = "", needs_person: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.needs_person = needs_person


def describe(error: Exception) -> str:
    """An error in one sentence; one of the operating system's with the file it is about."""
    if isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if error.filename is not None else ""
        return f"{error.strerror or error}{where}"
    return str(error) or type(error).__name__
