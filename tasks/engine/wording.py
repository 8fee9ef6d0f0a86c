"""What pydantic found wrong, in words for people: what was expected, what was found, where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import Problem
from .settings import HOST_KEYS, LOADER_FIELDS, Host, Settings, show
from .yamltree import Node, Step, dotted

ROOT_KEYS = (frozenset(Settings.model_fields) - LOADER_FIELDS) | {"hosts"}

_EXPECTED = {
    "int_type": "a whole number",
    "string_type": "text",
    "string_unicode": "text",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "list_type": "a list",
}


def problems_of(error: ValidationError, tree: Node) -> list[Problem]:
    """One problem for each error, placed where `tree` says its value was written."""
    details = error.errors(include_url=False)
    return [_problem(item, tree) for item in details if item["type"] != "default_factory_not_called"]


def _problem(item: ErrorDetails, tree: Node) -> Problem:
    context: dict[str, Any] = item.get("ctx", {})
    loc: tuple[Step, ...] = tuple(step for step in item["loc"] if step != "[key]") + tuple(context.get("at", ()))
    node, rest = tree.find(loc)
    path = (*node.path, *rest[:1]) if item["type"] == "missing" else node.path
    message, hint = _words(item, context, loc, path)
    return Problem(node.file, node.line, dotted(path), message, hint)


def _words(
    item: ErrorDetails, context: dict[str, Any], loc: tuple[Step, ...], path: tuple[Step, ...]
) -> tuple[str, str]:
    kind, value = item["type"], item.get("input")
    found = _kind(value) if _is_private(loc) else describe(value)
    if kind == "refused":
        private_key = _is_private(loc) and item["loc"][-1:] == ("[key]",)
        message = str(context["message"])
        return (message.split(", found ")[0] if private_key else message), str(context["hint"])
    if kind == "missing":
        return "missing", _meaning(loc)
    if kind == "extra_forbidden":
        return unknown_key(str(loc[-1]), _known_beside(loc, path))
    if kind == "literal_error":
        return _literal(str(context["expected"]), value, found)
    if kind == "greater_than_equal":
        return f"expected {context['ge']} or more, found {found}", ""
    if kind == "less_than_equal":
        return f"expected {context['le']} or less, found {found}", ""
    if kind == "too_short":
        return "expected at least one, found none", ""
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found}", _hint(kind, value)
    return f"not usable ({kind})", ""


def _is_private(loc: tuple[Step, ...]) -> bool:
    """Values that may hold a password are never shown."""
    return loc[:1] in (("env",), ("secrets",)) or loc[:2] == ("source", "git")


def describe(value: object) -> str:
    """A value as a person would name it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "the number " + _short(value)
    if isinstance(value, dict):
        return "keys and values"
    return "a list" if isinstance(value, list) else show(value)


def _kind(value: object) -> str:
    """What a value is, without the value."""
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, (int, float)) else describe(value)


def _short(number: float) -> str:
    if isinstance(number, int) and abs(number) >= 10**15:
        return "a very large one"
    return str(number)


def _hint(kind: str, value: object) -> str:
    if value is None:
        return "give it a value, or leave the key out"
    if kind == "int_type":
        return "write it without quotes" if isinstance(value, str) and value.strip().isdecimal() else ""
    if kind == "list_type":
        return "write it as [one, two], or each on a line of its own after a dash"
    if kind != "string_type":
        return ""
    if isinstance(value, bool):
        return "YAML reads yes, no, on and off as true and false: put it in quotes"
    if isinstance(value, float):
        return "YAML reads 3.10 as the number 3.1: put it in quotes"
    return "put it in quotes" if isinstance(value, int) else ""


def _literal(expected: str, value: object, found: str) -> tuple[str, str]:
    choices = expected.replace("' or '", "', '").strip("'").split("', '")
    near = nearest(value, choices) if isinstance(value, str) else ""
    quoted = " or ".join(f'"{choice}"' for choice in choices)
    return f"expected {quoted}, found {found}", f'did you mean "{near}"?' if near else ""


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
    owners = [
        section
        for section, info in Settings.model_fields.items()
        if section not in LOADER_FIELDS and name in getattr(_model(info.annotation), "model_fields", {})
    ]
    return owners[0] if len(owners) == 1 else ""


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model a field holds, or the model of a list's items."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if found := _model(inner):
            return found
    return None


def _model_at(loc: tuple[Step, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Settings
    for step in loc:
        if isinstance(step, str) and model is not None:
            info = model.model_fields.get(step)
            model = _model(info.annotation) if info else None
    return model


def _known_beside(loc: tuple[Step, ...], path: tuple[Step, ...]) -> Iterable[str]:
    if len(loc) == 1:
        return HOST_KEYS | ROOT_KEYS - {"hosts", "default_stage"} if path[:1] == ("hosts",) else ROOT_KEYS
    model = _model_at(loc[:-1])
    return model.model_fields if model else ()


def _meaning(loc: tuple[Step, ...]) -> str:
    """What a field is for: its description."""
    model = Host if loc[:1] == ("host",) else _model_at(loc[:-1])
    info = model.model_fields.get(str(loc[-1])) if model else None
    return (info.description or "").rstrip(".") if info else ""
