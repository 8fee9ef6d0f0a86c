"""What the models found wrong, in words for people: what was expected, what was found, where.

pydantic finds all of it; the words are ours, and file and line are the tree's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from .errors import Problem
from .settings import HOST_KEYS, LOADER_FIELDS, STAGE_KEYS, Settings
from .wording import describe, kind, nearest, one_of
from .yamltree import Node, Step, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ROOT_KEYS = (frozenset(Settings.model_fields) - LOADER_FIELDS) | {"hosts"}
MISSING = "missing"

_TYPES = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "list_type": "a list",
}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong.

    :ivar path: where, from the whole that was read.
    :ivar known: the keys there are, where this one is not known.
    """

    path: tuple[Step, ...]
    message: str
    hint: str = ""
    known: Collection[str] = ()


def problems_of(error: ValidationError, tree: Node) -> list[Problem]:
    """One problem for each mistake in Settings, placed where `tree` says its value was written."""
    return [_problem(mistake, tree) for mistake in mistakes(error, Settings)]


def _problem(mistake: Mistake, tree: Node) -> Problem:
    node, rest = tree.find(mistake.path)
    path = (*node.path, *rest[:1]) if mistake.message == MISSING else node.path
    words = mistake.message, mistake.hint
    if mistake.known:
        words = unknown_key(str(mistake.path[-1]), _known(mistake, path))
    return Problem(node.file, node.line, dotted(path), *words)


def mistakes(error: ValidationError, model: type[BaseModel]) -> list[Mistake]:
    """All that is wrong with what was to be a model."""
    # What a default would have been made from is wrong, and told for itself.
    told = [details for details in error.errors(include_url=False) if details["type"] != "default_factory_not_called"]
    return [_mistake(details, model) for details in told]


def _mistake(details: ErrorDetails, model: type[BaseModel]) -> Mistake:
    path = details["loc"][:-1] if details["loc"][-1:] == ("[key]",) else details["loc"]
    if details["type"] == "missing":
        field = _model_at(path[:-1], model).model_fields[str(path[-1])]
        return Mistake(path, MISSING, str(field.description).rstrip("."))
    if details["type"] == "extra_forbidden":
        return Mistake(path, "unknown key", known=_model_at(path[:-1], model).model_fields.keys())
    if details["type"] == "value_error":
        refused = details["ctx"]["error"]
        return Mistake((*path, *refused.at), refused.message, refused.hint)
    return Mistake(path, *_words(details, path))


def _words(details: ErrorDetails, path: tuple[Step, ...]) -> tuple[str, str]:
    """Message and hint for what pydantic itself refuses."""
    value, context = details["input"], details.get("ctx", {})
    found = kind(value) if _is_private(path) else describe(value)
    if details["type"] == "literal_error":
        return one_of(re.findall("'([^']+)'", context["expected"]), value)
    if details["type"] in _TYPES:
        return f"expected {_TYPES[details['type']]}, found {found}", _hint(details["type"], value)
    bounds = {
        "greater_than_equal": f"expected {context.get('ge')} or more, found {found}",
        "less_than_equal": f"expected {context.get('le')} or less, found {found}",
        "too_short": "expected at least one, found none",
    }
    return bounds.get(details["type"], details["msg"]), ""


def _hint(wanted: str, value: object) -> str:
    if value is None:
        return "give it a value, or leave the key out"
    if wanted == "list_type":
        return "write it as [one, two], or each on a line of its own after a dash"
    if wanted == "int_type":
        return "write it without quotes" if isinstance(value, str) and value.strip().isdecimal() else ""
    if wanted != "string_type":
        return ""
    if isinstance(value, bool):
        return "YAML reads yes, no, on and off as true and false: put it in quotes"
    if isinstance(value, float):
        return "YAML reads 3.10 as the number 3.1: put it in quotes"
    return "put it in quotes" if isinstance(value, int) else ""


def _is_private(path: tuple[Step, ...]) -> bool:
    """Values that may hold a password are never shown."""
    return path[:1] in (("env",), ("secrets",), ("notify",)) or path[:2] == ("source", "git")


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model in a field's type: of a section, of what may be one, or of a list's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_in(part))), None)


def _model_at(path: Iterable[Step], model: type[BaseModel]) -> type[BaseModel]:
    for step in path:
        if isinstance(step, str) and step in model.model_fields:  # items and values of a mapping have its model
            model = model_in(model.model_fields[step].annotation) or model
    return model


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
    sections = {key: model_in(Settings.model_fields[key].annotation) for key in ROOT_KEYS - {"hosts"}}
    owners = [section for section, model in sections.items() if model and name in model.model_fields]
    return owners[0] if len(owners) == 1 else ""


def _known(mistake: Mistake, path: tuple[Step, ...]) -> Iterable[str]:
    if len(mistake.path) > 1:
        return mistake.known
    return HOST_KEYS | ROOT_KEYS - STAGE_KEYS - {"hosts"} if path[:1] == ("hosts",) else ROOT_KEYS
