"""A revision's Procfile: names and command lines, as foreman and honcho read them, but nothing is passed over."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from .errors import UsageError
from .remote import kinds

LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,30}):\s*(\S.*)")
WEB = "web"
RELEASE = "release"  # what is to be done before a release serves: no process, but a hook


def read(text: str, name: str) -> dict[str, str]:
    """The processes of a Procfile.

    :param name: what it is called in messages.
    :raises UsageError: a line of it that is not NAME: COMMAND, or a name that is there twice.
    """
    processes: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise UsageError(kinds.PROCFILE, f"{name}:{number} is no NAME: COMMAND line: {line.strip()[:60]}")
        if match[1] in processes:
            raise UsageError(kinds.PROCFILE, f"{name}:{number} names {match[1]} a second time")
        processes[match[1]] = match[2]
    return processes


def server_of(line: str, known: Iterable[str]) -> str:
    """The server that a ``web`` line starts; empty where it is none of the known ones.

    :param known: names of servers.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        return ""
    names = [PurePosixPath(word).name.lower() for word in words]
    return next((name for name in names if name in known), "")
