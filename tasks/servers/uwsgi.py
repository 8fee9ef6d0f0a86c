"""uWSGI: pyuwsgi's wheel in the release's virtualenv, or Debian's package where ``web.settings`` names its plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.remote import killing, kinds, process
from ..engine.remote.application import Application
from ..engine.remote.drivers import PATH, Launch, Server, seconds
from ..engine.remote.failure import Failed

CONFIG = "uwsgi.ini"
PROGRAM = "/usr/bin/uwsgi"  # Debian's, a core without languages: these are plugins
MERCY_SECONDS = 30  # what the template says where web.settings does not
CHECK_SECONDS = 120
FACTOR = 8  # so many times web.workers is what it can be scaled to
UNKNOWN = re.compile(r"\[strict-mode\] unknown config directive: (.*)")
SOCKET = "each release has a socket of its own: set web.bind"
COUNT = "set web.workers"
APP = "set web.app"


class Uwsgi(Server):
    """uWSGI, asked in its own protocol."""

    requirements = ("pyuwsgi>=2.0.28",)  # a wheel; the package uWSGI needs a compiler
    templates = {CONFIG: "uwsgi/uwsgi.ini.j2"}
    refused = {
        **dict.fromkeys(("socket", "uwsgi_socket", "http", "http_socket", "fastcgi_socket", "scgi_socket"), SOCKET),
        **dict.fromkeys(("workers", "processes"), COUNT),
        **dict.fromkeys(("module", "wsgi", "wsgi_file", "file", "callable", "mount", "pyrun"), APP),
        "chdir": "the release's directory is used",
        "daemonize": "the manager keeps the server in the foreground; a daemon would escape it",
        "daemonize2": "the manager keeps the server in the foreground; a daemon would escape it",
        "emperor": "the manager keeps one server a release",
        "gid": "the manager starts it as the application's user",
        "ini": "its configuration file is rendered for each release",
        "master": "without its master nobody would start a worker again",
        "no_server": "it would not serve",
        "pidfile": "the manager keeps track of the process",
        "plugin": "name them in plugins",
        "strict": "an option that uWSGI does not know is always refused",
        "touch_reload": "it would restart workers while a release is being built",
        "uid": "the manager starts it as the application's user: set user",
    }
    switches = frozenset[str]()
    notifies = True
    reloads = True
    takes = frozenset({PATH})
    speaks = "uwsgi"
    socket = "uwsgi.sock"
    longest_path = 102
    prefix = "option"
    grace_setting = "worker_reload_mercy"

    def requires(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The wheel, but for Debian's uWSGI."""
        return () if "plugins" in settings else self.requirements

    def packages(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """Debian's core and the plugins that are named, such as ``python3``."""
        if "plugins" not in settings:
            return ()
        return ("uwsgi-core", *(f"uwsgi-plugin-{name.strip()}" for name in str(settings["plugins"]).split(",")))

    def argv(self, launch: Launch) -> list[str]:
        """The command line."""
        embedded = [launch.python, "-c", "import pyuwsgi; pyuwsgi.run()"]
        program = [PROGRAM] if "plugins" in launch.settings else embedded
        return [*program, "--ini", f"{launch.config}/{CONFIG}"]

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get."""
        return seconds(settings, self.grace_setting, MERCY_SECONDS)

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """What has been accepted, by the hook in the template; what waits in the queue it does not."""
        return True

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """Seconds after which a worker is killed over one request."""
        return seconds(settings, "harakiri", 0)

    def idle(self, settings: Mapping[str, Any]) -> float:
        """None: uWSGI's protocol has one request a connection."""
        return 0

    def workers(self, pid: int) -> list[int]:
        """All that the master has started."""
        return killing.children(pid)

    def most_workers(self, workers: int, settings: Mapping[str, Any]) -> int:
        """What its shared memory was made for; where an algorithm of uWSGI's decides, nobody else does."""
        return 0 if "cheaper" in settings else FACTOR * workers

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Let uWSGI read its file and import the application, without a socket.

        Always: of one that cannot be imported, the end of the log would show but how it is started again and again.

        :param whole: makes no difference.
        :raises Failed: with uWSGI's or the application's own words.
        """
        argv = ["/bin/sh", launch.launcher, *self.argv(launch), "--no-server"]
        done = process.run(argv, user=application.user, timeout=CHECK_SECONDS)
        if done.status == 0:
            return
        if unknown := UNKNOWN.search(done.text):
            raise Failed(
                kinds.SERVER_SETTINGS,
                f"web.settings: uWSGI has no option {unknown[1].replace('-', '_')}; nothing live was touched",
                "See uWSGI's options: https://uwsgi-docs.readthedocs.io/en/latest/Options.html",
            )
        problem = process.ending(done, "uwsgi --no-server", CHECK_SECONDS)
        raise Failed(
            kinds.APP_NOT_LOADED,
            f"the application or its uWSGI configuration cannot be loaded; nothing live was touched: {problem}"
            f"{process.quote(done.lines)}",
            "The last lines say why; mend it, commit, and deploy again.",
        )


DRIVER = Uwsgi()
