"""Words for people about values: what was found, what was probably meant, and why a value is refused."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class Refused(ValueError):
    """A value is refused, in words for people.

    :param message: what was expected and what was found; no secret.
    :param hint: what to write instead.
    :param at: names the key when a check looks at several.
    """

    def __init__(self, message: str, hint: str = "", at: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at


def one_of(words: Iterable[str], found: object) -> tuple[str, str]:
    """Message and hint for what is none of some words."""
    words = list(words)
    near = nearest(found, words) if isinstance(found, str) else ""
    quoted = " or ".join(f'"{word}"' for word in words)
    return f"expected {quoted}, found {describe(found)}", f'did you mean "{near}"?' if near else ""


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or nothing. Swapped letters are nearest: prot is port, not root."""
    close = get_close_matches(name, list(names), 3)
    return max(close, key=lambda other: sorted(other) == sorted(name), default="")


def describe(value: object) -> str:
    """A value as a person would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "the number " + ("a very large one" if isinstance(value, int) and abs(value) >= 10**15 else str(value))
    if isinstance(value, dict):
        return "keys and values"
    return "a list" if isinstance(value, list) else show(value)


def kind(value: object) -> str:
    """What a value is, without the value."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else describe(value)


def show(value: object, limit: int = 40) -> str:
    """A value for a message: quoted, on one line, not too long."""
    text = '"' + str(value).encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
    return text if len(text) <= limit else text[: limit - 2] + '…"'
