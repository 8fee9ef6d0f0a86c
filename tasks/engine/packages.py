"""Which packages an environment would have in another version: what is installed against what is asked for."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

INCLUDED = re.compile(r"(?:-r|--requirement)[ =]?\s*(\S+)")
OPTION = re.compile(r"\s(?:--\w|#).*")  # after a requirement: hashes, and comments
Asked = Mapping[str, SpecifierSet]


@dataclass(frozen=True)
class Change:
    """A package that would come, go, or have another version; ``new`` may be what is asked for, like ``>=6,<7``."""

    package: str
    change: Literal["added", "removed", "changed"]
    old: str
    new: str


@dataclass(frozen=True)
class Changes:
    """What would be otherwise.

    :ivar known_by: ``installed``: the environment is there, and so is all that it holds; ``asked``: it would be made,
        and this is what the files of requirements and the settings ask for.
    :ivar unpinned: packages whose version is chosen when it is made: it may be another, and so may what they need.
    """

    known_by: Literal["installed", "asked"]
    changes: list[Change]
    unpinned: list[str] = field(default_factory=list)


def of_installed(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """What differs between two environments that are there.

    :param before: the packages and their versions.
    """
    return Changes("installed", list(_changes(_by_name(before), _by_name(after))))


def of_asked(installed: Mapping[str, str], before: Asked, after: Asked) -> Changes:
    """What would differ in an environment that has to be made.

    :param installed: the packages of the one that is live, and their versions.
    :param before: what was asked for when that was made.
    :param after: what is asked for now.
    """
    there = _by_name(installed)
    old = {name: there.get(name) or _text(asked) for name, asked in before.items()}
    new = {
        name: old.get(name, there.get(name, ""))
        if before.get(name) == asked or asked.contains(there.get(name, ""), prereleases=True)
        else _text(asked)
        for name, asked in after.items()
    }
    for name in after.keys() & there.keys():
        old[name] = there[name]
    unpinned = sorted(name for name, asked in after.items() if not _pin(asked))
    return Changes("asked", list(_changes(old, new)), unpinned)


def asked(source: str | None, files: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, SpecifierSet]:
    """What a file of requirements asks for, with those that it includes.

    :param source: its path.
    :param files: the texts, by their paths.
    :param more: requirements beside those of the file.
    """
    found = dict(_requirement(line) for line in more)
    if source is not None:
        name = posixpath.basename(source)
        if name in ("uv.lock", "pylock.toml"):
            found.update(_locked(files.get(source, "")))
        else:
            found.update(_lines(_dependencies(files) if name == "pyproject.toml" else _included(source, files)))
    found.pop("", None)
    return found


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None:
            yield Change(name, "added", "", new or "")
        elif new is None:
            yield Change(name, "removed", old, "")
        elif old != new:
            yield Change(name, "changed", old, new)


def _by_name(versions: Mapping[str, str]) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in versions.items()}


def _pin(asked: SpecifierSet) -> str:
    """The one version that is asked for; empty where others would do."""
    (only, *more) = [*asked] or [None]
    is_one = only is not None and not more and only.operator in ("==", "===") and not only.version.endswith(".*")
    return only.version if only is not None and is_one else ""


def _text(asked: SpecifierSet) -> str:
    return _pin(asked) or str(asked) or "any version"


def _requirement(line: str) -> tuple[str, SpecifierSet]:
    """A line's package, and what is asked of it; no name where it is none, like an option or an address."""
    try:
        found = Requirement(OPTION.sub("", f"{line} ").strip())
    except InvalidRequirement:
        return "", SpecifierSet()
    return canonicalize_name(found.name), found.specifier


def _lines(lines: Iterable[str]) -> dict[str, SpecifierSet]:
    return dict(map(_requirement, lines))


def _included(source: str, files: Mapping[str, str], depth: int = 10) -> Iterator[str]:
    """The lines of a file of requirements and of those that it includes."""
    for line in files.get(source, "").replace("\\\n", " ").splitlines():
        if (found := INCLUDED.match(line.strip())) and depth:
            yield from _included(posixpath.normpath(f"{posixpath.dirname(source)}/{found[1]}"), files, depth - 1)
        else:
            yield line


def _dependencies(files: Mapping[str, str]) -> list[str]:
    found: list[str] = _toml(files.get("pyproject.toml", "")).get("project", {}).get("dependencies", [])
    return found


def _locked(text: str) -> dict[str, SpecifierSet]:
    """The packages of a lock; not the project itself, which has no version there or lies in the project."""
    content = _toml(text)
    packages = content.get("package", content.get("packages", []))
    return {
        canonicalize_name(str(one["name"])): SpecifierSet(f"==={one['version']}")
        for one in packages
        if "version" in one and not {"virtual", "editable"} & set(one.get("source", {}))
    }


def _toml(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # the deploy says so
        return {}
    return found
