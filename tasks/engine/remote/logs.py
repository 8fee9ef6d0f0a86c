"""The logs on a host."""

from __future__ import annotations

import glob

from . import agent, process
from .failure import Failed

SUPERVISOR = "/var/log/supervisor/supervisord.log"


def show(root: str, which: str, follow: bool, lines: int) -> None:
    """Write the ends of the logs, and with *follow* what comes after, until the session ends.

    :param which: ``app``, ``nginx``, ``supervisor`` or ``fabrelease``; all of them where it is empty.
    """
    own = sorted(glob.glob(f"{glob.escape(root)}/logs/*.log"))
    nginx = [path for path in own if path.rsplit("/", 1)[1].startswith("nginx-")]
    done = [path for path in own if path.endswith("/logs/fabrelease.log")]
    kinds = {
        "app": [path for path in own if path not in nginx + done],
        "nginx": nginx,
        "supervisor": glob.glob(SUPERVISOR),
        "fabrelease": done,
    }
    if which and which not in kinds:
        raise Failed(f"there are no logs called {which!r}", f"There are: {', '.join(kinds)}")
    paths = kinds[which] if which else [path for listed in kinds.values() for path in listed]
    if not paths:
        raise Failed("there are no logs yet", "They are written once a release runs: fab deploy")
    argv = ["tail", "-v", "-n", str(lines), *(["-F"] if follow else []), "--", *paths]
    process.run(argv, on_line=agent.output)
