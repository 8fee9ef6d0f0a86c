"""granian: ASGI and WSGI applications, served by a program in Rust. All it is told stands in its command line.

Its own settings choose between the two: ``interface: asgi`` or ``interface: wsgi``; ASGI where nothing is said.
It believes no forwarding header: an application that needs the client's address or scheme wraps itself in
``granian.utils.proxies``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engine.remote import killing, options
from ..engine.remote.application import Application
from ..engine.remote.drivers import PATH, Launch, Server, seconds

GRACE_SECONDS = 30
IDLE_MILLISECONDS = 30_000  # granian's own default of http1_header_read_timeout, after which it closes one

# Runs in the release's virtualenv. granian reads its options by itself, and imports the application; nothing listens.
CHECK = """
import difflib, json, sys
from granian import cli
from granian.server.common import load_target
words = [word for option in cli.cli.params for word in option.opts if word.startswith("--")]
known, problems = {word[2:].replace("-", "_") for word in words}, []
for name in set(json.loads(sys.argv[1])) - known:
    near = difflib.get_close_matches(name, known, 1)
    problems.append(f"granian has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
if problems:
    sys.exit("web.settings: " + "; ".join(sorted(problems)))
cli.Server.serve = lambda self: load_target(self.target, wd=self.working_dir, factory=self.factory)
cli.cli.main(sys.argv[2:], prog_name="granian")
"""


class Granian(Server):
    """granian with any of its interfaces for Python."""

    requirements = ("granian>=2.5",)
    templates = {}
    notifies = False
    refused = {
        "host": "each release has an address of its own: set web.bind",
        "pid_file": "the manager keeps track of the process",
        "port": "each release has an address of its own: set web.bind",
        "reload": "it would restart workers while a release is being built",
        "respawn_failed_workers": "a worker that died comes back",
        "uds": "each release has a socket of its own: set web.bind",
        "uds_permissions": "who may reach the socket is decided by its directory",
        "url_path_prefix": "set site.path",
        "workers": "set web.workers",
        "working_dir": "the release's directory is used",
    }
    switches = frozenset({"reload"})
    takes = frozenset({PATH})
    speaks = "http"
    longest_path = 107
    prefix = "option"
    grace_setting = "workers_kill_timeout"

    def argv(self, launch: Launch) -> list[str]:
        """The command line."""
        given = {
            **_listens(launch),
            "workers": launch.workers,
            "url_path_prefix": launch.path or None,
            "respawn_failed_workers": True,
            "interface": "asgi",
            "access_log": True,
            "access_log_fmt": '%(header{x-forwarded-for})s [%(time)s] "%(method)s %(path)s %(protocol)s" %(status)d',
            self.grace_setting: GRACE_SECONDS,
            **launch.settings,
        }
        return [launch.python, "-m", "granian", *options.words(given, frozenset(), frozenset()), launch.app]

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get."""
        return seconds(settings, self.grace_setting, GRACE_SECONDS)

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """Always; WebSockets it cuts, at once and without a close."""
        return True

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """None: a request may take its time."""
        return 0

    def idle(self, settings: Mapping[str, Any]) -> float:
        """Seconds a connection is kept."""
        return seconds(settings, "http1_header_read_timeout", IDLE_MILLISECONDS) / 1000

    def workers(self, pid: int) -> list[int]:
        """What it has started, but for Python's resource_tracker."""
        return [child for child in killing.children(pid) if not killing.ignores_term(child)]

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Check a release: every option is known and valid, and the application can be imported.

        :raises Failed: with granian's or the application's own words.
        """
        alone = replace(launch, workers=1, address="")
        options.check(application, launch, "granian", CHECK, self.argv(alone)[3:], "https://github.com/emmett-framework/granian")


DRIVER = Granian()


def _listens(launch: Launch) -> dict[str, Any]:
    kind, _, rest = launch.address.rpartition(":")
    if kind == "unix":
        return {"uds": rest, "uds_permissions": "0o666"}
    return {"host": kind.strip("[]"), "port": rest} if kind else {}
