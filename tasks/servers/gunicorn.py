"""gunicorn: its configuration, checked by gunicorn itself from the release's own virtualenv."""

from __future__ import annotations

import json
from typing import Any

from ..engine.remote import process, releases
from ..engine.remote.failure import Failed

REQUIREMENTS = ["gunicorn>=23"]  # 22 drops the SCRIPT_NAME that nginx sends
TEMPLATES = {"gunicorn.conf.py": "gunicorn/gunicorn.conf.py.j2"}
GRACEFUL_TIMEOUT = 30  # gunicorn's own default, in seconds
TIMEOUT = 30  # likewise; nginx has to wait longer
REFUSED = {  # in web.settings, with the reason
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
SWITCHES = ("daemon", "reload")  # of those, what may be said to be off

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


def command(release: str) -> list[str]:
    """The command that runs a release's web server: by module, since a script's shebang pins its interpreter."""
    return [f"{release}/env/bin/python", "-m", "gunicorn", "-c", f"{release}/config/gunicorn.conf.py"]


def check(root: str, name: str, user: str, settings: dict[str, Any], before: bool) -> None:
    """Check a release: every setting is known and valid, the file loads, the application can be imported.

    Where the live release has the same configuration and environment, all that is left to find out is whether
    the application can be imported, and starting it beside the live one shows that.

    :param settings: what the user gave under ``web.settings``.
    :param before: there are commands to run before it is started, which must not run for a broken application.
    :raises Failed: with gunicorn's or the application's own words.
    """
    live = releases.linked(root, "current")
    if live and not before and _same(root, live, name):
        return
    release = releases.directory(root, name)
    python, _, *arguments = command(release)
    check_code = [python, "-c", CHECK, json.dumps(settings), "--check-config", *arguments[1:]]
    done = process.run(["/bin/sh", f"{release}/config/launch", *check_code], user=user, timeout=120)
    if done.status == 0:
        return
    problem = process.ending(done, "gunicorn --check-config", 120)
    if done.lines and done.lines[-1].startswith("web.settings: "):
        raise Failed(done.lines[-1], "See gunicorn's settings: https://docs.gunicorn.org/en/stable/settings.html")
    raise Failed(
        f"the application or its gunicorn configuration cannot be loaded; nothing live was touched: {problem}"
        f"{process.quote(done.lines)}",
        "The last lines say why; mend it, commit, and deploy again.",
    )


def _same(root: str, one: str, other: str) -> bool:
    if not releases.same_files(root, one, other, list(TEMPLATES)):
        return False
    return bool(releases.read(root, one).get("environment") == releases.read(root, other).get("environment"))
