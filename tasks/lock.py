"""``fab lock`` and ``fab unlock``: a freeze that people put on deploys, and lift."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import lock as remote
from .engine.verb import verb


@verb(help={"message": "why: shown to everybody who wants to deploy"})
def lock(c: Context, message: str = "") -> None:
    """Main: refuse deploys and rollbacks until somebody lifts it with unlock."""
    if not message.strip():
        raise UsageError('Say why: fab lock -m "freeze for the fair"')
    hosts.each(hosts.of(c), lambda host: _lock(host, message))


@verb()
def unlock(c: Context) -> None:
    """Main: lift what lock put on."""
    hosts.each(hosts.of(c), _unlock)


def _lock(host: Host, message: str) -> None:
    host.call(remote.put_freeze, host.settings.root, hosts.who(), message)
    host.say("lock", f"no deploys from now on: {message}")


def _unlock(host: Host) -> None:
    lifted = host.call(remote.lift_freeze, host.settings.root)
    host.say("unlock", "deploys are allowed again" if lifted else "there was no lock", "green")
