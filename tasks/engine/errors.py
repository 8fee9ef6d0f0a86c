"""What goes wrong, in words for the person at the keyboard."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class Error(Exception):
    """A failure that is told in one message, without a traceback.

    `exit_status`: 1 failed (nothing live was harmed), 2 wrong use or
    configuration (nothing was connected to), 3 the live state needs a person.
    """

    exit_status = 1


class UsageError(Error):
    """Wrong use or configuration; nothing was connected to."""

    exit_status = 2


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
        super().__init__("\n".join(str(problem) for problem in self.problems))
