"""``fab supervisor``: the next release's programs."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.hosts import Host
from .engine.verb import verb


@verb()
def supervisor(c: Context) -> None:
    """Step 4: render supervisor's configuration and let supervisor check it."""
    hosts.each(hosts.of(c), _supervisor, "checking supervisor's configuration")


def _supervisor(host: Host) -> None:
    host.begin("supervisor")
    building = configuration.Building(host)
    host.run([configuration.step(building, [configuration.manager_part(building)])])
