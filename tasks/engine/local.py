"""What a deploy takes from this machine: secrets, shared files, wheels. All of it is looked at before connecting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import certificate, databases, git, passwords, secretsource
from .errors import UsageError
from .remote import files, kinds

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
    secretsource.check(settings)
    passwords.check(settings)
    databases.check(settings)
    if certificate.files(settings):
        certificate.warn(settings)
    authority(settings)


def identity(settings: Settings) -> list[str]:
    """What names a project wherever it is cloned: the commits that its repository began with.

    :returns: nothing where that cannot be known: of a package, and in a clone that is cut off (shallow).
    """
    where = settings.source
    if where.package:
        return []
    return git.first_commits(git.mirror(where.git) if where.git else settings.local(where.path or "."))


def placed_files(settings: Settings) -> list[files.File]:
    """The files that are kept in shared/ and come from here, the first time and when they changed.

    :raises UsageError: one is not there.
    """
    entries = []
    for target, local in settings.shared.files.items():
        if local is not None:
            path = settings.local(local)
            if not path.is_file():
                raise UsageError(kinds.LOCAL_FILE, f"shared.files: there is no local file {path}")
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
            raise UsageError(kinds.LOCAL_FILE, f"there is no wheel {path}")
        return [path]
    found = sorted(path.glob("*.whl"))
    if not found:
        fill = f"pip wheel -r requirements.txt -w {path}"
        raise UsageError(kinds.LOCAL_FILE, f"python.wheelhouse: there are no wheels in {path}\n  Fill it: {fill}")
    return found


def authority(settings: Settings) -> Path | None:
    """The local file that a proxy verifies the app hosts' certificates by; None where its system's are to do it.

    :raises UsageError: there is no such file.
    """
    said = settings.site.balance.authority
    if said is None or settings.balancing is None or not settings.balancing.tls:
        return None
    path = settings.local(said)
    if not path.is_file():
        raise UsageError(kinds.LOCAL_FILE, f"site.balance.authority: there is no local file {path}")
    return path
