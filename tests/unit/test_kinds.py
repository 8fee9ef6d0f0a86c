"""Every error that the code raises is of a kind in the catalogue, and the catalogue is used up."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from invoke.context import Context

from fabrelease.tasks import explain
from fabrelease.tasks.engine.errors import Error, HostError, HostErrors, UsageError
from fabrelease.tasks.engine.remote import kinds
from fabrelease.tasks.engine.remote.failure import Failed, kind_of

TASKS = Path(kinds.__file__).parents[2]
# Run as programs, not imported.
SCRIPTS = {"bootstrap.py"}
NAMES = {name: kind for name, kind in vars(kinds).items() if isinstance(kind, kinds.Kind)}


@cache
def modules() -> dict[str, tuple[ModuleType, ast.Module]]:
    found = {}
    for path in sorted(TASKS.rglob("*.py")):
        if path.name not in SCRIPTS and path.name != "__main__.py":
            place = path.relative_to(TASKS)
            name = ".".join(["fabrelease.tasks", *place.with_suffix("").parts]).removesuffix(".__init__")
            found[str(place)] = importlib.import_module(name), ast.parse(path.read_text())
    return found


def errors_made(module: ModuleType, tree: ast.Module) -> Iterator[ast.Call]:
    """The calls that make an error whose kind is given to it, in its place or in a subclass."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and is_error(getattr(module, node.name, None)):
            yield from (call for call in calls(node) if ast.unparse(call.func) == "super().__init__")
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            made = value(module, node.func)
            if is_error(made) and "kind" in inspect.signature(made).parameters:
                yield node


def calls(node: ast.AST) -> Iterator[ast.Call]:
    return (found for found in ast.walk(node) if isinstance(found, ast.Call))


def is_error(made: object) -> bool:
    return isinstance(made, type) and issubclass(made, (Error, Failed))


def value(module: ModuleType, node: ast.AST) -> object:
    """What a name, or a name in a module, stands for."""
    if isinstance(node, ast.Attribute):
        return getattr(value(module, node.value), node.attr, None)
    return vars(module).get(node.id) if isinstance(node, ast.Name) else None


def names_a_kind(call: ast.Call) -> bool:
    """Whether an error is made with a kind, or with the kind of the error that it is about."""
    given = ast.unparse(call.args[0]) if call.args else ""
    known = given.startswith("kinds.") and given.removeprefix("kinds.") in NAMES
    return known or re.fullmatch(r"kind|known|\w+\.kind|kind_of\(\w+\)", given) is not None


def test_every_error_names_its_kind() -> None:
    made = [(place, call) for place, (module, tree) in modules().items() for call in errors_made(module, tree)]
    # The classes themselves hand their messages on to Exit and Exception.
    theirs = {"engine/errors.py", "engine/remote/failure.py"}
    assert [f"{place}:{call.lineno}" for place, call in made if place not in theirs and not names_a_kind(call)] == []
    assert len(made) > 200


def test_every_kind_is_used() -> None:
    used = {
        node.attr
        for _, tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "kinds"
    }
    assert set(NAMES) - used == set()


def test_no_two_kinds_have_one_code() -> None:
    codes = [kind.code for kind in NAMES.values()]
    assert codes == sorted(set(codes))
    assert all(re.fullmatch(r"FR-\d{3}", code) for code in codes)
    assert {kind.code: kind for kind in NAMES.values()} == kinds.BY_CODE


@pytest.mark.parametrize("kind", NAMES.values(), ids=NAMES)
def test_a_kind_says_what_happened_why_and_what_to_do(kind: kinds.Kind) -> None:
    assert kind.what.endswith(".") and kind.why.endswith(".") and kind.remedy
    assert len({kind.what, kind.why, kind.remedy}) == 3


def test_an_errors_code_is_at_the_end_of_its_first_line() -> None:
    error = HostError(kinds.HOOK, "web1", "it failed\n  | oops", "mend it")
    assert str(error) == "web1: it failed\n  | oops\n  mend it"
    assert error.message == "web1: it failed [FR-407]\n  | oops\n  mend it"
    both = HostErrors([error, HostError(kinds.UNREACHABLE, "web2", "it is down")])
    assert both.message == f"{error.message}\nweb2: it is down [FR-201]"


def test_errors_of_the_system_are_of_kinds_that_can_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(OSError) as full, open("/dev/full", "w") as file:
        file.write("x")
        file.flush()
    with pytest.raises(OSError) as missing:
        os.readlink(tmp_path / "none")
    assert kind_of(full.value) is kinds.DISK_FULL
    assert kind_of(missing.value) is kinds.SYSTEM
    assert kind_of(Failed(kinds.LOCKED, "no")) is kinds.LOCKED
    assert kind_of(KeyError()) is kinds.FAULT


def test_explain_says_what_is_behind_a_code_however_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Context(), "[fr-501]")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == f"FR-501 {kinds.LOCKED.what} Why: {kinds.LOCKED.why} What to do: {kinds.LOCKED.remedy}"
    with pytest.raises(UsageError, match="there is no error FR-999\n  They go from FR-001 to FR-901"):
        explain(Context(), "FR-999")
