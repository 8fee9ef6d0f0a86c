"""``fab run "COMMAND"``: a command in the live release, as the application would run it."""

from __future__ import annotations

import shlex
import sys

import paramiko
from invoke.context import Context

from .engine import hosts
from .engine.connecting import open_connection
from .engine.errors import Error, HostError, UsageError
from .engine.hosts import Host
from .engine.remote import kinds, releases
from .engine.remote.application import launcher
from .engine.session import no_channel
from .engine.verb import verb


@verb(help={"command": 'a shell command, such as "python manage.py createsuperuser"'})
def run(c: Context, command: str) -> None:
    """Look: run a command in the current release with its environment, as the application's user."""
    able = [host for host in hosts.of(c) if host.settings.has_code]
    if not able:
        raise UsageError(kinds.ROLE, "none of these hosts has the application's code: app and worker hosts have it")
    for host in able:
        _run(host, command)


def _run(host: Host, command: str) -> None:
    settings = host.settings
    current = host.call(releases.linked, settings.root, "current")
    if current is None:
        raise HostError(
            kinds.NOTHING_LIVE,
            host.name, "nothing is deployed yet, so there is nothing to run it in", "Deploy first: fab deploy"
        )
    open_connection(host.connection, settings)
    argv = [*launcher(releases.directory(settings.root, current)), "/bin/sh", "-c", command]
    interactive = sys.stdin.isatty()
    options = {"pty": interactive, "warn": True, "in_stream": None if interactive else False}
    try:
        if host.connection.user == "root":
            done = host.connection.run(shlex.join(["runuser", "-u", settings.user, "--", *argv]), **options)
        else:  # where sudo asks for a password, the session has it by now, and Fabric answers with it
            done = host.connection.sudo(shlex.join(argv), user=settings.user, **options)
    except paramiko.SSHException as error:
        raise no_channel(host.name, error) from error
    if done.return_code != 0:
        raise CommandFailed(host.name, command, done.return_code)


class CommandFailed(Error):
    """The command ended with another status than 0, which becomes fab's own."""

    def __init__(self, host: str, command: str, status: int) -> None:
        super().__init__(kinds.COMMAND_ENDED, f"{host}: {command!r} ended with exit status {status}")
        self.exit_status = status if 0 < status < 256 else 1  # no status: it was killed
