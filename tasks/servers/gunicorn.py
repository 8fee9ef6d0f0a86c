"""gunicorn: its configuration, checked by gunicorn itself from the release's own virtualenv."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..engine.remote import killing, kinds, process, releases
from ..engine.remote.application import Application
from ..engine.remote.drivers import DESCRIPTOR, MANY_WORKERS, PATH, Launch, Server, seconds
from ..engine.remote.failure import Failed

CONFIG = "gunicorn.conf.py"
SECONDS = 30  # gunicorn's own default of timeout and of graceful_timeout
IDLE_SECONDS = 15  # that connections are kept, where nothing else is said; longer than nginx keeps them
CHECK_SECONDS = 120
FINISHING = ("asgi", "gevent", "gthread")  # workers; sync, with several threads, is gthread

# Runs in the release's virtualenv. gunicorn ignores a setting it does not know, and says of a wrong value
# only the first; --check-config then imports the application.
CHECK = """
import difflib, json, sys
from gunicorn.config import KNOWN_SETTINGS, Config
known, config, problems = {setting.name for setting in KNOWN_SETTINGS}, Config(), []
for name, value in json.loads(sys.argv.pop(1)).items():
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        problems.append(f"gunicorn has no setting {name}" + (f"; did you mean {near[0]}?" if near else ""))
        continue
    try:
        config.set(name, value)
    except Exception as error:
        problems.append(f"{name}: {error}")
if problems:
    sys.exit("web.settings: " + "; ".join(problems))
sys.argv[0] = "gunicorn"
from gunicorn.app.wsgiapp import run
run()
"""


class Gunicorn(Server):
    """gunicorn with any of its workers."""

    requirements = ("gunicorn>=23",)  # 22 drops the SCRIPT_NAME that nginx sends
    templates = {CONFIG: "gunicorn/gunicorn.conf.py.j2"}
    refused = {
        "bind": "each release has a socket of its own: set web.bind",
        "chdir": "the release's directory is used",
        "config": "its configuration file is rendered for each release",
        "daemon": "the manager keeps the server in the foreground; a daemon would escape it",
        "group": "the manager starts it as the application's user",
        "pidfile": "the manager keeps track of the process",
        "reload": "it would restart workers while a release is being built",
        "user": "the manager starts it as the application's user: set user",
        "workers": "set web.workers",
        "wsgi_app": "set web.app",
    }
    switches = frozenset({"daemon", "reload"})
    notifies = True
    reloads = True
    takes = frozenset({PATH, DESCRIPTOR})
    speaks = "http"
    longest_path = 107
    is_one_process = False
    prefix = "header"
    grace_setting = "graceful_timeout"

    def argv(self, launch: Launch) -> list[str]:
        """The command line."""
        return [launch.python, "-m", "gunicorn", "-c", f"{launch.config}/{CONFIG}"]

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get."""
        return seconds(settings, self.grace_setting, SECONDS)

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """Whether its workers do; of those that are not gunicorn's own nothing is known."""
        threads, worker = settings.get("threads", 1), settings.get("worker_class", "sync")
        return worker in FINISHING or (worker == "sync" and isinstance(threads, int) and threads > 1)

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """Seconds after which a worker that is silent is killed."""
        return seconds(settings, "timeout", SECONDS)

    def idle(self, settings: Mapping[str, Any]) -> float:
        """Seconds a connection is kept."""
        return seconds(settings, "keepalive", IDLE_SECONDS)

    def workers(self, pid: int) -> list[int]:
        """All that the master has started."""
        return killing.children(pid)

    def most_workers(self, workers: int, settings: Mapping[str, Any]) -> int:
        """As many as one likes."""
        return MANY_WORKERS

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Check a release: every setting is known and valid, the file loads, the application can be imported.

        Where the live release has the same configuration and environment, all that is left to find out is whether
        the application can be imported, and starting it beside the live one shows that.

        :param whole: look all the same.
        :raises Failed: with gunicorn's or the application's own words.
        """
        if not whole and releases.same_as_live(application.root, launch.id, list(self.templates)):
            return
        settings, config = json.dumps(launch.settings), f"{launch.config}/{CONFIG}"
        argv = ["/bin/sh", launch.launcher, launch.python, "-c", CHECK, settings, "--check-config", "-c", config]
        done = process.run(argv, user=application.user, timeout=CHECK_SECONDS)
        if done.status == 0:
            return
        if done.lines and done.lines[-1].startswith("web.settings: "):
            raise Failed(
                kinds.SERVER_SETTINGS,
                done.lines[-1], "See gunicorn's settings: https://docs.gunicorn.org/en/stable/settings.html"
            )
        problem = process.ending(done, "gunicorn --check-config", CHECK_SECONDS)
        raise Failed(
            kinds.APP_NOT_LOADED,
            f"the application or its gunicorn configuration cannot be loaded; nothing live was touched: {problem}"
            f"{process.quote(done.lines)}",
            "The last lines say why; mend it, commit, and deploy again.",
        )


DRIVER = Gunicorn()
