"""``fab logs``: the ends of the logs, or what is written from now on."""

from __future__ import annotations

import contextlib
import json
import re

from invoke.context import Context

from .engine import hosts, planning, terminal
from .engine.hosts import Host
from .engine.remote import logs as remote
from .engine.verb import verb

NAME = re.compile(r"==> .*?([^/]*) <==")


@verb(
    help={
        "which": "app, nginx, the manager by its name, or fabrelease (its own work on the host); by default all",
        "follow": "go on with what is written from now on, until Ctrl-C",
        "lines": "how many lines of each",
        "json": "for programs: an object a line, with what the line holds where it is JSON itself",
    }
)
def logs(c: Context, which: str = "", follow: bool = False, lines: int = 20, json: bool = False) -> None:
    """Look: the logs of the application, of nginx, of the manager and of fabrelease."""
    hosts.each(hosts.of(c), lambda host: _logs(host, which, follow, lines, json))


def _logs(host: Host, which: str, follow: bool, lines: int, json: bool) -> None:
    settings = host.settings
    if json:
        host.session.on_output = Entries(host.name).show
    elif only := hosts.roles(host):
        host.say("logs", f"of {', '.join(only)}")
    host.call(remote.show, planning.application(settings), settings.manager.name, which, follow, lines)


class Entries:
    """The lines of a host's logs, as objects.

    :param host: its name.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.log = ""

    def show(self, line: str) -> None:
        """Print a line as one; before those of each log comes its name, as tail writes it."""
        if found := NAME.fullmatch(line):
            self.log = found[1]
        elif line:
            terminal.show_json({"host": self.host, "log": self.log, **_parsed(line)}, indent=None)


def _parsed(line: str) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        if isinstance(entry := json.loads(line), dict):
            return entry
    return {"line": line}
