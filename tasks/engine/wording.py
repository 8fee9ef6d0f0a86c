"""What the models found wrong, in words for people: what was expected, what was found, where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches

from .checking import ABSENT, NOTHING, UNKNOWN, Invalid, Mistake, describe, model_in, names
from .errors import Problem
from .settings import HOST_KEYS, LOADER_FIELDS, Settings
from .yamltree import Node, Step, dotted

ROOT_KEYS = (frozenset(names(Settings)) - LOADER_FIELDS) | {"hosts"}


def problems_of(invalid: Invalid, tree: Node) -> list[Problem]:
    """One problem for each mistake, placed where `tree` says its value was written."""
    return [_problem(mistake, tree) for mistake in invalid.mistakes]


def _problem(mistake: Mistake, tree: Node) -> Problem:
    node, rest = tree.find(mistake.path)
    path = (*node.path, *rest[:1]) if mistake.message == ABSENT else node.path
    return Problem(node.file, node.line, dotted(path), *_words(mistake, path))


def _words(mistake: Mistake, path: tuple[Step, ...]) -> tuple[str, str]:
    if mistake.message == UNKNOWN:
        return unknown_key(str(mistake.path[-1]), _known(mistake, path))
    if mistake.found is NOTHING:
        return mistake.message, mistake.hint
    found = _kind(mistake.found) if _is_private(mistake.path) else describe(mistake.found)
    near = nearest(mistake.found, mistake.known) if isinstance(mistake.found, str) else ""
    return f"{mistake.message}, found {found}", f'did you mean "{near}"?' if near else mistake.hint


def _is_private(loc: tuple[Step, ...]) -> bool:
    """Values that may hold a password are never shown."""
    return loc[:1] in (("env",), ("secrets",)) or loc[:2] == ("source", "git")


def _kind(value: object) -> str:
    """What a value is, without the value."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else describe(value)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or nothing. Swapped letters are nearest: prot is port, not root."""
    close = get_close_matches(name, list(names), 3)
    return max(close, key=lambda other: sorted(other) == sorted(name), default="")


def unknown_key(name: str, known: Iterable[str]) -> tuple[str, str]:
    """Message and hint for a key that is not known."""
    names = sorted(known)
    listed = f"known: {', '.join(names)}"
    near = nearest(name, names)
    if near:
        return "unknown key", f'did you mean "{near}"? ({listed})'
    owner = _owner(name)
    return "unknown key", f"{name} belongs below {owner} ({listed})" if owner else listed


def _owner(name: str) -> str:
    """The one section that has a key of this name, if there is just one."""
    sections = {info.name: model_in(info.type) for info in fields(Settings) if info.name not in LOADER_FIELDS}
    owners = [section for section, model in sections.items() if model and name in names(model)]
    return owners[0] if len(owners) == 1 else ""


def _known(mistake: Mistake, path: tuple[Step, ...]) -> Iterable[str]:
    if len(mistake.path) > 1:
        return mistake.known
    return HOST_KEYS | ROOT_KEYS - {"hosts", "default_stage"} if path[:1] == ("hosts",) else ROOT_KEYS
