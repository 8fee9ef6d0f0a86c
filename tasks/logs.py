"""``fab logs``: the ends of the logs, or what is written from now on."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.hosts import Host
from .engine.remote import logs as remote
from .engine.verb import verb


@verb(
    help={
        "which": "app, nginx, the manager by its name, or fabrelease (its own work on the host); by default all",
        "follow": "go on with what is written from now on, until Ctrl-C",
        "lines": "how many lines of each",
    }
)
def logs(c: Context, which: str = "", follow: bool = False, lines: int = 20) -> None:
    """Look: the logs of the application, of nginx, of the manager and of fabrelease."""
    hosts.each(hosts.of(c), lambda host: _logs(host, which, follow, lines))


def _logs(host: Host, which: str, follow: bool, lines: int) -> None:
    settings = host.settings
    host.call(remote.show, planning.application(settings), settings.manager.name, which, follow, lines)
