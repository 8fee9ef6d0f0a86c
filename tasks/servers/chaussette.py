"""chaussette: a WSGI server of one process, on a socket that its manager has opened.

It answers one request after another. Opening a socket itself, it would let no
more than five connections wait, and nginx would get errors instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..engine.remote import kinds, process
from ..engine.remote.application import Application
from ..engine.remote.drivers import DESCRIPTOR, Launch, Server
from ..engine.remote.failure import Failed

OPTIONS = ("backend", "log_level", "post_hook", "pre_hook", "python_path")
SECONDS = 30.0
CHECK_SECONDS = 120

# Runs in the release's virtualenv.
CHECK = """
import difflib, json, sys
from chaussette.backend import backends
from chaussette.util import LOG_LEVELS, import_string
settings, options, app = json.loads(sys.argv[1])
problems, backend = [], settings.get("backend", "wsgiref")
for name in settings:
    if name not in options:
        near = difflib.get_close_matches(name, options, 1)
        problems.append(f"chaussette has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
there = [name for name in backends() if name != "waitress"]  # waitress 3.0 is handed no socket by it
if backend not in there:
    problems.append(f"backend: {backend!r} does not work here; there are: " + ", ".join(there))
if str(settings.get("log_level", "info")).lower() not in LOG_LEVELS:
    problems.append("log_level: expected one of " + ", ".join(LOG_LEVELS))
if problems:
    sys.exit("web.settings: " + "; ".join(problems))
import_string(app)
"""


class Chaussette(Server):
    """chaussette with a backend that still works on a socket that was opened for it."""

    requirements = ("chaussette>=1.3",)
    templates = {}
    refused = {
        "address_family": "set web.bind",
        "backlog": "the manager opens the socket",
        "fd": "the manager opens the socket",
        "graceful_timeout": "no backend that still installs has it",
        "host": "set web.bind",
        "log_output": "the manager takes what it writes",
        "port": "set web.bind",
        "socket_type": "it is a stream",
        "spawn": "no backend that still installs has it",
        "use_reloader": "it would restart the server while a release is being built",
    }
    switches = frozenset[str]()
    notifies = False
    takes = frozenset({DESCRIPTOR})
    speaks = "http"
    longest_path = 107
    is_one_process = True
    prefix = "none"
    grace_setting = ""

    def argv(self, launch: Launch) -> list[str]:
        """The command line."""
        # A unix socket is handed over as any other: told of it, chaussette would take only one that it opens.
        family = "AF_INET6" if launch.address.startswith("[") else "AF_INET"
        options = [f"--{name.replace('_', '-')}={value}" for name, value in launch.settings.items()]
        socket = ["--fd", launch.descriptor, f"--address-family={family}"]
        return [launch.python, "-m", "chaussette.server", *socket, *options, launch.app]

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get: before it is told to end, for it ends at once."""
        return SECONDS

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """It ends no request."""
        return 0.0

    def idle(self, settings: Mapping[str, Any]) -> float:
        """It keeps no connection that is worth to be kept."""
        return 0.0

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """It ends at once."""
        return False

    def workers(self, pid: int) -> list[int]:
        """Itself."""
        return [pid]

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Check a release: every setting is known, its backend is there, the application can be imported.

        :raises Failed: with chaussette's or the application's own words.
        """
        given = json.dumps([launch.settings, OPTIONS, launch.app])
        argv = ["/bin/sh", launch.launcher, launch.python, "-c", CHECK, given]
        done = process.run(argv, user=application.user, timeout=CHECK_SECONDS)
        if done.status == 0:
            return
        if done.lines and done.lines[-1].startswith("web.settings: "):
            raise Failed(
                kinds.SERVER_SETTINGS,
                done.lines[-1], "See chaussette's options: https://chaussette.readthedocs.io/en/1.3.0/#usage"
            )
        raise Failed(
            kinds.APP_NOT_LOADED,
            "the application cannot be imported; nothing live was touched:"
            f" {process.ending(done, 'python', CHECK_SECONDS)}{process.quote(done.lines)}",
            "The last lines say why; mend it, commit, and deploy again.",
        )


DRIVER = Chaussette()
