"""Which servers and managers there are: the modules of this package, and those that others add by entry points.

Another package adds one by an entry point of the group ``fabrelease.servers`` or ``fabrelease.managers``: its name is
the name in the settings, and it leads to a module that has what the modules here have.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

TASKS = Path(__file__).parents[1]


def servers() -> list[str]:
    """The names of all servers, sorted."""
    return names("servers")


def managers() -> list[str]:
    """The names of all managers, sorted."""
    return names("managers")


def server(name: str) -> ModuleType:
    """The module of a server.

    :raises LookupError: there is none of this name.
    """
    return _load("servers", name)


def manager(name: str) -> ModuleType:
    """The module of a manager.

    :raises LookupError: there is none of this name.
    """
    return _load("managers", name)


def there_is(kind: str, name: str) -> bool:
    """Whether there is a driver of this name.

    :param kind: ``servers`` or ``managers``.
    """
    return name in packaged(kind) or name in outside(kind).names


def names(kind: str) -> list[str]:
    """The names of all drivers of a kind, sorted."""
    return sorted({*packaged(kind), *outside(kind).names})


@cache
def packaged(kind: str) -> list[str]:
    """The names of this package's own drivers of a kind, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([str(TASKS / kind)]))


def outside(kind: str) -> EntryPoints:
    """Other packages' drivers of a kind. To look for them takes its time: only for a name that is none of our own."""
    from importlib.metadata import entry_points

    return entry_points(group=f"fabrelease.{kind}")


def _load(kind: str, name: str) -> ModuleType:
    if name in packaged(kind):
        return importlib.import_module(f"fabrelease.tasks.{kind}.{name}")
    module: ModuleType = outside(kind)[name].load()
    return module
