"""``fab freeze`` and ``fab unfreeze``: no deploys until somebody lifts it. (The deploy lock is another thing.)"""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import kinds, lock
from .engine.verb import verb


@verb(help={"message": "why: shown to everybody who wants to deploy"})
def freeze(c: Context, message: str = "") -> None:
    """Main: refuse deploys and rollbacks until somebody lifts it with unfreeze."""
    if not message.strip():
        raise UsageError(kinds.ARGUMENT, 'Say why: fab freeze -m "no deploys during the fair"')
    hosts.each(hosts.of(c), lambda host: _freeze(host, message))


@verb()
def unfreeze(c: Context) -> None:
    """Main: lift what freeze put on."""
    hosts.each(hosts.of(c), _unfreeze)


def _freeze(host: Host, message: str) -> None:
    host.call(lock.put_freeze, host.settings.root, hosts.who(), message)
    host.say("freeze", f"no deploys from now on: {message}")


def _unfreeze(host: Host) -> None:
    lifted = host.call(lock.lift_freeze, host.settings.root)
    host.say("unfreeze", "deploys are allowed again" if lifted else "there was no freeze", "green")
