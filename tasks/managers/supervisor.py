"""supervisor: one program a release and process, added and removed by themselves over its XML-RPC socket.

Other projects' programs are never touched: no reload, no restart of supervisord, no update of everything.
The protocol: http://supervisord.org/api.html
"""

from __future__ import annotations

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

from ..engine.remote import process, releases, unix_http
from ..engine.remote.failure import Failed

PACKAGES = ["supervisor"]
SERVICES = ["supervisor"]
DROPINS = {"supervisor": "RestartSec=1"}  # Debian's unit waits 50 seconds
WEB, PROCESSES = "supervisor.conf", "processes.conf"
TEMPLATES = {WEB: "supervisor/web.conf.j2", PROCESSES: "supervisor/processes.conf.j2"}
CONFIGURATION = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
RPC_SECONDS = 30
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


def add_web(app: str, release: str) -> None:
    """Start a release's web program beside the live one."""
    name = os.path.basename(release)
    releases.replace_link(_next(app), f"{release}/config/{WEB}")
    _add(f"{app}-{name}")


def add(name: str) -> None:
    """Start a program of the release that is current."""
    _add(name)


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


def stop(names: list[str], timeout: float, at_once: bool = False) -> None:
    """Stop programs gracefully, all at once, and remove them.

    :param timeout: seconds until a program that does not stop is said; supervisor kills it by itself.
    :param at_once: kill them, with all they started, instead of waiting for what they are doing.
    """
    with _server() as server:
        there = {program["name"]: program["pid"] for program in programs() if program["name"] in names}
        for name, pid in there.items():
            with contextlib.suppress(xmlrpc.client.Fault):
                server.supervisor.stopProcessGroup(name, False)
            if at_once and pid:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        _wait_stopped(there, timeout)
        for name in there:
            with contextlib.suppress(xmlrpc.client.Fault):
                server.supervisor.removeProcessGroup(name)


def _wait_stopped(names: Iterable[str], timeout: float) -> None:
    end = time.monotonic() + timeout
    while running := [p["name"] for p in programs() if p["name"] in names and p["state"] not in STOPPED]:
        if time.monotonic() > end:
            raise Failed(
                f"{', '.join(running)} did not stop within {timeout:.0f} seconds",
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


def _add(name: str) -> None:
    _reread()
    with _server() as server:
        try:
            server.supervisor.addProcessGroup(name)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_ADDED" not in fault.faultString:
                raise Failed(
                    f"supervisor does not start {name}: {fault.faultString}",
                    "Look at: sudo supervisorctl avail",
                ) from None
            with contextlib.suppress(xmlrpc.client.Fault):
                server.supervisor.startProcessGroup(name, False)


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
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return unix_http.Connection(f"unix:{self.path}", RPC_SECONDS)


@contextlib.contextmanager
def _server() -> Any:
    path = next(filter(os.path.exists, CONFIGURATION), "")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read(path)
    socket_path = parser.get("unix_http_server", "file", fallback="/var/run/supervisor.sock")
    try:
        with xmlrpc.client.ServerProxy("http://localhost", _UnixTransport(socket_path)) as server:
            yield server
    except OSError as error:
        raise Failed(
            f"supervisord does not answer on {socket_path}: {error.strerror or error}",
            "Look at it on the host: systemctl status supervisor",
        ) from None
