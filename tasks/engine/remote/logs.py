"""The logs on a host."""

from __future__ import annotations

import glob
import os

from . import agent, process
from .failure import Failed

SUPERVISOR = "/var/log/supervisor/supervisord.log"
OWN = "fabrelease.log"  # what the host's side of a command did by itself
SECONDS = 60.0


def show(root: str, which: str, follow: bool, lines: int) -> None:
    """Write the ends of the logs, and with *follow* what comes after, until the session ends.

    :param which: ``app``, ``nginx``, ``supervisor`` or ``fabrelease``; all of them where it is empty.
    """
    kinds: dict[str, list[str]] = {"app": [], "nginx": [], "supervisor": glob.glob(SUPERVISOR), "fabrelease": []}
    for path in sorted(glob.glob(f"{glob.escape(root)}/logs/*.log")):
        name = os.path.basename(path)
        kind = "fabrelease" if name == OWN else "nginx" if name.startswith("nginx-") else "app"
        kinds[kind].append(path)
    if which and which not in kinds:
        raise Failed(f"there are no logs called {which!r}", f"There are: {', '.join(kinds)}")
    paths = kinds[which] if which else [path for listed in kinds.values() for path in listed]
    if not paths:
        raise Failed("there are no logs yet", "They are written once a release runs: fab deploy")
    argv = ["tail", "-v", "-n", str(lines), *(["-F"] if follow else []), "--", *paths]
    process.run(argv, on_line=agent.output, timeout=None if follow else SECONDS)
