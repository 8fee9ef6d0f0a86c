"""A project's Python files: read and parsed, never imported and never run."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

# What is no part of what serves: other people's code, what was built, and what only tries or explains things.
SKIPPED = frozenset(
    [
        "__pycache__",
        "bench",
        "benchmarks",
        "build",
        "dist",
        "doc",
        "docs",
        "example",
        "examples",
        "locale",
        "migrations",
        "node_modules",
        "samples",
        "scripts",
        "site-packages",
        "static",
        "templates",
        "test",
        "tests",
        "tools",
    ]
)
FOR_TESTS = ("test_", "conftest", "tests.", "setup.py", "noxfile", "fabfile")
MOST_FILES = 5000
MOST_BYTES = 1 << 20
NOTHING = ast.Module([], [])
Tests: TypeAlias = tuple[ast.expr, ...]


class Code:
    """The Python files below a directory, each parsed when it is first asked for.

    :param root: the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = _files(root)
        self._trees: dict[str, ast.Module] = {}

    def tree(self, file: str) -> ast.Module:
        """What is in a file; nothing where that is no Python."""
        if file not in self._trees:
            self._trees[file] = _parse(self.root / file)
        return self._trees[file]

    def trees(self) -> Iterator[tuple[str, ast.Module]]:
        """Every file with what is in it, those nearest to the root first."""
        for file in self.files:
            yield file, self.tree(file)

    def file_of(self, module: str, base: str) -> str:
        """The file of a module; empty where it is none of the project's.

        :param base: the directory that modules are imported from.
        """
        stem = PurePosixPath(base, *module.split("."))
        return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if (self.root / path).is_file()), "")


def module_of(file: str, base: str) -> str:
    """The name that a file is imported by, from a directory."""
    parts = PurePosixPath(file).relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def dotted(node: ast.expr) -> str:
    """A name with dots, as it stands there; empty for all else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def imported(tree: ast.Module, package: str = "") -> dict[str, str]:
    """What the names that a file imports stand for: their whole names, with dots.

    :param package: the name of the package that the file is in, which ``from .`` begins at.
    """
    names: dict[str, str] = {}
    parts = package.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update({one.asname: one.name for one in node.names if one.asname})
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            origin = ".".join(filter(None, [*above, node.module or ""]))
            names.update({one.asname or one.name: f"{origin}.{one.name}" for one in node.names})
    return names


def whole(node: ast.expr, names: dict[str, str]) -> str:
    """The whole name of what is named, by what the file imports."""
    first, dot, rest = dotted(node).partition(".")
    return names.get(first, first) + dot + rest


def top_level(body: list[ast.stmt], tests: Tests = ()) -> Iterator[tuple[ast.stmt, Tests]]:
    """The statements that an import runs, those below if, try and with included; what only a script runs is not.

    :param tests: the conditions that they stand under.
    """
    for statement in body:
        if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
            continue
        yield statement, tests
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner = (*tests, statement.test) if isinstance(statement, ast.If) else tests
            for part in (statement, *getattr(statement, "handlers", ())):
                for name in ("body", "orelse", "finalbody"):
                    yield from top_level(getattr(part, name, []), inner)


class Assignment(NamedTuple):
    """A name that is given a value; ``tests`` are the conditions that this stands under."""

    name: str
    value: ast.expr
    tests: Tests


def assigned(tree: ast.Module) -> Iterator[Assignment]:
    """The names that an import gives values to, in order; of ``NAME["key"] = …`` it is NAME."""
    for statement, tests in top_level(tree.body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
            targets = [statement.target]
        for target in targets:
            named = target.value if isinstance(target, ast.Subscript) else target
            value = getattr(statement, "value", None)
            if isinstance(named, ast.Name) and value is not None:
                yield Assignment(named.id, value, tests)


def text(node: ast.AST | None) -> str:
    """The text that stands there; empty for all else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """An argument that is given by its name."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def _files(root: Path) -> list[str]:
    found: list[str] = []
    for directory, inside, names in os.walk(root):
        inside[:] = sorted(name for name in inside if _is_own(Path(directory), name))
        found += [
            Path(directory, name).relative_to(root).as_posix()
            for name in names
            if name.endswith(".py") and not name.startswith(FOR_TESTS)
        ]
        if len(found) > MOST_FILES:
            break
    return sorted(found[:MOST_FILES], key=lambda file: (file.count("/"), file))


def _is_own(directory: Path, name: str) -> bool:
    is_environment = (directory / name / "pyvenv.cfg").exists()
    return not (name.startswith((".", "{")) or name in SKIPPED or name.endswith(".egg-info") or is_environment)


def _parse(path: Path) -> ast.Module:
    try:
        if path.stat().st_size > MOST_BYTES:
            return NOTHING
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return NOTHING
