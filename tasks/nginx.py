"""``fab nginx``: the next release's site."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.hosts import Host
from .engine.remote import nginx as remote
from .engine.verb import verb

TEMPLATES = {"nginx.conf": "nginx/site.conf.j2"}


@verb()
def nginx(c: Context) -> None:
    """Step 5: render the nginx site and let nginx check it beside the others on the host."""
    hosts.each(hosts.of(c), _nginx, "checking nginx's configuration")


def _nginx(host: Host) -> None:
    host.begin("nginx")
    settings, building = host.settings, configuration.Building(host)
    changed = building.install(TEMPLATES, **building.directories())
    host.call(
        remote.check,
        settings.app,
        f"{building.path}/config/nginx.conf",
        settings.site.domains,
        settings.site.port,
    )
    more = f" ({', '.join(changed)} written)" if changed else " (no change)"
    host.say("nginx", f"{', '.join(settings.site.domains)}{settings.site.path}, checked{more}")
