"""circus: a circusd of each application, told over its socket which programs to run.

circusd reads its programs from a folder of its own below /run, which holds a link for each; ``reloadconfig`` has it
look again, and leaves alone what did not change. One circusd an application: what one of them is told to do waits
for what it is doing, and a file that it cannot read keeps it from reading any other.
https://circus.readthedocs.io/en/latest/for-ops/configuration/
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ..engine.remote import killing, kinds, orphans, process, releases, zmtp
from ..engine.remote.application import Application, Unit
from ..engine.remote.drivers import DESCRIPTOR, PATH, Manager, Program
from ..engine.remote.failure import Failed
from ..engine.remote.logs import Log, Tail
from ..engine.remote.resources import File, Resource, Tool
from ..engine.remote.resources import Unit as SystemdUnit

CIRCUS = Tool(
    "circus",
    "circusd",
    "circus>=0.19,<1",
    [],
    without="The host needs a package index (/etc/pip.conf), or another manager in the settings: manager: supervisor",
)
CONFIG = """\
; written by fabrelease: the circusd of {name}
[circus]
check_delay = 0.5
endpoint = ipc://{folder}/control
pubsub_endpoint = ipc://{folder}/events
; no discovery: it would answer the whole network
multicast_endpoint =
include_dir = {folder}/programs
"""
SERVICE = """\
# written by fabrelease: the circusd of {name}
[Unit]
Description={name}: circus
After=network.target
RequiresMountsFor="{root}"
StartLimitIntervalSec=0

[Service]
Type=exec
# Its sockets are in there, and whoever reaches them is root.
RuntimeDirectory=fabrelease-circus/{name}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
ExecStartPre=/bin/mkdir -p {folder}/programs
ExecStartPre=-/bin/sh "{root}/current/config/circus-boot" "{root}" "{name}" {folder}/programs
ExecStart={python} -I -m circus.circusd {config}
UMask=0027
Restart=always
RestartSec=200ms
# It ends its programs itself. Where it died, nothing that it has started goes on beside what it starts anew.
KillMode=mixed
TimeoutStopSec=600

[Install]
WantedBy=multi-user.target
"""
SECONDS = 30.0  # for circusd to answer
ENDING = ".watcher.ini"  # other programs have files that end with .ini, too
KILL_SECONDS = 10.0  # that a program has at most to be gone once circusd has killed it
PAUSE = 0.02


class Circus(Manager):
    """A circusd an application, over its control socket."""

    packages = ()
    services = ()
    dropins = {}
    templates = {f"{{role}}{ENDING}": "circus/program.ini.j2", "circus-boot": "circus/boot.sh"}
    gives = frozenset({PATH, DESCRIPTOR})
    descriptor = "$(circus.sockets.{name})"
    copies = True
    own_logs = ()
    reopen_logs = ""  # it looks at each write whether the name is still the file's

    def resources(self, application: Application) -> list[Resource]:
        """circus, in a virtualenv of its own, and the application's circusd."""
        known = {
            "name": application.name,
            "root": application.root.replace("%", "%%"),
            "folder": _folder(application),
            "python": CIRCUS.python,
            "config": _config(application),
        }
        return [
            CIRCUS,
            File(_config(application), CONFIG.format(**known), marked=True),
            SystemdUnit(_service(application), SERVICE.format(**known), running=True),
        ]

    def check(self, application: Application, release: str) -> None:
        """Let circus's own parser read the files of a release.

        :raises Failed: it refuses them.
        """
        root, config = application.root, f"{releases.directory(application.root, release)}/config"
        names = sorted(name for name in os.listdir(config) if name.endswith(ENDING))
        live = releases.linked(root, "current")
        if live and releases.same_files(root, live, release, names):
            return
        code = (
            "import sys; from circus.config import get_config\n"
            "found = [watcher['name'].lower() for watcher in get_config(sys.argv[1])['watchers']]\n"
            "sys.exit(sorted(set(found)) != sorted(found) or len(found) != int(sys.argv[2]))"
        )
        trial = f"{config}/.check.conf"
        try:
            releases.write_atomically(trial, f"[circus]\ninclude = {' '.join(names)}\n".encode())
            done = process.run([CIRCUS.python, "-I", "-c", code, trial, str(len(names))], timeout=60)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(trial)
        if done.status != 0:
            said = process.quote(done.lines[-5:]) or ": two programs have one name, but for its capitals"
            raise Failed(
                kinds.MANAGER_SETTINGS,
                f"circus refuses the configuration; nothing live was touched{said}", "Look at your templates/circus/."
            )

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start programs of a release."""
        for name in names:
            role = name[len(f"{application.name}-{release}-") :] or "web"
            with contextlib.suppress(FileExistsError):  # it is named by what it leads to
                config = f"{releases.directory(application.root, release)}/config"
                os.symlink(f"{config}/{role}{ENDING}", _link(application, name))
        _reread(application)
        states = _call(application, "status")["statuses"]
        if lost := [name for name in names if name not in states]:
            raise _refused(application, f"does not know {', '.join(lost)}")
        if down := [name for name in names if states[name] != "active"]:
            _wait_stopped(application, down, releases.stop_seconds(application.root, down[0]) + KILL_SECONDS)
            _call(application, "start", name=_any_of(down), match="regex", waiting=True)

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop programs gracefully, all at the same time, and forget them and their sockets.

        circusd kills by itself what does not stop within the ``graceful_timeout`` of its program.

        :param at_once: kill them, with all they started, instead of waiting for what they are doing.
        :raises Failed: one did not stop, and is still there.
        """
        states = _call(application, "status")["statuses"]
        names = [unit.name for unit in units if unit.name in states]
        if names:
            pids = [pid for name in names for pid in _processes(application, name)]
            _call(application, "stop", name=_any_of(names), match="regex")
            if at_once:
                orphans.kill(pids, application.user)
            patience = max(unit.stop_seconds for unit in units if unit.name in names) + KILL_SECONDS
            _wait_stopped(application, names, patience)
        for name in names:  # before its socket goes, which nothing may use any more then
            _call(application, "rm", name=name, waiting=True)
        links = [_link(application, unit.name) for unit in units]
        if list(filter(None, map(releases.unlink, links))) or names:
            _reread(application)

    def forget_next(self, application: Application) -> None:
        """Nothing: what starts at boot follows ``current``, and each program has a link of its own."""

    def programs(self, application: Application) -> list[Program]:
        """The programs of an application, of whatever release."""
        states = _call(application, "status")["statuses"]
        ours = releases.programs_of(application.name)
        circusd, sockets = _circusd(application), _call(application, "listsockets")["sockets"]
        listening = {str(socket["name"]) for socket in sockets}
        return [
            _program(name, state, _processes(application, name), circusd if name.lower() in listening else 0)
            for name, state in states.items()
            if ours.fullmatch(name)
        ]

    def ensure_running(self, application: Application) -> list[str]:
        """Start the application's circusd where it is down, and wait until it answers; what was done, in words."""
        try:
            _call(application, "status", seconds=0)
            return []
        except Failed:
            process.systemctl("start", _service(application))
        _call(application, "status")
        return [f"started the circusd of {application.name}, which was down"]

    def temporary(self, application: Application) -> list[str]:
        """What systemd runs circusd by, before it gets its name."""
        return [f"/etc/systemd/system/{_service(application)}", _config(application)]

    def has_started(self, group: str) -> bool:
        """Whether it was started below a circusd."""
        return "/fabrelease-circus@" in group

    def log(self, unit: Unit) -> Log:
        """The file that circusd writes."""
        return Tail(unit.log)

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """What circusd says about itself; the programs' logs are files."""
        more = ["--follow"] if follow else []
        unit = f"--unit={_service(application)}"
        return ["journalctl", "--quiet", "--no-pager", "--output=cat", unit, "-n", str(lines), *more]

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""
        app = names[0][: releases.ID.search(names[0]).start() - 1]  # type: ignore[union-attr]
        ctl = f"sudo {CIRCUS.place}/bin/circusctl --endpoint ipc:///run/fabrelease-circus/{app}/control"
        return "; ".join(f"{ctl} start {name}" for name in names)


DRIVER = Circus()


def _folder(application: Application) -> str:
    return f"/run/fabrelease-circus/{application.name}"


def _link(application: Application, name: str) -> str:
    return f"{_folder(application)}/programs/{name}.ini"


def _config(application: Application) -> str:
    return f"/etc/fabrelease/circus/{application.name}.ini"


def _service(application: Application) -> str:
    return f"fabrelease-circus@{application.name}.service"


def _any_of(names: Iterable[str]) -> str:
    return f"({'|'.join(map(re.escape, names))})$"


def _circusd(application: Application) -> int:
    """The pid of the application's circusd."""
    return int(_call(application, "dstats")["info"]["pid"])


def _program(name: str, state: str, pids: dict[int, float], listener: int) -> Program:
    """A program whose processes have all died waits for circusd to look again."""
    found = sorted(pids)
    is_broken = state == "stopped" or (state == "active" and not found)
    return Program(
        name=name,
        state=state if found or state != "active" else "died",
        pid=found[0] if found else 0,
        since=pids[found[0]] if found else 0.0,
        detail="it ended, and is started again" if state == "active" and not found else f"circus says: {state}",
        is_up=bool(found) and state in ("active", "starting"),
        is_broken=is_broken,
        listener=listener,
        copies=len(found),
    )


def _processes(application: Application, name: str) -> dict[int, float]:
    """The processes of a program that have not ended, and when they were started.

    Not circusd's own figures: it reads the memory of a process for them, which can make it wait without an end.
    """
    found: list[int] = []
    with contextlib.suppress(Failed):  # it is removed at this moment, for circusd has just named it
        found = _call(application, "list", name=name)["pids"]
    return {pid: since for pid in found if (since := killing.started(pid))}


def _wait_stopped(application: Application, names: Sequence[str], timeout: float) -> None:
    end = time.monotonic() + timeout
    while True:
        states = _call(application, "status")["statuses"]
        running = [name for name in names if states.get(name, "stopped") != "stopped"]
        if not running:
            return
        if time.monotonic() > end:
            raise Failed(
                kinds.NOT_STOPPED,
                f"{', '.join(running)} did not stop within {timeout:.0f} seconds, though killed",
                f"Look at it on the host: sudo systemctl status {_service(application)}",
                needs_person=True,
            )
        time.sleep(PAUSE)


def _reread(application: Application) -> None:
    _call(application, "reloadconfig", waiting=True)


def _call(application: Application, command: str, seconds: float = SECONDS, **properties: Any) -> dict[str, Any]:
    """What circusd answers. It may be about to start, or at something that nothing else is done beside.

    :raises Failed: it does not answer, or refuses.
    """
    question = {"command": command, "id": "1", "properties": properties}
    end = time.monotonic() + seconds
    while True:
        try:
            answer: dict[str, Any] = json.loads(
                zmtp.ask(f"{_folder(application)}/control", json.dumps(question).encode(), SECONDS)
            )
        except (OSError, ValueError) as error:
            why, may_change = f"does not answer: {error}", isinstance(error, (FileNotFoundError, ConnectionError))
        else:
            if answer.get("status") != "error":
                return answer
            reason = str(answer.get("reason"))
            why, may_change = f"refuses {command}: {reason}", "is already running" in reason
        if not may_change or time.monotonic() > end:
            raise _refused(application, why)
        time.sleep(PAUSE)


def _refused(application: Application, why: str) -> Failed:
    service = _service(application)
    return Failed(
        kinds.MANAGER_DOWN,
        f"the circusd of {application.name} {why}",
        f"Look at it on the host: journalctl -u {service}",
    )
