"""fab, with sessions that stop where breakpoints.WANTED on the host says: python -m tests.faults.fab …"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

from fabric.main import program

from fabrelease.tasks.engine import session

REMOTE = "fabrelease/tasks/engine/remote"
MAIN = "    os.umask(0o022)\n"


def ship_breakpoints() -> None:
    """Send the breakpoints along with the remote side's modules, and let the agent begin with them."""
    plain = session.shipped_sources

    @functools.cache
    def shipped() -> bytes:
        sources = json.loads(plain())
        agent = f"{REMOTE}/agent.py"
        before, umask, after = sources[agent].rpartition(MAIN)
        if not umask:
            raise RuntimeError("the agent has another shape now: it cannot be watched")
        watch = "    from . import breakpoints\n\n    breakpoints.install(sys.modules[__name__])\n"
        sources[agent] = before + watch + umask + after
        sources[f"{REMOTE}/breakpoints.py"] = (Path(__file__).parent / "breakpoints.py").read_text()
        return json.dumps(sources).encode()

    session.shipped_sources = shipped


if __name__ == "__main__":
    ship_breakpoints()
    sys.argv[0] = "fab"
    program.run()
