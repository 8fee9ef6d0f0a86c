"""What a project says of the packages and the Python that it needs."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..remote.environment import DETECTED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Where a project keeps them, when it is no place that a deploy looks at by itself; the first that is there.
ELSEWHERE = (
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/requirements.txt",
    "requirements/base.txt",
    "requirements/common.txt",
    "requirements-prod.txt",
    "requirements.lock",
)
# Forms that have to be brought into another one, and by which command.
FOREIGN = {
    "poetry.lock": "poetry export --without-hashes --output requirements.txt",
    "pdm.lock": "pdm export --without-hashes --output requirements.txt",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "Pipfile": "pipenv lock && pipenv requirements > requirements.txt",
    "environment.yml": "pip list --format=freeze > requirements.txt",
    "setup.py": "pip freeze --exclude-editable > requirements.txt",
}
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*==\s*([0-9.]+)", re.M)
LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock")
PACKAGE = re.compile(r"^[ \t\"']*([A-Za-z0-9][A-Za-z0-9._-]*)", re.M)
MINORS = range(8, 16)
NEWEST_EVERYWHERE = 11  # Debian 12's own python3; what is older is on most machines, too
OLDEST = {"gunicorn": "23", "uvicorn": "0.30"}  # that a deploy can use
FROM_SOURCE = {
    "psycopg2": ("gcc", "libpq-dev", "python3-dev"),
    "psycopg": ("libpq5",),
    "mysqlclient": ("default-libmysqlclient-dev", "gcc", "pkg-config", "python3-dev"),
}


@dataclass(frozen=True)
class Requirements:
    """The packages that a project needs.

    :ivar file: what a deploy will read; empty where there is nothing that it can.
    :ivar is_found: whether it is found without being named.
    :ivar foreign: a file that a deploy does not read.
    :ivar names: the packages, as far as they can be seen.
    :ivar pins: the versions of those that have one.
    :ivar is_hashed: whether nothing without a hash is installed.
    """

    file: str = ""
    is_found: bool = True
    foreign: str = ""
    names: frozenset[str] = frozenset()
    pins: dict[str, str] = field(default_factory=dict)
    is_hashed: bool = False

    @property
    def system_packages(self) -> list[str]:
        """Debian's packages that some of them need to be built or to run."""
        return sorted({package for name, needed in FROM_SOURCE.items() if name in self.names for package in needed})

    def problems(self, server: str) -> list[str]:
        """What is in the way of installing them, and what to type.

        :param server: the package that is installed beside them.
        """
        if not self.file:
            if not self.foreign:
                return ["no file of requirements: pip freeze > requirements.txt"]
            return [f"{self.foreign} is not read by a deploy: {FOREIGN[self.foreign]}, and commit that"]
        oldest, pinned = OLDEST.get(server, ""), self.pins.get(server, "")
        if pinned and oldest and _numbers(pinned) < _numbers(oldest):
            return [f"{self.file} pins {server} {pinned}, which is too old: {oldest} or newer is needed"]
        if self.is_hashed and server not in self.names:
            return [
                f"{self.file} pins by hashes, so {server} has to be in it with its own: nothing without is installed"
            ]
        return []


def read(root: Path) -> Requirements:
    """The requirements of the project in a directory."""
    foreign = next((name for name in FOREIGN if (root / name).is_file()), "")
    file = next((name for name in DETECTED if _is_usable(root, name)), "")
    is_found = bool(file)
    # A pyproject.toml that only builds the package is none that a lock of another tool could be left for.
    if file == "pyproject.toml" and foreign in ("poetry.lock", "pdm.lock", "Pipfile.lock"):
        file = ""
    elif not file:
        file = next((name for name in ELSEWHERE if (root / name).is_file()), "")
    versions = _versions(root, file or foreign)
    return Requirements(
        file=file,
        is_found=is_found,
        foreign=foreign if not file else "",
        names=frozenset(versions),
        pins={name: version for name, version in versions.items() if version},
        is_hashed=file.endswith(".txt") and "--hash=" in _included(root, file),
    )


def is_project(root: Path) -> bool:
    """Whether a directory says by itself what it needs."""
    return any(_is_usable(root, name) for name in DETECTED) or any((root / name).is_file() for name in FOREIGN)


def pyproject(root: Path) -> dict[str, Any]:
    """What pyproject.toml says; nothing where it is not there or is no TOML."""
    return _toml(root / "pyproject.toml")


def python(root: Path) -> tuple[str, str]:
    """The version of Python that is asked for, and by which file; empty where any will do."""
    for name, pattern in ((".python-version", r"^\s*(3\.\d+)"), ("runtime.txt", r"^python-(3\.\d+)")):
        if found := re.search(pattern, _text(root / name), re.M):
            return found[1], name
    if found := re.search(r'^python_(?:full_)?version\s*=\s*"(3\.\d+)', _text(root / "Pipfile"), re.M):
        return found[1], "Pipfile"
    project = pyproject(root)
    asked = str(project.get("project", {}).get("requires-python", ""))
    poetry = project.get("tool", {}).get("poetry", {}).get("dependencies", {})
    return allowed(asked or str(poetry.get("python", ""))), "pyproject.toml"


def allowed(asked: str) -> str:
    """The version to take of those that are allowed; empty where the usual ones are."""
    minors = [
        minor for minor in MINORS if all(_admits(clause, minor) for clause in asked.split(",") if clause.strip())
    ]
    if not minors or {NEWEST_EVERYWHERE, NEWEST_EVERYWHERE + 2} <= set(minors):
        return ""
    newer = [minor for minor in minors if minor >= NEWEST_EVERYWHERE]
    return f"3.{min(newer) if newer else max(minors)}"


def _admits(clause: str, minor: int) -> bool:
    found = re.match(r"\s*(\^|~=|~|===?|!=|<=|>=|<|>)?\s*(\d+)(?:\.(\d+))?(?:\.(\d+|\*))?", clause)
    if not found or found[3] is None:
        return True  # of 3 as a whole, or nothing that is understood
    operator, number = found[1] or "==", int(found[3])
    if found[2] != "3":
        return True  # <4, and what else bounds all of Python 3
    return {
        "<": minor < number or bool(found[4] and minor == number),
        "<=": minor <= number,
        ">": minor > number or bool(found[4] and minor == number),
        ">=": minor >= number,
        "^": minor >= number,
        "!=": minor != number or bool(found[4] and found[4] != "*"),
        "~=": minor == number if found[4] else minor >= number,
    }.get(operator, minor == number)


def _is_usable(root: Path, name: str) -> bool:
    """Whether a file is there and speaks of packages: many a pyproject.toml has settings of tools alone."""
    return (root / name).is_file() and (name not in ("pyproject.toml", "uv.lock") or "project" in pyproject(root))


def _versions(root: Path, file: str) -> dict[str, str]:
    """The packages that a file names, with their versions, which are empty where none is pinned."""
    if file in LOCKS:
        listed = _toml(root / file)
        packages = listed.get("package", listed.get("packages", []))
        return {_normal(str(one.get("name", ""))): str(one.get("version", "")) for one in packages}
    lines = _included(root, file)
    if file == "pyproject.toml":
        lines = "\n".join(map(str, pyproject(root)["project"].get("dependencies", [])))
    named = {_normal(name): "" for name in PACKAGE.findall(lines)}
    return named | {_normal(name): version for name, version in PINNED.findall(lines)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _included(root: Path, file: str, depth: int = 3) -> str:
    """A file of requirements, with those that it includes."""
    content = _text(root / file)
    for other in re.findall(r"^\s*(?:-r|--requirement)[ =]?\s*(\S+)", content, re.M) if depth else []:
        content += "\n" + _included(root, (Path(file).parent / other).as_posix(), depth - 1)
    return content


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return ""


def _toml(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}
    return found
