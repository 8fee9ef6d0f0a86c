"""Trees of files that somebody else wrote, walked by root without ever following a link.

Every step is relative to an open directory (openat and its like), opened with O_NOFOLLOW: whatever the owner
swaps for a link meanwhile, nothing outside the tree is read, changed or removed. Nothing here recurses, and
depth, descriptors and time are bounded.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from . import kinds
from .failure import Failed
from .unix import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, fcntl

DIRECTORY = os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
FILE = os.O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
DEEPEST = 200  # directories within each other; each costs a descriptor while it is walked
REMOVE_SECONDS = 120
LOOSE = 0o7022  # what nobody may keep on sealed code: setuid, setgid, sticky, writing for group and others
PIECE = 1 << 20


class Entry(NamedTuple):
    """What stands in a directory of a tree: ``path`` is relative to the tree's top, for messages."""

    folder: int
    name: str
    path: str
    info: os.stat_result


def remove(path: str) -> bool:
    """Remove whatever stands at a path, however deep; the directory that holds it must be root's.

    It is out of sight at once, under a hidden name, so that nobody takes half of it for the whole.

    :returns: whether it is gone; what could not be cleared stays under its hidden name.
    """
    folder, name = os.path.split(path)
    parent = os.open(folder, DIRECTORY)
    try:
        return _remove(parent, _hide(parent, name))
    except FileNotFoundError:
        return True
    except OSError:  # another file system is mounted there, the disk fails, or the time is up
        return False
    finally:
        os.close(parent)


def _hide(parent: int, name: str) -> str:
    if name.startswith("."):
        return name
    hidden = f".{name}.{time.monotonic_ns()}"
    return hidden if _move(parent, name, parent, hidden) else name


def _move(folder: int, name: str, to: int, new: str) -> bool:
    """Rename something; False where overlayfs has it from a lower layer, and renames no directory of that."""
    try:
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _remove(parent: int, name: str) -> bool:
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return True
    end = time.monotonic() + REMOVE_SECONDS
    with opened(parent, name) as top:
        while _flatten(top, end):  # each pass clears one level and brings up the next: depth costs nothing
            pass
    os.rmdir(name, dir_fd=parent)
    return True


def _in_time(end: float) -> None:
    if time.monotonic() > end:
        raise TimeoutError(errno.ETIMEDOUT, f"not all could be removed within {REMOVE_SECONDS:g} seconds")


def _flatten(top: int, end: float) -> bool:
    """Remove the files of a directory and of those in it, and hoist what these hold; whether there was any."""
    found = False
    with os.scandir(top) as entries:
        for number, entry in enumerate(entries):
            found = True
            _in_time(end)
            if entry.is_dir(follow_symlinks=False):
                with opened(top, entry.name) as folder:
                    _hoist(folder, top, number, end)
                os.rmdir(entry.name, dir_fd=top)
            else:
                os.unlink(entry.name, dir_fd=top)
    return found


def _hoist(folder: int, top: int, number: int, end: float) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            _in_time(end)
            if entry.is_dir(follow_symlinks=False):
                # A number that no name of a pass before can have: nothing is ever renamed onto something else.
                hoisted = f".{number}.{time.monotonic_ns()}"
                if not _move(folder, entry.name, top, hoisted):
                    _remove(folder, entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)


def give(path: str, uid: int, gid: int) -> None:
    """Make a user the owner of a tree that root made; what its links point to, and what others own, stays as it is.

    A file that has another name elsewhere becomes a copy: what stands there stays root's.

    :raises Failed: it is deeper than DEEPEST.
    """
    with within(path) as top:
        mode = stat.S_IMODE(os.fstat(top).st_mode)
        os.fchmod(top, 0o700)  # until all of it is given, its new owner does not get in to swap anything
        theirs = "/"  # no path begins so
        for entry in walk(top):
            if entry.path.startswith(theirs):
                continue
            if entry.info.st_uid != 0:
                theirs = f"{entry.path}/"
                continue
            if stat.S_ISREG(entry.info.st_mode) and entry.info.st_nlink > 1:
                with opened(entry.folder, entry.name, FILE) as handle:
                    _copy_over(handle, entry)
            os.chown(entry.name, uid, gid, dir_fd=entry.folder, follow_symlinks=False)
        os.fchown(top, uid, gid)
        os.fchmod(top, mode)


def disown(path: str, uids: Collection[int], gids: Collection[int]) -> None:
    """Give root what some users and groups have in a tree, when none of them runs anything any more.

    Nothing of it keeps a mode that lets others write, or run with another's rights. No file is copied, however many
    names it has.

    :raises Failed: it is deeper than DEEPEST.
    """

    def take(handle: int) -> None:
        info = os.fstat(handle)
        if info.st_uid in uids or info.st_gid in gids:
            os.fchown(handle, 0 if info.st_uid in uids else -1, 0 if info.st_gid in gids else -1)
            os.fchmod(handle, stat.S_IMODE(info.st_mode) & ~LOOSE)

    with within(path) as top:
        take(top)
        for entry in walk(top, take):
            if stat.S_ISREG(entry.info.st_mode):
                with opened(entry.folder, entry.name, FILE) as handle:
                    take(handle)
            elif not stat.S_ISDIR(entry.info.st_mode) and (entry.info.st_uid in uids or entry.info.st_gid in gids):
                os.chown(entry.name, 0, 0, dir_fd=entry.folder, follow_symlinks=False)


def seal(path: str) -> None:
    """Give a tree to root: nobody else may write in it any more, and nothing in it runs with another's rights.

    A file that somebody still has open for writing, wherever that descriptor went to, becomes another one with the
    content of now; so does one that has another name elsewhere, so that what stands there keeps its owner and mode.

    :raises Failed: it is deeper than DEEPEST.
    """
    with within(path) as top:
        _seal(top)
        for entry in walk(top, _seal):
            if stat.S_ISREG(entry.info.st_mode):
                _seal_file(entry)
            elif not stat.S_ISDIR(entry.info.st_mode):
                os.chown(entry.name, 0, 0, dir_fd=entry.folder, follow_symlinks=False)


def _seal(handle: int) -> None:
    info = os.fstat(handle)
    if (info.st_uid, info.st_gid) != (0, 0):
        os.fchown(handle, 0, 0)
    if info.st_mode & LOOSE:
        os.fchmod(handle, stat.S_IMODE(info.st_mode) & ~LOOSE)


def _seal_file(entry: Entry) -> None:
    with opened(entry.folder, entry.name, FILE) as handle:
        if os.fstat(handle).st_nlink == 1:
            _seal(handle)  # from here on nobody can open it for writing any more
            if not _is_being_written(handle):
                return
        _copy_over(handle, entry)


def _is_being_written(handle: int) -> bool:
    """Whether any process has a file open, or mapped, for writing: the kernel gives no read lease on it then."""
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:  # or this file system knows no leases: take it for so
        return True
    return False


def _copy_over(handle: int, entry: Entry) -> None:
    """Put a copy of its own in the place of a name that a file shares with others."""
    info, made = os.fstat(handle), f".{time.monotonic_ns()}"
    with opened(entry.folder, made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600) as copy:
        for start, end in _data(handle, info.st_size):  # it may be growing as fast as it is read
            while start < end and (piece := os.pread(handle, min(end - start, PIECE), start)):
                start += os.pwrite(copy, piece, start)
        os.ftruncate(copy, info.st_size)
        os.fchmod(copy, stat.S_IMODE(info.st_mode) & ~LOOSE)
        os.utime(copy, ns=(info.st_atime_ns, info.st_mtime_ns))
    os.rename(made, entry.name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)


def _data(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file holds anything up to a size: its holes would fill the disk."""
    at = 0
    while at < size:
        try:
            start = os.lseek(handle, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
            return
        at = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, min(at, size)


def links_out(path: str) -> dict[str, str]:
    """The links of a tree that may lead out of it, relative to its top, and their targets."""
    found = {}
    with within(path) as top:
        for entry in walk(top):
            if stat.S_ISLNK(entry.info.st_mode):
                target = os.readlink(entry.name, dir_fd=entry.folder)
                if _leads_out(entry.path, target):
                    found[entry.path] = target
    return found


def _leads_out(path: str, target: str) -> bool:
    """Whether a link's target is absolute, or goes up beyond the top, or up again once it has gone down.

    What it goes down through may be links, which are looked at themselves; to go up from there leads anywhere.
    """
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    return target.startswith("/") or ".." in parts[up:] or up > path.count("/")


def walk(top: int, enter: Callable[[int], object] | None = None) -> Iterator[Entry]:
    """Everything below an open directory, each directory before what it holds.

    :param enter: called with the descriptor of each directory before it is read.
    :raises Failed: it is deeper than DEEPEST.
    """
    stack = [_Level(os.dup(top), "")]
    try:
        while stack:
            level = stack[-1]
            entry = next(level.entries, None)
            if entry is None:
                stack.pop().close()
                continue
            path = f"{level.path}{entry.name}"
            info = os.stat(entry.name, dir_fd=level.handle, follow_symlinks=False)
            yield Entry(level.handle, entry.name, path, info)
            if stat.S_ISDIR(info.st_mode):
                if len(stack) > DEEPEST:
                    raise Failed(
                        kinds.SYSTEM,
                        f"{path[:60]}… is more than {DEEPEST} directories deep",
                        "No program needs that.",
                    )
                handle = os.open(entry.name, DIRECTORY, dir_fd=level.handle)
                if enter is not None:
                    enter(handle)
                stack.append(_Level(handle, f"{path}/"))
    finally:
        while stack:
            stack.pop().close()


class _Level:
    """A directory that is being walked."""

    def __init__(self, handle: int, path: str) -> None:
        self.handle, self.path = handle, path
        self.entries = os.scandir(handle)

    def close(self) -> None:
        self.entries.close()
        os.close(self.handle)


@contextlib.contextmanager
def opened(folder: int, name: str, flags: int = DIRECTORY, mode: int = 0o777) -> Iterator[int]:
    """A descriptor relative to an open directory, closed afterwards."""
    handle = os.open(name, flags, mode, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def within(path: str) -> Iterator[int]:
    """A descriptor of a directory that is no link itself, closed afterwards."""
    handle = os.open(path, DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)
