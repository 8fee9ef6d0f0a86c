"""What a deploy takes from this machine: secrets, shared files, wheels. All of it is looked at before connecting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import certificate, git
from .errors import UsageError
from .remote import files

if TYPE_CHECKING:
    from .settings import Settings


def check(settings: Settings) -> None:
    """Look at everything that the settings name on this machine.

    :raises UsageError: something is not there, or cannot be read.
    """
    placed_files(settings)
    for place in (settings.python.wheelhouse, wheel_of(settings)):
        if place:
            wheels(settings, place)
    if settings.secrets:
        read_secrets(settings)
    if certificate.files(settings):
        certificate.warn(settings)


def identity(settings: Settings) -> list[str]:
    """What names a project wherever it is cloned: the commits that its repository began with.

    :returns: nothing where that cannot be known: of a package, and in a clone that is cut off (shallow).
    """
    where = settings.source
    if where.package:
        return []
    return git.first_commits(git.mirror(where.git) if where.git else settings.local(where.path or "."))


def read_secrets(settings: Settings) -> dict[str, str]:
    """The variables of the local file of secrets, in dotenv's syntax; nothing in it is expanded.

    :raises UsageError: the file is not there, or a line is no variable; the message holds no value.
    """
    from dotenv.parser import parse_stream

    path = settings.local(settings.secrets or "")
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"secrets: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for binding in bindings:
        named = binding.key is None or (binding.key.isascii() and binding.key.isidentifier())
        if binding.error or not named or (binding.key is not None and binding.value is None):
            raise UsageError(f"secrets: {path}:{binding.original.line} is no NAME=value line")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}


def placed_files(settings: Settings) -> list[files.File]:
    """The files that are kept in shared/ and come from here, the first time and when they changed.

    :raises UsageError: one is not there.
    """
    entries = []
    for target, local in settings.shared.files.items():
        if local is not None:
            path = settings.local(local)
            if not path.is_file():
                raise UsageError(f"shared.files: there is no local file {path}")
            entries.append(files.entry(f"{settings.root}/shared/{target}", path.read_bytes(), 0o640, settings.user))
    return entries


def wheel_of(settings: Settings) -> str | None:
    """The local wheel that is deployed, where ``source.package`` names one."""
    package = settings.source.package
    return package if package and package.endswith(".whl") else None


def wheels(settings: Settings, place: str) -> list[Path]:
    """A local wheel, or those in a directory.

    :raises UsageError: there are none.
    """
    path = settings.local(place)
    if not path.is_dir():
        if not path.is_file():
            raise UsageError(f"there is no wheel {path}")
        return [path]
    found = sorted(path.glob("*.whl"))
    if not found:
        fill = f"pip wheel -r requirements.txt -w {path}"
        raise UsageError(f"python.wheelhouse: there are no wheels in {path}\n  Fill it: {fill}")
    return found
