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
    settings, building = host.settings, configuration.Building(host)
    server = configuration.server_of(settings)
    changed = building.install(server.TEMPLATES) + building.install_environment()
    building.note(address=building.address)
    host.call(server.check, settings.root, settings.user, settings.web.settings)
    host.say("gunicorn", f"{settings.web.app}, {settings.web.workers} workers, checked{_changes(changed)}")


def _changes(changed: list[str]) -> str:
    return f" ({', '.join(changed)} written)" if changed else " (no change)"
