"""How a remote function says that it failed."""

from __future__ import annotations


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
