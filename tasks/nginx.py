"""``fab nginx``: the next release's site."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.hosts import Host
from .engine.verb import verb


@verb()
def nginx(c: Context) -> None:
    """Step 5: render the nginx site and let nginx check it beside the others on the host."""
    hosts.each(hosts.of(c), _nginx, "checking nginx's configuration")


def _nginx(host: Host) -> None:
    host.begin("nginx")
    building = configuration.Building(host)
    host.run([configuration.step(building, [configuration.site_part(building)])])
