"""``fab cleanup``: clear away what is not needed any more."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.hosts import Host
from .engine.remote import pruning
from .engine.verb import verb


@verb()
def cleanup(c: Context) -> None:
    """Step 7: remove old releases and environments; never current, and never what a rollback needs."""
    hosts.each(hosts.of(c), _cleanup, "cleaning up")


def _cleanup(host: Host) -> None:
    host.begin("cleanup")
    removed = host.call(pruning.prune, planning.application(host.settings))
    host.say("cleanup", f"removed {', '.join(removed)}" if removed else "nothing to do")
