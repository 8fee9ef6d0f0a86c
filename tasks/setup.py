"""``fab setup``: make a bare server ready to host the application."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts, patchwork
from .engine.errors import NoPython
from .engine.hosts import Host
from .engine.remote import lock, provision
from .engine.session import RemoteCall, reference
from .engine.verb import verb


@verb(
    help={
        "apt-timeout": "seconds to wait while another process holds apt or dnf",
        "take-over": "a root that was set up for another stage or project of this application",
    }
)
def setup(c: Context, apt_timeout: int = 300, take_over: bool = False) -> None:
    """Server: install packages, make user, directories and services; the second time, change nothing."""
    hosts.each(hosts.of(c), lambda host: _setup(host, apt_timeout, take_over), "preparing")


def _setup(host: Host, patience: float, take_over: bool) -> None:
    _ensure_python(host)
    settings = host.settings
    wanted = configuration.wanted(host, patience)
    changed: list[str] = []
    host.run(
        [
            RemoteCall(reference(lock.take, settings.app, settings.root, hosts.who(), "setup")),
            RemoteCall(reference(provision.setup, host.owner(), take_over, wanted), changed.extend),
        ]
    )
    for what in changed:
        host.say("setup", what)
    host.say("setup", "ready; next: fab deploy" if changed else "nothing to do: the server is ready", "green")


def _ensure_python(host: Host) -> None:
    """A session needs Python there; where it is missing, plain SSH has to install it."""
    try:
        host.session  # noqa: B018
    except NoPython:
        host.say("setup", "installing python3, which everything else needs")
        patchwork.package(host.connection, "python3")
