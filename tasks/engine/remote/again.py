"""The live release once more, under a new id: what ``fab restart`` switches to.

A release cannot run beside itself: its programs have one name and its server one socket. So it is copied: the code by
hard links, the virtualenv by its link, the configuration with the new id in place of the old.
"""

from __future__ import annotations

import itertools
import json
import os

from . import kinds, probe, process, releases, source, times
from .application import Application
from .failure import Failed
from .machine import units_of

VARIABLES = ("environment", "secrets")  # a port in there is the application's affair
UNSAID = ("fingerprints", "came_after", "served", "made", "who", "unread")  # what the copy does not take over


def prepare(application: Application, stamp: str, who: str) -> releases.Release:
    """Make the next release of the live one; nothing of it is built, and no hook is run.

    :param stamp: the time that its id begins with.
    :raises Failed: nothing is live.
    """
    root, live = application.root, releases.linked(application.root, "current")
    if live is None:
        raise Failed(
            kinds.NOTHING_LIVE, "nothing is live, so there is nothing to start again", "Deploy first: fab deploy"
        )
    name, known = f"{stamp}-{live.partition('-')[2]}", releases.read(root, live)
    old, new = releases.directory(root, live), releases.directory(root, name)
    made = {key: value for key, value in known.items() if key not in UNSAID}
    release = {**made, "id": name, "who": who, "made": times.utc(), "restarts": live}
    source.begin(root, release, application.user, probe.web_group())
    process.check(
        ["cp", "--archive", "--link", "--no-target-directory", f"{old}/public", f"{new}/public"],
        "the code of the live release could not be linked into a new one",
    )
    if os.path.islink(f"{old}/env"):  # a proxy has none
        os.symlink(os.readlink(f"{old}/env"), f"{new}/env")
    changes = _changes(root, known, name)
    for folder, _, files in os.walk(f"{old}/config"):
        os.makedirs(folder.replace(old, new, 1), exist_ok=True)
        for file in files:
            own = changes[:1] if file in VARIABLES else changes
            _copy(f"{folder}/{file}", f"{folder.replace(old, new, 1)}/{file}", own)
    written: dict[str, str] = known.get("fingerprints", {})
    return releases.update(
        root,
        name,
        state="built",
        units=json.loads(_changed(json.dumps(known.get("units", [])), changes)),
        # What was changed by hand is changed in the copy, and goes on being said.
        fingerprints={path: _fingerprint(root, old, new, path, before) for path, before in written.items()},
    )


Changes = list[tuple[str, str]]


def _changes(root: str, known: releases.Release, name: str) -> Changes:
    """What is another in the copy: its id, and its port where its server listens at one."""
    changes = [(str(known["id"]), name)]
    address = next((unit.address for unit in units_of(known) if unit.serves), "")
    if address and not address.startswith("unix:"):
        host, _, first = address.rpartition(":")
        taken = {unit.address for other in releases.ids(root) for unit in units_of(releases.read(root, other))}
        free = next(f"{host}:{port}" for port in itertools.count(int(first)) if f"{host}:{port}" not in taken)
        changes.append((address, free))
    return changes


def _copy(path: str, target: str, changes: Changes) -> None:
    with open(path, "rb") as file:
        info, content = os.fstat(file.fileno()), file.read()
    text = _changed(content.decode("utf-8", "surrogateescape"), changes).encode("utf-8", "surrogateescape")
    releases.write_atomically(target, text, info.st_mode & 0o7777, (0, info.st_gid), durable=False)


def _changed(text: str, changes: Changes) -> str:
    for one, other in changes:
        text = text.replace(one, other)
    return text


def _fingerprint(root: str, old: str, new: str, path: str, before: str) -> str:
    is_as_written = releases.fingerprint(root, f"{old}/{path}") == before
    return releases.fingerprint(root, f"{new}/{path}") if is_as_written else before
