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
import shlex
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.remote import killing, kinds, orphans, process, releases, system, unix_http
from ..engine.remote.application import Application, Unit
from ..engine.remote.drivers import PATH, Manager, Program
from ..engine.remote.failure import Failed
from ..engine.remote.logs import Log, Tail
from ..engine.remote.resources import Link, Resource

WEB, PROCESSES = "supervisor.conf", "processes.conf"
RPC_SECONDS = 30
KILL_SECONDS = 10  # that a program has at most to be gone once supervisor has killed it
UP = ("STARTING", "RUNNING")  # STARTING is what supervisor calls the first second
STOPPED = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")
BROKEN = ("BACKOFF", "EXITED", "FATAL", "UNKNOWN")


class Supervisor(Manager):
    """supervisord, over its XML-RPC."""

    packages = ("supervisor",)
    services = ("supervisor",)
    dropins = {"supervisor": "RestartSec=1"}  # Debian's unit waits 50 seconds
    templates = {WEB: "supervisor/web.conf.j2", PROCESSES: "supervisor/processes.conf.j2"}
    gives = frozenset({PATH})
    descriptor = ""
    copies = False
    own_logs = ("/var/log/supervisor/supervisord.log",)
    reopen_logs = 'if supervisord=$(supervisorctl pid); then kill -USR2 "$supervisord"; fi'

    def resources(self, application: Application) -> list[Resource]:
        """Links that make supervisord start the current release's programs when it starts."""
        config = f"{application.root}/current/config"
        return [Link(_link(application.name, name), f"{config}/{name}") for name in (WEB, PROCESSES)]

    def check(self, application: Application, release: str) -> None:
        """Let supervisor's own parser read the files of a release.

        What the live release has, and supervisor runs by, needs no second look; only the id differs.

        :raises Failed: it refuses them.
        """
        root, files = application.root, list(self.templates)
        live = releases.linked(root, "current")
        if live and releases.same_files(root, live, release, files):
            return
        config = f"{releases.directory(root, release)}/config"
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
                kinds.MANAGER_SETTINGS,
                f"supervisor refuses the configuration; nothing live was touched{process.quote(done.lines[-5:])}",
                "Look at your templates/supervisor/.",
            )

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start programs of a release; those of one that is not current are read from a link for the while."""
        if releases.linked(application.root, "current") != release:
            target = f"{releases.directory(application.root, release)}/config/{WEB}"
            releases.replace_link(_next(application.name), target)
        _reread()
        for name in names:
            _add(application, name)

    def forget_next(self, application: Application) -> None:
        """Forget that link; what is current is read from its own."""
        if releases.unlink(_next(application.name)):
            _reread()

    def ensure_running(self, application: Application) -> list[str]:
        """Start supervisord where it is down, and wait until it answers; what was done, in words."""
        try:
            _processes()
            return []
        except Failed:
            process.check(
                ["systemctl", "start", system.here().service("supervisor")],
                "supervisord could not be started",
                "Look at: journalctl -u supervisor",
                timeout=60,
            )
        end = time.monotonic() + RPC_SECONDS
        while True:
            try:
                _processes()
                return ["started supervisord, which was down"]
            except Failed:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop programs gracefully, all at the same time, and remove them.

        Supervisor kills by itself what does not stop within the ``stopwaitsecs`` of its program: the process group
        of its number, which it may have left.

        :param at_once: kill them, with all they started, instead of waiting for what they are doing.
        :raises Failed: one did not stop, and is still there.
        """
        names = {unit.name: unit for unit in units}
        with _server() as server:
            there = {program.name: program.pid for program in _processes() if program.name in names}
            for name in there:
                with contextlib.suppress(xmlrpc.client.Fault):
                    server.supervisor.stopProcessGroup(name, False)
            if at_once:
                orphans.kill([pid for pid in there.values() if pid], application.user)
            patience = max((names[name].stop_seconds for name in there), default=0) + KILL_SECONDS
            if running := _running_after(patience, list(there)):
                orphans.kill(running.values(), application.user)
                killing.end_children(running.values(), server.supervisor.getPID(), KILL_SECONDS)
            _wait_stopped(list(there), KILL_SECONDS)
            for name in there:
                with contextlib.suppress(xmlrpc.client.Fault):
                    server.supervisor.removeProcessGroup(name)

    def programs(self, application: Application) -> list[Program]:
        """The programs of one application, of whatever release."""
        ours = releases.programs_of(application.name)
        return [program for program in _processes() if ours.fullmatch(program.name)]

    def temporary(self, application: Application) -> list[str]:
        """Its links, before they get their names."""
        return [f"{system.here().supervisor.folder}/{application.name}"]

    def has_started(self, group: str) -> bool:
        """Whether it was started below supervisord."""
        return "/supervisor.service" in group or "/supervisord.service" in group

    def log(self, unit: Unit) -> Log:
        """The file that supervisord writes."""
        return Tail(unit.log)

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """Nothing: there are files."""
        return []

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""
        return shlex.join(["sudo", "supervisorctl", "start", *names])


DRIVER = Supervisor()


def _processes() -> list[Program]:
    """All programs supervisor knows."""
    with _server() as server:
        return [_program(info) for info in server.supervisor.getAllProcessInfo()]


def _program(info: Mapping[str, Any]) -> Program:
    state = str(info["statename"])
    return Program(
        name=str(info["name"]),
        state=state,
        pid=int(info["pid"]),
        since=float(info["start"]),
        detail=str(info["spawnerr"] or info["description"]),
        is_up=state in UP,
        is_broken=state in BROKEN,
    )


def _wait_stopped(names: Sequence[str], timeout: float) -> None:
    if running := _running_after(timeout, names):
        raise Failed(
            kinds.NOT_STOPPED,
            f"{', '.join(running)} did not stop within {timeout:.0f} seconds, though killed",
            "Look at it on the host: sudo supervisorctl status",
            needs_person=True,
        )


def _running_after(seconds: float, names: Sequence[str]) -> dict[str, int]:
    """The programs that have not stopped after some time, and their pids; it is over earlier once all have."""
    end = time.monotonic() + seconds
    while running := {p.name: p.pid for p in _processes() if p.name in names and p.state not in STOPPED}:
        if time.monotonic() > end:
            break
        time.sleep(0.02)
    return running


def _add(application: Application, name: str) -> None:
    with _server() as server:
        try:
            server.supervisor.addProcessGroup(name)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_ADDED" not in fault.faultString:
                raise _not_started(name, fault.faultString) from None
            _start_again(server, application, name)


def _start_again(server: Any, application: Application, name: str) -> None:
    """Start a program that supervisor knows; what is told to start while it still stops would stay stopped."""
    if any(program.name == name and program.state == "STOPPING" for program in _processes()):
        _wait_stopped([name], releases.stop_seconds(application.root, name) + KILL_SECONDS)
    for done in server.supervisor.startProcessGroup(name, False):
        if done["description"] != "OK":
            raise _not_started(name, done["description"])


def _not_started(name: str, why: str) -> Failed:
    return Failed(
        kinds.MANAGER_DOWN,
        f"supervisor does not start {name}: {why}",
        "Look at it on the host: sudo supervisorctl avail",
    )


def _reread() -> None:
    with _server() as server:
        try:
            server.supervisor.reloadConfig()
        except xmlrpc.client.Fault as fault:
            raise Failed(
                kinds.MANAGER_SETTINGS,
                f"supervisor cannot read its configuration: {fault.faultString}",
                "It may be another project's file. Look at: sudo supervisorctl reread",
            ) from None


def _link(app: str, name: str) -> str:
    return _file(app if name == WEB else f"{app}.processes")


def _next(app: str) -> str:
    return _file(f"{app}.next")


def _file(name: str) -> str:
    """A file among the programs of everybody."""
    programs = system.here().supervisor
    return f"{programs.folder}/{name}{programs.ending}"


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, credentials: str) -> None:
        basic = base64.b64encode(credentials.encode()).decode()
        super().__init__(headers=[("Authorization", f"Basic {basic}")] if credentials else [])
        self.path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return unix_http.Connection(f"unix:{self.path}", RPC_SECONDS)


@contextlib.contextmanager
def _server() -> Any:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read(system.here().supervisor.config)
    socket_path = parser.get("unix_http_server", "file", fallback="/var/run/supervisor.sock")
    transport = _UnixTransport(socket_path, _credentials(parser))
    try:
        with xmlrpc.client.ServerProxy("http://localhost", transport) as server:
            yield server
    except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
        said = getattr(error, "strerror", None) or getattr(error, "faultString", None) or error
        raise Failed(
            kinds.MANAGER_DOWN,
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
