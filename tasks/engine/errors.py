"""What can go wrong, in words for the person who typed the command."""

from __future__ import annotations


class Error(Exception):
    """Something a person has to know about; its text says what happened, why, and what to type next.

    :cvar exit_status: 1 failed and nothing live was harmed, 2 wrong use or configuration and nothing
        was connected to, 3 the live state needs a person.
    """

    exit_status = 1


class UsageError(Error):
    """The command or its options are wrong; nothing was connected to."""

    exit_status = 2


class HostError(Error):
    """A step failed on one host.

    :param host: the host's short name.
    :param message: what happened and why.
    :param hint: what to type or to look at next.
    :param needs_person: the live state is not what it should be, and the tool could not mend it.
    """

    def __init__(self, host: str, message: str, hint: str = "", needs_person: bool = False) -> None:
        super().__init__(message)
        self.host = host
        self.message = message
        self.hint = hint
        self.exit_status = 3 if needs_person else 1

    def __str__(self) -> str:
        return f"{self.host}: {self.message}" + (f"\n  {self.hint}" if self.hint else "")


class HostErrors(Error):
    """A step failed on several hosts at once.

    :param errors: one for each host that failed.
    """

    def __init__(self, errors: list[HostError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors
        self.exit_status = max(error.exit_status for error in errors)
