"""``fab remove``: take the application away, and leave the host as others need it."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.hosts import Host
from .engine.remote import lock, provision
from .engine.session import RemoteCall, reference
from .engine.verb import verb

NOTHING = "nothing of the application is here"


@verb(
    help={
        "yes": "do it; without it, only say what would be removed",
        "shared": "remove shared/, too, with all that the application has kept there, and the backups",
    }
)
def remove(c: Context, yes: bool = False, shared: bool = False) -> None:
    """Server: say what of the application is on each host; with --yes, remove that, but for shared/ and backups."""
    where = hosts.of(c)
    hosts.each(where, lambda host: (_remove if yes else _tell)(host, shared), "removing" if yes else "looking")


def _tell(host: Host, shared: bool) -> None:
    found = host.call(provision.removable, host.owner(), planning.wanted(host.settings), shared)
    for line in found:
        host.say("remove", f"would remove {line}")
    host.say("remove", "nothing was removed; to do it: fab remove --yes" if found else NOTHING, "green")


def _remove(host: Host, shared: bool) -> None:
    settings, removed = host.settings, list[str]()
    host.run(
        [
            RemoteCall(reference(lock.take, settings.app, settings.root, hosts.who(), "remove")),
            RemoteCall(reference(provision.remove, host.owner(), planning.wanted(settings), shared), removed.extend),
        ]
    )
    for line in removed:
        host.say("remove", f"removed {line}")
    left = "" if shared else f"; {settings.root}/shared stays, if it was there, and so do backups"
    host.say("remove", f"done{left}" if removed else NOTHING, "green")
