"""``fab scale N``: another number of workers, at once and until somebody changes it."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import kinds, scaling
from .engine.verb import verb

RESET = "reset"


@verb(help={"workers": "how many on each host; or reset: as many as web.workers says"})
def scale(c: Context, workers: str) -> None:
    """Main: have another number of workers without a restart, now and after each deploy, until reset."""
    if workers != RESET and not (workers.isascii() and workers.isdigit() and int(workers) > 0):
        raise UsageError(kinds.ARGUMENT, f"workers: expected a whole number from 1 on, or {RESET}, found {workers!r}")
    serving = [host for host in hosts.of(c) if host.settings.has_app]
    if not serving:
        raise UsageError(kinds.ROLE, "none of these hosts has the role app, so no server runs there")
    hosts.each(serving, lambda host: _scale(host, workers), "changing the number of workers")


def _scale(host: Host, workers: str) -> None:
    host.begin("scale")
    application = planning.application(host.settings)
    if workers == RESET:
        count = host.call(scaling.reset, application)
        host.say("scale", f"{count} workers, as web.workers of the live release says", "green")
    else:
        before = host.call(scaling.scale, application, int(workers), hosts.who())
        host.say("scale", f"{workers} workers, before {before}; deploys keep that until: fab scale reset", "green")
