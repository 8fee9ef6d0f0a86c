"""What is sent to hosts runs there with nothing but Python 3.9."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator

import pytest

from fabrelease.tasks.engine.session import shipped_sources

SOURCES: dict[str, str] = json.loads(shipped_sources())
MODULES = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in SOURCES}


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules, or names in them, that a module imports, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = ".".join(package.split(".")[: -node.level + 1 or None]) if node.level else ""
            module = ".".join(filter(None, (folder, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", SOURCES)
def test_a_module_is_of_python_39_and_needs_what_is_shipped_or_the_standard_library(path: str) -> None:
    tree = ast.parse(SOURCES[path], feature_version=(3, 9))
    wanted = set(imported(tree, path.rpartition("/")[0].replace("/", ".")))
    foreign = {
        name
        for name in wanted
        if name.split(".")[0] not in sys.stdlib_module_names and not {name, name.rpartition(".")[0]} & MODULES
    }
    assert foreign == set()


def test_all_of_the_remote_side_is_shipped() -> None:
    assert {"agent", "bootstrap", "cutover", "lock", "unix", "wire"} <= {name.rpartition(".")[2] for name in MODULES}
