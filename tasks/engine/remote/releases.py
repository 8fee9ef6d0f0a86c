"""The releases on a host: directories, the links ``next`` and ``current``, and what is known about each.

``release.json`` in a release says who made it, from what, and its state: building, built, good or bad.
``history`` in the root is a line of JSON each time ``current`` changed; what a rollback goes to is read from it.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import hmac
import json
import os
import re
import time
from collections.abc import Collection
from typing import Any

from . import agent, kinds, times, tree
from .failure import Failed

ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9.]{1,10}")
TEMPORARY = ".fabrelease-new"  # how a name ends until it is renamed
STOP_SECONDS = 10.0
OLDER = 3  # releases before the live one whose files nginx serves on
Release = dict[str, Any]


def directory(root: str, name: str) -> str:
    """The directory of a release."""
    if not ID.fullmatch(name):
        raise Failed(kinds.RELEASE, f"{name!r} is no release's id", "See the ids there are: fab releases")
    return f"{root}/releases/{name}"


def of_program(name: str) -> str | None:
    """The id of the release that a program's name is made of."""
    found = ID.search(name)
    return found[0] if found else None


def programs_of(app: str) -> re.Pattern[str]:
    """What the names of an application's programs look like."""
    return re.compile(rf"{re.escape(app)}-{ID.pattern}(-[A-Za-z0-9_-]+)?")


def stop_seconds(root: str, program: str) -> float:
    """How long a program of a release has to end by itself; STOP_SECONDS where that is not known any more."""
    release = of_program(program)
    units = read(root, release).get("units", []) if release else []
    return next((float(unit["stop_seconds"]) for unit in units if unit["name"] == program), STOP_SECONDS)


def linked(root: str, link: str) -> str | None:
    """The id that ``next`` or ``current`` points to; None where there is no such link.

    :raises Failed: something that is no link of ours stands there.
    """
    path = f"{root}/{link}"
    try:
        target = os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:
        raise Failed(
            kinds.IN_THE_WAY,
            f"{path} is a real directory or file, not a link that fabrelease made; nothing was touched",
            f"Move it away by hand (mv {path} {path}.old) and deploy again.",
        ) from None
    name = os.path.basename(target)
    if os.path.dirname(os.path.join(root, target)) != f"{root}/releases" or not ID.fullmatch(name):
        raise Failed(
            kinds.IN_THE_WAY,
            f"{path} points to {target}, which is no release of {root}; nothing was touched",
            f"Look at it, then remove the link: rm {path}",
        )
    return name


def link(root: str, name: str, release: str) -> None:
    """Point ``next`` or ``current`` at a release by one rename, verified and flushed to the disk."""
    path, target = f"{root}/{name}", f"releases/{release}"
    replace_link(path, target)
    if os.readlink(path) != target:
        raise Failed(
            kinds.NOT_SWITCHED_BACK,
            f"{path} does not point to {target} after it was renamed there",
            needs_person=True,
        )


def link_older(root: str, first: str | None) -> None:
    """Have nginx find the files of the releases before the live one, by ``older/1`` and so on.

    nginx goes on from one to the next while they are changed, so each release is where it goes before it is not any
    more where it was.

    :param first: the one that has just been live, or is about to have been: it is asked for most.
    """
    known = {first, linked(root, "current")}
    good = [name for name in reversed(ids(root)) if name not in known and is_good(root, name)]
    before = [first, *good] if first else good
    os.makedirs(f"{root}/older", mode=0o755, exist_ok=True)
    for number in range(OLDER, 0, -1) if first else range(1, OLDER + 1):
        path = f"{root}/older/{number}"
        if len(before) < number:
            unlink(path)
        else:
            replace_link(path, f"../releases/{before[number - 1]}", durable=False)


def temporary(path: str) -> str:
    """A name to make something under, until a rename gives it its own."""
    return f"{path}.{os.getpid()}.{time.monotonic_ns()}{TEMPORARY}"


def clear_temporary(root: str, *beginnings: str) -> list[str]:
    """Remove what a rename never reached: files and links half-made when the host or the session was killed.

    :param beginnings: of the paths of files elsewhere that we write.
    :returns: their paths.
    """
    own = ["", "/older", "/shared", "/backups", "/envs/*", "/wheels"]
    own += ["/releases/*", "/releases/*/config", "/releases/*/config/*"]
    patterns = [f"{glob.escape(root)}{folder}/{name}{TEMPORARY}" for folder in own for name in ("*", ".*")]
    patterns += [f"{glob.escape(beginning)}.*{TEMPORARY}" for beginning in beginnings]
    found = [path for pattern in patterns for path in glob.glob(pattern)]
    for path in found:
        discard(path)
    return found


def discard(path: str) -> None:
    """Remove something that is not needed any more; what resists stays under a hidden name, and is said."""
    if not tree.remove(path):
        agent.output(f"{path} cannot be removed, and is tried again by the next deploy; look at it: findmnt, lsattr")


def replace_link(path: str, target: str, durable: bool = True) -> None:
    """Make or replace a symbolic link atomically.

    :param durable: flush it to the disk.
    """
    made = temporary(path)
    os.symlink(target, made)
    try:
        os.rename(made, path)
    except OSError:
        os.unlink(made)
        raise
    if durable:
        flush(os.path.dirname(path))


def unlink(path: str) -> bool:
    """Remove a link; whether there was one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        flush(os.path.dirname(path))
        return True
    return False


def flush(path: str) -> None:
    """Write a file's or directory's entry to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(
    path: str, content: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0), durable: bool = True
) -> None:
    """Replace a file by write, fsync and rename, so that a reader sees the old or the new one.

    :param durable: False for files of a release that is not live: all of it is flushed before the switch.
    """
    made = temporary(path)
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(made, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)
        raise
    if durable:
        flush(os.path.dirname(path))


def flush_all(path: str) -> None:
    """Write everything of the file system that holds *path* to the disk (syncfs)."""
    import ctypes  # not needed, and slow to import, on the control machine

    handle = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(handle)


def read(root: str, name: str) -> Release:
    """What is known about a release; only its id and the state "bad" where its release.json cannot be read."""
    try:
        with open(f"{directory(root, name)}/release.json", encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {"id": name, "state": "bad", "reason": "its release.json is missing or damaged"}


def update(root: str, name: str, **changes: Any) -> Release:
    """Change what is known about a release."""
    known = read(root, name)
    release = {**known, **changes}
    if release != known:
        _write(root, name, release)
    return release


def _write(root: str, name: str, release: Release) -> None:
    content = json.dumps(release, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"
    durable = release["state"] in ("good", "bad")
    # For root alone, though the digests of secrets in it are keyed: short secrets can be guessed from theirs.
    write_atomically(f"{directory(root, name)}/release.json", content, 0o600, durable=durable)


def key(root: str) -> str:
    """What the digests of settings and files on this host are keyed with; made when it is first asked for."""
    if known := known_key(root):
        return known
    made = os.urandom(32).hex()
    write_atomically(f"{root}/.digest-key", made.encode(), 0o600)
    return made


def known_key(root: str) -> str:
    """The same; empty where it was not made yet."""
    with contextlib.suppress(FileNotFoundError), open(f"{root}/.digest-key", encoding="ascii") as file:
        return file.read()
    return ""


def fingerprint(root: str, path: str) -> str:
    """The keyed digest of a file's content, or an empty text where it is not there."""
    try:
        with open(path, "rb") as file:
            return hmac.new(key(root).encode(), file.read(), hashlib.sha256).hexdigest()
    except OSError:
        return ""


def ids(root: str) -> list[str]:
    """The ids of all releases on the host, oldest first."""
    try:
        return sorted(name for name in os.listdir(f"{root}/releases") if ID.fullmatch(name))
    except FileNotFoundError:
        return []


def listing(root: str) -> dict[str, Any]:
    """All releases, oldest first; the lineage; which is next, which current, and which a rollback would go to."""
    return {
        "releases": [read(root, name) for name in ids(root)],
        "lineage": lineage(root),
        "current": linked(root, "current"),
        "next": linked(root, "next"),
        "rollback": rollback_target(root),
    }


def begin(root: str, release: Release) -> None:
    """Make a release's directories and point ``next`` at it; an unfinished next before it is cleared away."""
    clear_next(root)
    path = directory(root, release["id"])
    os.makedirs(f"{path}/public")
    os.mkdir(f"{path}/config")
    os.mkdir(f"{path}/run")
    _write(root, release["id"], {**release, "state": "building"})
    link(root, "next", release["id"])


def clear_next(root: str) -> None:
    """Drop the link ``next``, and the release it points to where that never served."""
    name = linked(root, "next")
    if name is None:
        return
    unlink(f"{root}/next")
    if name != linked(root, "current") and read(root, name)["state"] in ("building", "built"):
        discard(directory(root, name))


def clear_unfinished(root: str) -> list[str]:
    """Remove releases whose making was cut off before ``next`` pointed to them, or after it did.

    :returns: their ids.
    """
    linked_ones = {linked(root, "current"), linked(root, "next")}
    unfinished = [name for name in ids(root) if name not in linked_ones and _is_unfinished(root, name)]
    for name in unfinished:
        discard(directory(root, name))
    return unfinished


def _is_unfinished(root: str, name: str) -> bool:
    written = os.path.exists(f"{directory(root, name)}/release.json")
    return not written or read(root, name)["state"] in ("building", "built")


def history(root: str) -> list[dict[str, Any]]:
    """Each time ``current`` changed, oldest first; a line cut off by a crash is left out."""
    events = []
    with contextlib.suppress(FileNotFoundError), open(f"{root}/history", encoding="utf-8") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                events.append(dict(json.loads(line)))
    return events


def remember(root: str, name: str, **facts: Any) -> None:
    """Append to the history that a release became current."""
    event = {"current": name, "at": times.utc(), **facts}
    if restarted := read(root, name).get("restarts"):
        event["restarts"] = restarted
    with open(f"{root}/history", "ab+") as file:
        file.seek(max(file.tell() - 1, 0))
        start = b"" if file.read() in (b"", b"\n") else b"\n"  # a line that a crash cut off stays by itself
        file.write(start + json.dumps(event, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def is_remembered(root: str, name: str) -> bool:
    """Whether the history's last line says that a release became current."""
    return bool((history(root)[-1:] or [{}])[0].get("current") == name)


def lineage(root: str) -> list[str]:
    """The releases that led to the current release: going back from its end is what rollback does.

    A release that became current and stands in it already was gone back to: it ends there.
    Any other was deployed: it grows. So two rollbacks go back two releases, and a release that was
    rolled back from is not gone back to after the next deploy. One that is another started again takes its place.
    """
    steps: list[str] = []
    for event in history(root):
        name = str(event.get("current"))
        if name in steps:
            steps = steps[: steps.index(name) + 1]
        elif steps and steps[-1] == event.get("restarts"):
            steps[-1] = name
        else:
            steps.append(name)
    return steps


def restarted(root: str) -> set[str]:
    """The releases that were started again, and so stand there once more under another id."""
    return {str(event["restarts"]) for event in history(root) if event.get("restarts")}


def rollback_target(root: str) -> str | None:
    """The release that a rollback goes to: the nearest good one in the lineage before the current."""
    before = way_back(lineage(root), linked(root, "current"))
    return next((name for name in reversed(before) if is_good(root, name)), None)


def way_back(lineage: list[str], current: str | None) -> list[str]:
    """The part of a lineage before the current release: what rollbacks go to, the nearest last."""
    return lineage[: lineage.index(current)] if current in lineage else lineage


def is_good(root: str, name: str) -> bool:
    """Whether a release is there, and has served traffic and passed its probe."""
    return os.path.isdir(directory(root, name)) and read(root, name)["state"] == "good"


def mark_bad(root: str, name: str, reason: str) -> None:
    """Mark a release bad with the reason; a good one stays good: it served once."""
    if os.path.isdir(directory(root, name)) and read(root, name)["state"] != "good":
        with contextlib.suppress(OSError):  # on a full disk it stays "built", which is not gone back to either
            update(root, name, state="bad", reason=reason.split("\n")[0], failed=times.utc())


def give_up(root: str, name: str, reason: str) -> None:
    """Mark a release that could not be built bad with the reason; it is not worked on any more."""
    mark_bad(root, name, reason)
    if linked(root, "next") == name:
        unlink(f"{root}/next")


def same_as_live(root: str, name: str, files: list[str]) -> bool:
    """Whether the live release has the same environment, files of configuration and command line as another."""
    live = linked(root, "current")
    if live is None or not same_files(root, live, name, files):
        return False
    one, other = read(root, live), read(root, name)
    return one.get("environment") == other.get("environment") and _serves(one) == _serves(other)


def _serves(release: Release) -> list[str]:
    """The command line of its server, but for its own id in it; empty before that is known."""
    return [word.replace(release["id"], "") for unit in release.get("units", [])[:1] for word in unit["argv"]]


def same_files(root: str, one: str, other: str, names: list[str]) -> bool:
    """Whether two releases have the same files of configuration, but for their own ids in them."""
    return _texts(root, one, names) == _texts(root, other, names)


def _texts(root: str, name: str, names: list[str]) -> list[str | None]:
    texts: list[str | None] = []
    for file in names:
        try:
            with open(f"{directory(root, name)}/config/{file}", encoding="utf-8") as opened:
                texts.append(opened.read().replace(name, ""))
        except FileNotFoundError:
            texts.append(None)
    return texts


def prune(root: str, keep: int, in_use: Collection[str]) -> list[str]:
    """Remove the releases that are not needed any more, and environments and wheels that nothing uses.

    Kept are current, next, the rollback target, the newest *keep* good ones, each as it was started last, and the
    newest bad one to look into.

    :param in_use: the ids of further ones to keep.
    :returns: the ids that were removed.
    """
    again = restarted(root)
    good = [name for name in ids(root) if is_good(root, name) and name not in again]
    bad = [name for name in ids(root) if not is_good(root, name)]
    kept = {linked(root, "current"), linked(root, "next"), rollback_target(root), *good[-keep:], *bad[-1:], *in_use}
    removed = [name for name in ids(root) if name not in kept]
    for name in removed:
        os.rename(directory(root, name), f"{root}/releases/.{name}")
    staying = [read(root, name) for name in ids(root)]
    _remove(f"{root}/envs", {str(release.get("environment")) for release in staying})
    _remove(f"{root}/wheels", {digest for release in staying for digest in release.get("wheels", [])})
    _remove(f"{root}/releases", set(ids(root)))
    return removed


def _remove(folder: str, kept: set[str]) -> None:
    """Remove the directories in a folder that are not among those to keep."""
    for path in _entries(folder):
        name = os.path.basename(path)
        if name not in kept:
            discard(path)


def _entries(path: str) -> list[str]:
    return [entry.path for entry in os.scandir(path)] if os.path.isdir(path) else []
