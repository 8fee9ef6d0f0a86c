"""uvicorn: ASGI applications, with HTTP and WebSockets. All it is told stands in its command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engine.remote import killing, kinds, options, releases
from ..engine.remote.application import Application
from ..engine.remote.drivers import DESCRIPTOR, MANY_WORKERS, PATH, Launch, Server, seconds
from ..engine.remote.failure import Failed

GRACE_SECONDS = 30  # uvicorn's own default is to wait for ever
IDLE_SECONDS = 5  # uvicorn's own default of timeout_keep_alive
WITH_VALUE = frozenset({"ws_per_message_deflate"})  # the one option that is told true or false in a word
WITHOUT_NO = frozenset({"factory", "http2", "reload", "reset_contextvars"})  # options that are there or not

# Runs in the release's virtualenv. uvicorn reads its options by itself, and imports the application and the
# protocols that they name; nothing listens, and nothing of the application's is started.
CHECK = """
import difflib, json, sys
import uvicorn
from uvicorn.server import Server
words = [word for option in uvicorn.main.params for word in option.opts if word.startswith("--")]
known, problems = {word[2:].replace("-", "_") for word in words}, []
for name in set(json.loads(sys.argv[1])) - known:
    near = difflib.get_close_matches(name, known, 1)
    problems.append(f"uvicorn has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
if problems:
    sys.exit("web.settings: " + "; ".join(sorted(problems)))
def load(self, sockets=None):
    self.config.load()
    getattr(self.config, "get_loop_factory", lambda: None)()
    self.started = True
Server.run = load
uvicorn.main.main(sys.argv[2:], prog_name="uvicorn")
"""


class Uvicorn(Server):
    """uvicorn with one process or with several."""

    requirements = ("uvicorn>=0.30", "websockets>=10.4")  # without websockets it answers none
    templates = {}
    notifies = False
    refused = {
        "app_dir": "the release's directory is used",
        "fd": "the manager hands a socket over where it can",
        "host": "each release has an address of its own: set web.bind",
        "port": "each release has an address of its own: set web.bind",
        "reload": "it would restart workers while a release is being built",
        "reload_delay": "nothing is reloaded",
        "reload_dir": "nothing is reloaded",
        "reload_exclude": "nothing is reloaded",
        "reload_include": "nothing is reloaded",
        "root_path": "set site.path",
        "ssl_certfile": "nginx speaks to it, and without TLS",
        "ssl_keyfile": "nginx speaks to it, and without TLS",
        "ssl_keyfile_password": "everybody on the host would read it in the command line",
        "uds": "each release has a socket of its own: set web.bind",
        "workers": "set web.workers",
    }
    switches = frozenset({"reload"})
    takes = frozenset({PATH, DESCRIPTOR})
    speaks = "http"
    longest_path = 107
    prefix = "stripped"
    grace_setting = "timeout_graceful_shutdown"

    def argv(self, launch: Launch) -> list[str]:
        """The command line."""
        given = {
            **_listens(launch),
            "workers": launch.workers,
            "root_path": launch.path or None,
            # Over a unix socket nobody but nginx comes in; and a peer there has no address to be trusted by.
            "forwarded_allow_ips": "*" if launch.address.startswith("unix:") else "127.0.0.1,::1",
            self.grace_setting: GRACE_SECONDS,
            **launch.settings,
        }
        return [launch.python, "-m", "uvicorn", *options.words(given, WITH_VALUE, WITHOUT_NO), launch.app]

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get."""
        return seconds(settings, self.grace_setting, GRACE_SECONDS)

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """Always; WebSockets it closes with 1012, at once."""
        return True

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """None: a request may take its time."""
        return 0

    def idle(self, settings: Mapping[str, Any]) -> float:
        """Seconds a connection is kept."""
        return seconds(settings, "timeout_keep_alive", IDLE_SECONDS)

    def workers(self, pid: int) -> list[int]:
        """What it has started, but for Python's resource_tracker, which alone ignores TERM; or itself."""
        return [child for child in killing.children(pid) if not killing.ignores_term(child)] or [pid]

    def most_workers(self, workers: int, settings: Mapping[str, Any]) -> int:
        """As many as one likes, where there is a process that keeps them."""
        return MANY_WORKERS if workers > 1 else 0

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Check a release: every option is known and valid, and the application can be imported.

        Where the live release has the same command line and environment, all that is left to find out is whether
        the application can be imported, and starting it beside the live one shows that: at once where it is one
        process. Of several, uvicorn starts those that die again and again.

        :param whole: look all the same.
        :raises Failed: with uvicorn's or the application's own words.
        """
        if launch.workers == 1 and launch.settings.get("limit_max_requests"):
            raise Failed(
                kinds.SERVER_SETTINGS,
                "web.settings: limit_max_requests would leave the site without its only worker now and then",
                "Set web.workers to 2 or more.",
            )
        if not whole and launch.workers == 1 and releases.same_as_live(application.root, launch.id, []):
            return
        alone = replace(launch, workers=1, address="", descriptor="")
        options.check(application, launch, "uvicorn", CHECK, self.argv(alone)[3:], "https://www.uvicorn.org/settings/")


DRIVER = Uvicorn()


def _listens(launch: Launch) -> dict[str, Any]:
    if launch.descriptor:
        return {"fd": launch.descriptor}
    kind, _, rest = launch.address.rpartition(":")
    if kind == "unix":
        return {"uds": rest}
    return {"host": kind.strip("[]"), "port": rest} if kind else {}
