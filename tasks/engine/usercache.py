"""What is kept for this user on this machine, and is made again where it is not there."""

from __future__ import annotations

import os
from pathlib import Path


def folder(name: str) -> Path:
    """The directory for one kind of thing; it may not be there yet.

    :raises RuntimeError: the user has no home directory.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fabrelease" / name
