"""Backups of an application's database, in the application's root, where root alone gets in::

    backups/                       root's, mode 0700
      20261125T104500Z/            when it was begun, in UTC
        dump                       what the database's own program wrote
        backup.json                what is known about it

A dump is made, and restored, by programs that run as the application's user, with its environment. Root's process
writes what they print, and reads what they are given, so that user has no file here, and needs none. A backup is
made under another name and gets its own by one rename, once all of it is on the disk.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, TypedDict

from . import agent, dumping, kinds, process, releases, times, tree
from .application import launcher
from .failure import Failed
from .unix import O_CLOEXEC, O_NOFOLLOW

FOLDER, DUMP, FACTS = "backups", "dump", "backup.json"
ID, STAMP = re.compile(r"\d{8}T\d{6}Z"), "%Y%m%dT%H%M%SZ"
ROOM = 1 << 30  # bytes of the disk that a backup leaves free, or a tenth of it where that is less
PIECE = 1 << 18
HINT = "See what there is: fab backups"


@dataclass(frozen=True)
class Database:
    """How the database of an application is dumped and restored, as its settings say.

    :ivar tool: pg_dump, mysqldump or sqlite; empty where the commands are the user's own.
    :ivar variable: the one of the application's environment that names the database, for a tool.
    :ivar command: a shell command that dumps it to standard output.
    :ivar restore: the one that restores it from standard input; empty where there is none.
    :ivar keep: how many backups are kept.
    :ivar timeout: seconds that a dump gets, and a restore.
    """

    tool: str
    variable: str
    command: str
    restore: str
    keep: int
    timeout: float


class Backup(TypedDict):
    """What is known about a backup; ``release`` is the one whose environment it was made in."""

    id: str
    made: str
    why: str
    who: str
    release: str
    tool: str
    bytes: int
    sha256: str
    seconds: float


def take(
    root: str, user: str, release: str, database: Database, why: str, who: str, spared: str = ""
) -> Backup | None:
    """Back the database up; None where there is none yet.

    :param release: the one whose environment says which database it is.
    :param why: what is about to be done.
    :param spared: a backup that is kept, however many there are.
    :raises Failed: the dump failed, or there is no room for it; nothing of it stays.
    """
    began, folder = time.monotonic(), _folder(root)
    name = _new_id(root)
    made = releases.temporary(f"{folder}/{name}")
    os.mkdir(made, 0o700)
    try:
        with _create(f"{made}/{DUMP}") as file:
            written = _Written(file)
            if not _dump(root, user, release, database, written):
                return None
            written.flush()
        known: Backup = {
            "id": name,
            "made": times.utc(),
            "why": why,
            "who": who,
            "release": release,
            "tool": database.tool or database.command,
            "bytes": written.bytes,
            "sha256": written.digest.hexdigest(),
            "seconds": round(time.monotonic() - began, 1),
        }
        releases.write_atomically(f"{made}/{FACTS}", json.dumps(known, ensure_ascii=False).encode(), 0o600)
        os.rename(made, f"{folder}/{name}")
        releases.flush(folder)
    finally:
        if os.path.lexists(made):
            releases.discard(made)
    _prune(root, database.keep, {name, spared})
    return known


def listing(root: str) -> list[Backup]:
    """The backups that are there, oldest first."""
    return [_read(root, name) for name in ids(root)]


def ids(root: str) -> list[str]:
    """Their ids, oldest first."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(f"{root}/{FOLDER}") if ID.fullmatch(name))
    return []


@agent.uninterrupted()
def restore(root: str, user: str, release: str, database: Database, name: str) -> Backup:
    """Put a backup's content in the place of what is in the database.

    :param release: the one whose environment says which database it is.
    :param name: the backup's id.
    :raises Failed: it is not there, not whole, or of another kind of database; or it could not be restored.
    """
    known = find(root, name)
    argv = _restoring(root, release, database, known)
    _check_whole(root, known)
    done = process.run(
        argv, user=user, timeout=database.timeout, stdin=_pieces(root, known), on_line=agent.output
    )
    if done.status != 0:
        how = process.ending(done, "it", database.timeout)
        raise Failed(
            kinds.NOT_RESTORED,
            f"the backup {name} could not be restored: {how}{process.quote(done.lines)}",
            "By pg_dump and sqlite, all is as it was. Mend what is said above, and do it again: the backup is kept.",
        )
    return known


def find(root: str, name: str) -> Backup:
    """What is known about a backup.

    :raises Failed: there is none of this id.
    """
    if name not in ids(root):
        raise Failed(kinds.BACKUP_NAME, f"there is no backup {name!r}", HINT)
    return _read(root, name)


def _restoring(root: str, release: str, database: Database, known: Backup) -> list[str]:
    """The command line that restores from standard input.

    :raises Failed: there is no command, or the backup was not made for it.
    """
    if known["tool"] != (database.tool or database.command):
        raise Failed(
            kinds.NOT_RESTORED,
            f"the backup {known['id']} was made by {known['tool']}, and the settings of now say otherwise",
            f"Restore it by hand, from {_path(root, known['id'])}",
        )
    if not database.tool and not database.restore:
        raise Failed(
            kinds.NOT_RESTORED,
            "backup.restore is not set: what restores what backup.command has written is not known",
            f"Set it, or restore by hand, from {_path(root, known['id'])}",
        )
    return _argv(root, release, database, "restore", database.restore)


def _dump(root: str, user: str, release: str, database: Database, written: _Written) -> bool:
    """Have the database's program write; whether there is a database.

    :raises Failed: it failed, or wrote nothing.
    """
    argv = _argv(root, release, database, "dump", database.command)
    done = process.run(argv, user=user, timeout=database.timeout, into=written.add, on_line=agent.output)
    if database.tool and done.status == dumping.NOTHING:
        return False
    if done.status != 0 or not written.bytes:
        how = process.ending(done, "it", database.timeout) if done.status != 0 else "it wrote nothing"
        what = f"the backup failed: {database.tool or database.command}: {how}{process.quote(done.lines)}"
        raise Failed(kinds.BACKUP, what)
    return True


def _argv(root: str, release: str, database: Database, what: str, command: str) -> list[str]:
    """The command line of a dump or a restore, in a release's environment."""
    launch = launcher(releases.directory(root, release))
    if not database.tool:
        return [*launch, "/bin/sh", "-c", command]
    with open(dumping.__file__, encoding="utf-8") as file:  # the user cannot read it where it is
        text = file.read()
    return [*launch, os.path.realpath(sys.executable), "-I", "-c", text, what, database.tool, database.variable]


class _Written:
    """A file that is written as long as there is room on its disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes, self.digest = file, 0, hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Write a piece.

        :raises Failed: the disk would be too full.
        """
        disk = os.fstatvfs(self.file.fileno())
        left = _left(disk)
        if disk.f_bavail * disk.f_frsize - len(piece) < left:
            raise Failed(
                kinds.BACKUP,
                f"there is no room for the backup: it has {self.bytes >> 20} MiB by now, and {left >> 20} MiB of "
                "the disk are left free",
                "Make room on the host (df -h), or keep fewer: backup.keep",
            )
        self.file.write(piece)
        self.digest.update(piece)
        self.bytes += len(piece)

    def flush(self) -> None:
        """Have all of it on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


def _folder(root: str) -> str:
    """The directory of the backups, which root alone gets into; made where it is not there."""
    path = f"{root}/{FOLDER}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        releases.flush(root)
    with tree.within(path) as handle:
        info = os.fstat(handle)
    if info.st_uid != 0 or info.st_mode & 0o077:
        hint = f"See who uses it, then: chown root {path}; chmod 700 {path}"
        raise Failed(kinds.NOT_ROOTS, f"{path} is not root's alone", hint)
    return path


def _new_id(root: str) -> str:
    """The time of now; the second after that of the newest backup where the clock has not come so far."""
    newest = [calendar.timegm(time.strptime(name, STAMP)) for name in ids(root)[-1:]]
    return time.strftime(STAMP, time.gmtime(max([time.time(), *(second + 1 for second in newest)])))


def _left(disk: os.statvfs_result) -> int:
    """Bytes of a disk that a backup leaves free."""
    return min(ROOM, disk.f_blocks * disk.f_frsize // 10)


def _create(path: str) -> BinaryIO:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600), "wb")


def _path(root: str, name: str) -> str:
    return f"{root}/{FOLDER}/{name}/{DUMP}"


def _read(root: str, name: str) -> Backup:
    with open(f"{root}/{FOLDER}/{name}/{FACTS}", encoding="utf-8") as file:
        known: Backup = json.load(file)
    return known


def _pieces(root: str, known: Backup) -> Iterator[bytes]:
    """What a backup's file holds, as far as it was written when the backup was taken."""
    left = known["bytes"]
    with open(os.open(_path(root, known["id"]), os.O_RDONLY | O_NOFOLLOW | O_CLOEXEC), "rb") as file:
        while left and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece


def _check_whole(root: str, known: Backup) -> None:
    """:raises Failed: a backup's file is not what was written."""
    digest = hashlib.sha256()
    for piece in _pieces(root, known):
        digest.update(piece)
    if digest.hexdigest() != known["sha256"]:
        what = f"the file of the backup {known['id']} is not as it was written: it was not used"
        raise Failed(kinds.NOT_RESTORED, what, HINT)


def _prune(root: str, keep: int, spared: set[str]) -> None:
    """Remove the oldest backups beyond those that are kept."""
    for name in ids(root)[:-keep]:
        if name not in spared:
            releases.discard(f"{root}/{FOLDER}/{name}")
