"""``fab cleanup``: clear away what is not needed any more."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts
from .engine.hosts import Host
from .engine.remote import releases
from .engine.verb import verb


@verb()
def cleanup(c: Context) -> None:
    """Step 7: remove old releases and environments; never current, and never what a rollback needs."""
    hosts.each(hosts.of(c), _cleanup, "cleaning up")


def _cleanup(host: Host) -> None:
    host.begin("cleanup")
    removed = host.call(releases.prune, host.settings.root, host.settings.keep_releases)
    host.say("cleanup", f"removed {', '.join(removed)}" if removed else "nothing to do")
