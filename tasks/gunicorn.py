"""``fab gunicorn``: the next release's server configuration."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.hosts import Host
from .engine.verb import verb


@verb()
def gunicorn(c: Context) -> None:
    """Step 3: render gunicorn's configuration and let gunicorn check it with the application."""
    hosts.each(hosts.of(c), _gunicorn, "checking gunicorn's configuration")


def _gunicorn(host: Host) -> None:
    host.begin("gunicorn")
    building = configuration.Building(host)
    host.run([configuration.step(building, [configuration.server_part(building)])])
