"""What can go wrong, in words for the person who typed the command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from invoke.exceptions import Exit

from . import terminal
from .remote import kinds


class Error(Exit):
    """Something a person has to know about; its text says what happened, why, and what to type next.

    Invoke prints an Exit's message and ends with its code, so it needs no traceback and no wrapper.

    :param kind: of the catalogue in remote/kinds.py.
    :ivar coded: the text with the kind's code, for ``fab explain``, at the end of its first line.
    :cvar exit_status: 1 failed and nothing live was harmed, 2 wrong use or configuration and nothing
        was connected to, 3 the live state needs a person.
    """

    exit_status = 1

    def __init__(self, kind: kinds.Kind, text: str) -> None:
        self.kind = kind
        self.text = terminal.visible(text)
        self.coded = _coded(self.text, kind)
        super().__init__(terminal.folded(self.coded))

    def __str__(self) -> str:
        return self.text

    @property
    def code(self) -> int:
        """The exit status, as Invoke asks for it."""
        return self.exit_status

    def plain(self) -> list[dict[str, str | None]]:
        """For programs: code, host and text of each error that this one stands for; see docs/json.md."""
        return [{"code": self.kind.code, "host": None, "message": self.text}]


def _coded(text: str, kind: kinds.Kind) -> str:
    first, *more = text.split("\n")
    return "\n".join([f"{first} [{kind.code}]", *more]) if text else ""


class UsageError(Error):
    """The command or its options are wrong; nothing was connected to."""

    exit_status = 2


class HostError(Error):
    """A step failed on one host.

    :param host: the host's short name.
    :param what: what happened and why.
    :param hint: what to type or to look at next.
    :param needs_person: the live state is not what it should be, and the tool could not mend it.
    """

    def __init__(self, kind: kinds.Kind, host: str, what: str, hint: str = "", needs_person: bool = False) -> None:
        super().__init__(kind, f"{host}: {what}" + (f"\n  {hint}" if hint else ""))
        self.host = host
        self.what = terminal.visible(what)
        self.exit_status = 3 if needs_person else 1

    def plain(self) -> list[dict[str, str | None]]:
        return [{**entry, "host": self.host} for entry in super().plain()]


class Unreachable(HostError):
    """Nobody answers at a host's address."""


class NoPython(HostError):
    """A host has no Python to run a session with; setup can install it."""


class HostErrors(Error):
    """A step failed on several hosts at once.

    :param errors: one for each host that failed; its kind is the first one's, each is told with its own.
    """

    def __init__(self, errors: list[HostError]) -> None:
        super().__init__(errors[0].kind, "\n".join(str(error) for error in errors))
        self.coded = "\n".join(error.coded for error in errors)
        self.message = terminal.folded(self.coded)
        self.errors = errors
        self.exit_status = max(error.exit_status for error in errors)

    def plain(self) -> list[dict[str, str | None]]:
        return [entry for error in self.errors for entry in error.plain()]


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in one place. `line` is 0 where a file has no lines to speak of."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [where, self.key, self.message] if self.key else [where, self.message]
        text = ": ".join(parts)
        return f"{text}; {self.hint}" if self.hint else text


class SettingsError(UsageError):
    """Stage files that cannot be used: every problem found in them, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__(kinds.SETTINGS, "\n".join(str(problem) for problem in self.problems))
