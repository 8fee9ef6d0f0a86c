"""Files under our care: compared on the host, and only the changed ones replaced."""

from __future__ import annotations

import base64
import os
from typing import TypedDict

from . import releases
from .unix import pwd


class File(TypedDict):
    """One file to have on the host.

    ``group`` is a user's name whose primary group may read it; ``mode`` the permission bits; ``data`` base64.
    """

    path: str
    data: str
    mode: int
    group: str


def entry(path: str, content: str | bytes, mode: int = 0o644, group: str = "root") -> File:
    """Describe a file to install."""
    data = content.encode() if isinstance(content, str) else content
    return {"path": path, "data": base64.b64encode(data).decode(), "mode": mode, "group": group}


def install(files: list[File], durable: bool = True) -> list[str]:
    """Write those files that are not there or differ, each atomically, owned by root.

    :param durable: flush each to the disk.

    :returns: the paths that changed.
    """
    return [file["path"] for file in files if _install(file, durable)]


def install_in(root: str, name: str, files: list[File]) -> list[str]:
    """Write files of a release, and note their fingerprints in its release.json, so that a change by hand is seen."""
    changed = install(files, durable=False)
    place = releases.directory(root, name)
    found = {os.path.relpath(file["path"], place): releases.fingerprint(root, file["path"]) for file in files}
    known = releases.read(root, name).get("fingerprints", {})
    if {**known, **found} != known:
        releases.update(root, name, fingerprints={**known, **found})
    return changed


def _install(file: File, durable: bool) -> bool:
    content, group = base64.b64decode(file["data"]), pwd.getpwnam(file["group"]).pw_gid
    try:
        with open(file["path"], "rb") as old:
            info = os.fstat(old.fileno())
            if (info.st_mode & 0o7777, info.st_uid, info.st_gid) == (
                file["mode"],
                0,
                group,
            ) and old.read() == content:
                return False
    except FileNotFoundError:
        os.makedirs(os.path.dirname(file["path"]), exist_ok=True)
    releases.write_atomically(file["path"], content, file["mode"], (0, group), durable)
    return True
