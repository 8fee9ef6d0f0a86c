"""supervisor: one program a release and process, added and removed by themselves over its XML-RPC socket.

Other projects' programs are never touched: no reload, no restart of supervisord, no update of everything.
The protocol: http://supervisord.org/api.html
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import http.client
import os
import re
import signal
import time
import xmlrpc.client
from collections.abc import Iterable
from typing import Any, TypedDict

from ..engine.remote import killing, process, releases, unix_http
from ..engine.remote.failure import Failed
from ..engine.remote.unix import pwd

PACKAGES = ["supervisor"]
SERVICES = ["supervisor"]
DROPINS = {"supervisor": "RestartSec=1"}  # Debian's unit waits 50 seconds
WEB, PROCESSES = "supervisor.conf", "processes.conf"
TEMPLATES = {WEB: "supervisor/web.conf.j2", PROCESSES: "supervisor/processes.conf.j2"}
CONFIGURATION = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
RPC_SECONDS = 30
STOP_SECONDS = 10.0  # supervisor's own stopwaitsecs
KILL_SECONDS = 10.0  # that a program has at most to be gone once supervisor has killed it
STOPPED = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")
BROKEN = ("BACKOFF", "EXITED", "FATAL", "UNKNOWN")


class Program(TypedDict):
    """One program under supervisor's care; ``since`` in seconds since 1970."""

    name: str
    state: str
    pid: int
    since: float
    detail: str


def install(app: str, root: str) -> list[str]:
    """Make supervisord start the current release's programs when it starts."""
    changed = []
    for name in (WEB, PROCESSES):
        path, target = _link(app, name), f"{root}/current/config/{name}"
        if not os.path.islink(path) or os.readlink(path) != target:
            if os.path.lexists(path) and not os.path.islink(path):
                raise Failed(
                    f"{path} is there and was not made by fabrelease; nothing was touched",
                    "Move it away, or rename the app.",
                )
            releases.replace_link(path, target)
            changed.append(f"link {path}")
    return changed


def check(root: str, name: str) -> None:
    """Let supervisor's own parser read the files of a release.

    What the live release has, and supervisor runs by, needs no second look; only the id differs.

    :raises Failed: it refuses them.
    """
    live = releases.linked(root, "current")
    if live and releases.same_files(root, live, name, list(TEMPLATES)):
        return
    config = f"{releases.directory(root, name)}/config"
    trial = f"{config}/.check.conf"
    code = (
        "import sys; from supervisor.options import ServerOptions\n"
        "options = ServerOptions(); options.realize(['-c', sys.argv[1]])\n"
        "sys.exit(not options.process_group_configs)"
    )
    try:
        releases.write_atomically(trial, f"[supervisord]\n[include]\nfiles = {WEB} {PROCESSES}\n".encode())
        done = process.run(["python3", "-c", code, trial], timeout=60)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    if done.status != 0:
        raise Failed(
            f"supervisor refuses the configuration; nothing live was touched{process.quote(done.lines[-5:])}",
            "Look at your templates/supervisor/.",
        )


def add_web(app: str, root: str, release: str) -> None:
    """Start a release's web program beside the live one."""
    releases.replace_link(_next(app), f"{releases.directory(root, release)}/config/{WEB}")
    _add(f"{app}-{release}", root)


def add(name: str, root: str) -> None:
    """Start a program of the release that is current."""
    _add(name, root)


def settle(app: str) -> None:
    """Forget what only a running cutover needs; what is current is read from its own links."""
    if releases.unlink(_next(app)):
        _reread()


def ensure_running() -> list[str]:
    """Start supervisord where it is down, and wait until it answers; whether it was said in words."""
    try:
        programs()
        return []
    except Failed:
        process.check(
            ["systemctl", "start", "supervisor"],
            "supervisord could not be started",
            "Look at: journalctl -u supervisor",
            timeout=60,
        )
    end = time.monotonic() + RPC_SECONDS
    while True:
        try:
            programs()
            return ["started supervisord, which was down"]
        except Failed:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def stop(names: list[str], root: str, user: str, at_once: bool = False) -> None:
    """Stop programs gracefully, all at the same time, and remove them.

    Supervisor kills by itself what does not stop within the ``stopwaitsecs`` of its program.

    :param user: whose the programs are; nobody else's process is killed.
    :param at_once: kill them, with all they started, instead of waiting for what they are doing.
    :raises Failed: one did not stop, and is still there.
    """
    with _server() as server:
        there = {program["name"]: program["pid"] for program in programs() if program["name"] in names}
        for name in there:
            with contextlib.suppress(xmlrpc.client.Fault):
                server.supervisor.stopProcessGroup(name, False)
        if at_once:
            _kill([pid for pid in there.values() if pid], pwd.getpwnam(user).pw_uid)
        _wait_stopped(there, max((_stop_seconds(root, name) for name in there), default=0) + KILL_SECONDS)
        for name in there:
            with contextlib.suppress(xmlrpc.client.Fault):
                server.supervisor.removeProcessGroup(name)


def _kill(pids: list[int], uid: int) -> None:
    everything = killing.with_descendants(pids)
    killing.end(everything, lambda pid: killing.belongs_to(pid, uid), signal.SIGKILL, KILL_SECONDS)


def _stop_seconds(root: str, name: str) -> float:
    """How long supervisor waits for a program to stop: what its release's files told it."""
    parser = configparser.RawConfigParser(strict=False)
    if release := releases.ID.search(name):
        folder = f"{releases.directory(root, release[0])}/config"
        with contextlib.suppress(configparser.Error):
            parser.read([f"{folder}/{WEB}", f"{folder}/{PROCESSES}"], encoding="utf-8")
    try:
        return parser.getfloat(f"program:{name}", "stopwaitsecs", fallback=STOP_SECONDS)
    except ValueError:
        return STOP_SECONDS


def _wait_stopped(names: Iterable[str], timeout: float) -> None:
    end = time.monotonic() + timeout
    while running := [p["name"] for p in programs() if p["name"] in names and p["state"] not in STOPPED]:
        if time.monotonic() > end:
            raise Failed(
                f"{', '.join(running)} did not stop within {timeout:.0f} seconds, though killed",
                "Look at it on the host: sudo supervisorctl status",
                needs_person=True,
            )
        time.sleep(0.02)


def programs() -> list[Program]:
    """All programs supervisor knows."""
    with _server() as server:
        return [
            {
                "name": str(info["name"]),
                "state": str(info["statename"]),
                "pid": int(info["pid"]),
                "since": float(info["start"]),
                "detail": str(info["spawnerr"] or info["description"]),
            }
            for info in server.supervisor.getAllProcessInfo()
        ]


def of_app(app: str) -> list[Program]:
    """The programs of one application, of whatever release."""
    ours = re.compile(rf"{re.escape(app)}-{releases.ID.pattern}(-[A-Za-z0-9_-]+)?")
    return [program for program in programs() if ours.fullmatch(program["name"])]


def is_up(program: Program) -> bool:
    """Whether a program runs; STARTING is what supervisor calls the first second of that."""
    return program["state"] in ("STARTING", "RUNNING")


def is_broken(program: Program) -> bool:
    """Whether a program died and is not coming up."""
    return program["state"] in BROKEN


def _add(name: str, root: str) -> None:
    _reread()
    with _server() as server:
        try:
            server.supervisor.addProcessGroup(name)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_ADDED" not in fault.faultString:
                raise _not_started(name, fault.faultString) from None
            _start_again(server, name, root)


def _start_again(server: Any, name: str, root: str) -> None:
    """Start a program that supervisor knows; what is told to start while it still stops would stay stopped."""
    if any(program["name"] == name and program["state"] == "STOPPING" for program in programs()):
        _wait_stopped([name], _stop_seconds(root, name) + KILL_SECONDS)
    for done in server.supervisor.startProcessGroup(name, False):
        if done["description"] != "OK":
            raise _not_started(name, done["description"])


def _not_started(name: str, why: str) -> Failed:
    return Failed(f"supervisor does not start {name}: {why}", "Look at it on the host: sudo supervisorctl avail")


def _reread() -> None:
    with _server() as server:
        try:
            server.supervisor.reloadConfig()
        except xmlrpc.client.Fault as fault:
            raise Failed(
                f"supervisor cannot read its configuration: {fault.faultString}",
                "It may be another project's file. Look at: sudo supervisorctl reread",
            ) from None


def _link(app: str, name: str) -> str:
    return f"{folder()}/{app}.conf" if name == WEB else f"{folder()}/{app}.processes.conf"


def _next(app: str) -> str:
    return f"{folder()}/{app}.next.conf"


def folder() -> str:
    """Where supervisor looks for the programs of everybody."""
    return "/etc/supervisor/conf.d" if os.path.isdir("/etc/supervisor/conf.d") else "/etc/supervisord.d"


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, credentials: str) -> None:
        basic = base64.b64encode(credentials.encode()).decode()
        super().__init__(headers=[("Authorization", f"Basic {basic}")] if credentials else [])
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return unix_http.Connection(f"unix:{self.path}", RPC_SECONDS)


@contextlib.contextmanager
def _server() -> Any:
    path = next(filter(os.path.exists, CONFIGURATION), "")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read(path)
    socket_path = parser.get("unix_http_server", "file", fallback="/var/run/supervisor.sock")
    transport = _UnixTransport(socket_path, _credentials(parser))
    try:
        with xmlrpc.client.ServerProxy("http://localhost", transport) as server:
            yield server
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        said = getattr(error, "strerror", None) or getattr(error, "faultString", None) or error
        raise Failed(
            f"supervisord does not answer on {socket_path}: {said}",
            "Look at it on the host: systemctl status supervisor",
        ) from None


def _credentials(parser: configparser.RawConfigParser) -> str:
    """Name and password, where supervisord asks for them; supervisorctl's, where its own is kept as a hash."""
    for section in ("unix_http_server", "supervisorctl"):
        name, password = (parser.get(section, key, fallback="") for key in ("username", "password"))
        if name and not password.startswith("{SHA}"):
            return f"{name}:{password}".replace("%%", "%")
    return ""
