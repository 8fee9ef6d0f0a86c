"""Plain values read into typed models: every mistake is found, not only the first, each with its path.

A model is a dataclass of `setting` fields. A field's type says what it takes: text, a whole number, one of
some words, a list, a mapping, another model, or one of these or nothing; a `Check` beside it in Annotated, what
else must hold. Types are strict: `"2"` is no number and `true` is no number either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, get_args, get_origin

from .yamltree import Step, dotted

M = TypeVar("M", bound="Model")
NOTHING: Any = object()
UNKNOWN = "unknown key"
ABSENT = "missing"

_EXPECTED = {int: "a whole number", str: "text", dict: "keys and values", list: "a list", Path: "a path"}


@dataclass(eq=False)
class Mistake(Exception):
    """One thing that is wrong.

    :ivar path: where, from the whole that was read.
    :ivar found: the value, when the message ends with it.
    :ivar known: what would have been right: keys or words.
    """

    message: str
    hint: str = ""
    path: tuple[Step, ...] = ()
    found: Any = NOTHING
    known: Collection[str] = ()


class Invalid(Exception):
    """A value does not fit its model; `mistakes` says why, all of it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(f"{dotted(mistake.path)}: {mistake.message}" for mistake in mistakes))
        self.mistakes = mistakes


def refuse(message: str, hint: str = "", at: tuple[str, ...] = ()) -> Mistake:
    """A mistake in plain words, to raise. `at` names the key when a check looks at several."""
    return Mistake(message, hint, at)


@dataclass(frozen=True, eq=False)
class Check:
    """What must hold beside the type.

    :param run: gives the value as it is kept, or raises what `refuse` makes.
    :param schema: what it means in JSON Schema: further keywords; with `before`, what else is taken.
    :param before: it sees the value before the type is looked at.
    """

    run: Callable[[Any], Any]
    schema: Mapping[str, Any] = field(default_factory=dict)
    before: bool = False


@dataclass(frozen=True, kw_only=True)
class Model:
    """What has fields made by `setting`. An unknown key is a mistake."""

    def check(self, given: Collection[str]) -> None:
        """Refuse what no field can see alone. `given` are the fields that were set."""


def setting(
    meaning: str,
    default: Any = MISSING,
    *,
    derived: Callable[[dict[str, Any]], Any] | None = None,
    shown: str = "",
) -> Any:
    """A field of a model; required, when it has no default.

    :param meaning: what it is for: for the reference page, for editors, and for the message when it is missing.
    :param derived: makes the default from the fields above that are right.
    :param shown: the default as the reference page gives it.
    """
    metadata = {"meaning": meaning, "derived": derived, "default": shown or default}
    if isinstance(default, (list, dict)):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def is_required(info: Field[Any]) -> bool:
    """Whether a key has to be there."""
    return info.metadata["default"] is MISSING and not info.metadata["derived"]


def is_model(kind: Any) -> TypeGuard[type[Model]]:
    """Whether a type is a model's."""
    return isinstance(kind, type) and issubclass(kind, Model)


def names(model: type[Model]) -> tuple[str, ...]:
    """The keys of a model."""
    return tuple(info.name for info in fields(model))


def model_in(kind: Any) -> type[Model] | None:
    """The model of a section's type."""
    return next((part for part in (kind, *get_args(kind)) if is_model(part)), None)


def without_none(kind: Any) -> Any:
    """The type of what may also be nothing; None for any other type."""
    inner = [part for part in get_args(kind) if part is not NoneType]
    return inner[0] if len(inner) < len(get_args(kind)) else None


def read(model: type[M], data: Any) -> M:
    """A model from plain values. Raises Invalid with all that is wrong."""
    reader = _Reader()
    result = reader.read(model, data, ())
    if reader.mistakes:
        raise Invalid(reader.mistakes)
    return result  # type: ignore[no-any-return]


class _Reader:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def read(self, kind: Any, value: Any, path: tuple[Step, ...]) -> Any:
        """The value as its type wants it; NOTHING when a mistake was found in it."""
        before = len(self.mistakes)
        try:
            result = self._read(kind, value, path)
        except Mistake as mistake:
            mistake.path = path + mistake.path
            self.mistakes.append(mistake)
        return result if len(self.mistakes) == before else NOTHING

    def _read(self, kind: Any, value: Any, path: tuple[Step, ...]) -> Any:
        origin = get_origin(kind) or kind
        if origin is Annotated:
            return self._checked(*get_args(kind), value=value, path=path)
        if origin is Any or (value is None and without_none(kind)):
            return value
        if inner := without_none(kind):
            return self._read(inner, value, path)
        if origin is Literal:
            return _one_of(get_args(kind), value)
        _expect(dict if is_model(kind) else origin, value)
        if is_model(kind):
            return self._model(kind, value, path)
        if origin is list:
            return [self.read(get_args(kind)[0], item, (*path, index)) for index, item in enumerate(value)]
        if origin is dict:
            of_key, of_value = get_args(kind)
            return {self.read(of_key, k, (*path, k)): self.read(of_value, v, (*path, k)) for k, v in value.items()}
        return value

    def _checked(self, kind: Any, *checks: Check, value: Any, path: tuple[Step, ...]) -> Any:
        for check in checks:
            value = check.run(value) if check.before else value
        value = self.read(kind, value, path)
        for check in checks:
            value = value if check.before or value is NOTHING else check.run(value)
        return value

    def _model(self, model: Any, given: dict[str, Any], path: tuple[Step, ...]) -> Any:
        before = len(self.mistakes)
        values: dict[str, Any] = {}
        for info in fields(model):
            here = (*path, info.name)
            if info.name in given:
                value = self.read(info.type, given[info.name], here)
                values |= {} if value is NOTHING else {info.name: value}
            elif info.metadata["derived"]:
                values[info.name] = info.metadata["derived"](values)
            elif is_required(info):
                self.mistakes.append(Mistake(ABSENT, info.metadata["meaning"].rstrip("."), here))
        known = names(model)
        self.mistakes += [Mistake(UNKNOWN, "", (*path, key), known=known) for key in given if key not in known]
        if len(self.mistakes) > before:
            return NOTHING
        result = model(**values)
        result.check(given)
        return result


def _one_of(words: tuple[str, ...], value: Any) -> Any:
    if value not in words:
        quoted = " or ".join(f'"{word}"' for word in words)
        raise Mistake(f"expected {quoted}", found=value, known=words)
    return value


def _expect(wanted: type, value: Any) -> None:
    if not isinstance(value, wanted) or isinstance(value, bool):  # to Python a bool is an int
        raise Mistake(f"expected {_EXPECTED[wanted]}", _hint(wanted, value), found=value)


def _hint(wanted: type, value: Any) -> str:
    if value is None:
        return "give it a value, or leave the key out"
    if wanted is list:
        return "write it as [one, two], or each on a line of its own after a dash"
    if wanted is int:
        return "write it without quotes" if isinstance(value, str) and value.strip().isdecimal() else ""
    if wanted is not str:
        return ""
    if isinstance(value, bool):
        return "YAML reads yes, no, on and off as true and false: put it in quotes"
    if isinstance(value, float):
        return "YAML reads 3.10 as the number 3.1: put it in quotes"
    return "put it in quotes" if isinstance(value, int) else ""


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


def show(value: object, limit: int = 40) -> str:
    """A value for a message: quoted, on one line, not too long."""
    text = '"' + str(value).encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
    return text if len(text) <= limit else text[: limit - 2] + '…"'
