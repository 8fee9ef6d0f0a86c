"""``fab setup``: make a bare server ready to host the application."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts, patchwork, planning
from .engine.errors import NoPython
from .engine.hosts import Host
from .engine.remote import configure, files, lock, nginx, prepare, probe
from .engine.verb import verb

PACKAGES = ["ca-certificates", "git", "iproute2", "logrotate", "nginx", "python3-venv"]
SERVICES = ["nginx"]
DROPINS = {"nginx": "Restart=on-failure\nRestartSec=1"}  # Debian's unit leaves a dead nginx dead


@verb(
    help={
        "apt-timeout": "seconds to wait while another process holds apt",
        "take-over": "a root that was set up for another stage or project of this application",
    }
)
def setup(c: Context, apt_timeout: int = 300, take_over: bool = False) -> None:
    """Server: install packages, make user, directories and services; the second time, change nothing."""
    hosts.each(hosts.of(c), lambda host: _setup(host, apt_timeout, take_over), "preparing")


def _setup(host: Host, patience: float, take_over: bool) -> None:
    _ensure_python(host)
    settings, call = host.settings, host.call
    manager, server = planning.manager_of(settings), planning.server_of(settings)
    wanted = [*PACKAGES, *manager.packages, *server.packages(settings.web.settings), *settings.packages]
    call(lock.take, settings.app, settings.root, hosts.who(), "setup")
    changed = call(prepare.claim, host.owner(), settings.root, take_over)
    changed += call(prepare.packages, wanted, patience)
    changed += call(prepare.uv, settings.python.installer != "pip", settings.python.wheelhouse is None)
    changed += call(prepare.python, settings.python.version, settings.python.mirror, patience)
    changed += call(prepare.accounts, settings.app, settings.user, settings.root)
    group = call(probe.web_group)
    changed += call(prepare.directories, settings.root, settings.user, group)
    changed += call(prepare.dropins, {**DROPINS, **manager.dropins})
    changed += call(prepare.services, [*SERVICES, *manager.services])
    changed += call(nginx.install, settings.app, settings.root)
    changed += call(configure.install_manager, settings.manager.name, planning.application(settings))
    changed += call(files.install, [_logrotate(host)])
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


def _logrotate(host: Host) -> files.File:
    text = configuration.render_alone(host, "logrotate.conf.j2")
    return files.entry(prepare.rotation(host.settings.app), text)
