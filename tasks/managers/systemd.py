"""systemd: each program of a release is a unit of its own, named by the release; with a socket before it, or without.

The units' files are part of the release; systemd knows them by links in /run, so nothing has to be read anew when one
comes or goes. What is live when the machine starts is started by one small unit that follows ``current``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.remote import kinds, process, releases, unitfiles
from ..engine.remote.application import Application, Unit
from ..engine.remote.drivers import DESCRIPTOR, PATH, Manager, Program
from ..engine.remote.failure import Failed
from ..engine.remote.logs import Log
from ..engine.remote.probe import INIT
from ..engine.remote.resources import Resource
from ..engine.remote.resources import Unit as BootUnit
from ..engine.remote.unitfiles import SECONDS, SERVICE, SOCKET, Shown
from ..engine.remote.unix import pwd

FOLDER, INSTALLED = "/run/systemd/system", "/etc/systemd/system"
KILL_SECONDS = 10.0  # that a unit has at most to be gone once systemd has killed it
LATE = 5.0  # that systemd may take beyond a unit's own time to stop, before it is killed from here
JOURNAL_SECONDS, JOURNAL_PAUSE = 3.0, 0.2
RUN = "_SYSTEMD_INVOCATION_ID"
SHOWN = (
    *("Id", "ActiveState", "SubState", "Result", "Job", "MainPID"),
    *("ExecMainStartTimestampMonotonic", "ExecMainStatus", "NRestarts"),
)
UP, DOWN = ("active", "activating", "reloading"), ("inactive", "failed")
REFUSED = {
    "Environment": "set env",
    "EnvironmentFile": "set secrets; what root reads must not be a file of the application's",
    "ExecStart": "the server's command line is made by its driver",
    "Group": "it is the group of the application's user",
    "KillMode": "how a stop reaches a program depends on the program",
    "NotifyAccess": "it depends on the server",
    "Restart": "what dies is started again",
    "StandardError": "logs are read from the journal",
    "StandardOutput": "logs are read from the journal",
    "TimeoutStopSec": "it is the server's own grace and some more: set web.settings",
    "Type": "it depends on the server",
    "User": "set user",
    "WorkingDirectory": "it is the release's public/",
}
BOOT = """\
# written by fabrelease: starts what is live of {name} when the machine starts
[Unit]
Description={name}: the release that is live
After=network.target
RequiresMountsFor="{root}"
ConditionPathExists={root}/current/config/boot

[Service]
Type=oneshot
ExecStart=/bin/sh "{root}/current/config/boot" "{root}" "{name}"

[Install]
WantedBy=multi-user.target
"""


class Systemd(Manager):
    """The system's own systemd, by systemctl."""

    packages = ()
    services = ()
    dropins = {}
    templates = {
        "{role}.service": "systemd/unit.service.j2",
        "{activated}.socket": "systemd/unit.socket.j2",
        "boot": "systemd/boot.sh",
    }
    gives = frozenset({PATH, DESCRIPTOR})
    descriptor = "3"
    own_logs = ()
    reopen_logs = ""

    def refuses(self, setting: str) -> str:
        """Why a line of a unit is not the user's to write."""
        return REFUSED.get(setting, "")

    def resources(self, application: Application) -> list[Resource]:
        """A unit that starts what is live when the machine starts."""
        text = BOOT.format(name=application.name, root=application.root.replace("%", "%%"))
        return [BootUnit(_boot(application.name), text)]

    def check(self, application: Application, release: str) -> None:
        """Let systemd read the units of a release; it says what it does not understand, and goes on."""
        root, config = application.root, _config(application, release)
        names = _files(_units(application, release))
        _drop(root, release, set(_only(os.listdir(config), SERVICE, SOCKET)) - set(names.values()))
        live = releases.linked(root, "current")
        if live and releases.same_files(root, live, release, sorted(names.values())):
            return
        files = {name: f"{config}/{file}" for name, file in names.items()}
        unitfiles.verify(application, files, [release], "Look at manager.settings and your templates/systemd/.")

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start units of a release; one with a socket is started by its first request."""
        units = [unit for unit in _units(application, release) if unit.name in names]
        for name, file in _files(units).items():
            releases.replace_link(f"{FOLDER}/{name}", f"{_config(application, release)}/{file}")
        process.systemctl("start", "--no-block", *(unit.name + _kinds(unit)[0] for unit in units))

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop units gracefully, all at the same time, and forget them.

        A socket goes with its service in one call: alone it would start it again.

        :param at_once: kill all that is in their control groups.
        :raises Failed: one did not stop, and is still there.
        """
        wanted = {unit.name: unit for unit in units}
        there = [name for name in _loaded(application) if _program_of(name) in wanted]
        if there:
            process.systemctl("stop", "--no-block", *there)
        allowed = max((wanted[_program_of(name)].stop_seconds for name in there), default=0) + LATE
        if _running_after(0 if at_once else allowed, application, there):  # systemd lets a program put off its end
            process.run(["systemctl", "kill", "--signal=KILL", *_only(there, SERVICE)], timeout=SECONDS)
        if running := _running_after(KILL_SECONDS, application, there):
            raise Failed(
                kinds.NOT_STOPPED,
                f"{', '.join(running)} did not stop, though killed",
                f"Look at it on the host: systemctl status {running[0]}",
                needs_person=True,
            )
        for name in wanted:
            for kind in (SOCKET, SERVICE):
                releases.unlink(f"{FOLDER}/{name}{kind}")
        if there:
            process.run(["systemctl", "reset-failed", *there], timeout=SECONDS)

    def forget_next(self, application: Application) -> None:
        """Drop links to units that do not run, and half-made ones, which a cutover left that was cut off."""
        loaded, ours = _loaded(application), releases.programs_of(application.name)
        for name in os.listdir(FOLDER):
            is_idle = ours.fullmatch(_program_of(name)) and name not in loaded
            if is_idle or (ours.match(name) and name.endswith(releases.TEMPORARY)):
                releases.unlink(f"{FOLDER}/{name}")

    def programs(self, application: Application) -> list[Program]:
        """The units of an application, of whatever release, that systemd has loaded."""
        loaded = _loaded(application)
        names = sorted({_program_of(name) for name in loaded})
        return [_program(name, loaded.get(name + SERVICE, {}), loaded.get(name + SOCKET)) for name in names]

    def ensure_running(self, application: Application) -> list[str]:
        """Nothing: without it, nobody could ask."""
        return []

    def temporary(self, application: Application) -> list[str]:
        """Its unit for the boot before it gets its name."""
        return [f"{INSTALLED}/{_boot(application.name)}"]

    def has_started(self, group: str) -> bool:
        """Whether it is in a unit that is named by a release."""
        return releases.ID.search(group) is not None

    def log(self, unit: Unit) -> Log:
        """What is in the journal of a unit from now on."""
        return Journal(unit.name, time.time())

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """The journal of all that the application's user has written, whatever release is live meanwhile.

        The number of the user is what journald has found out by itself; a name would be what anybody may say.
        """
        user = f"_UID={pwd.getpwnam(application.user).pw_uid}"
        return _journalctl(user, "--all", "--output=short-iso", "-n", str(lines), *(["--follow"] if follow else []))

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""
        return f"sudo systemctl start {' '.join(names)}"


DRIVER = Systemd()


@dataclass(frozen=True)
class Journal(Log):
    """What a program has written to the journal since some time, and has not been started again after."""

    name: str
    since: float

    def lines(self) -> list[str]:
        """The lines of the first run since then: what is started again and again says the same once more.

        journald reads what a dead process has left in its pipe a moment later: they are complete once no more come.
        """
        end, before, lines = time.monotonic() + JOURNAL_SECONDS, [""], self._lines()
        while lines != before and time.monotonic() < end:
            time.sleep(JOURNAL_PAUSE)
            before, lines = lines, self._lines()
        return lines

    def _lines(self) -> list[str]:
        process.run(["journalctl", "--sync"], timeout=SECONDS)
        show = [f"_SYSTEMD_UNIT={self.name}{SERVICE}", f"--since=@{self.since:.3f}", "-n", "1000"]
        show += ["--output=json", f"--output-fields=MESSAGE,{RUN}"]
        entries = map(_entry, process.run(_journalctl(*show), timeout=SECONDS, keep=None).lines)
        written = [entry for entry in entries if RUN in entry]
        return [_message(entry) for entry in written if entry[RUN] == written[0][RUN]]


def _entry(line: str) -> dict[str, Any]:
    """An entry of the journal; nothing where it was too long and has been cut."""
    with contextlib.suppress(ValueError):
        return dict(json.loads(line))
    return {}


def _message(entry: dict[str, Any]) -> str:
    """The text of an entry; journald gives bytes where it is no UTF-8, and nothing where it is too long.

    A program that speaks to journald itself may give several, which it lists.
    """
    text = entry.get("MESSAGE") or ""
    if isinstance(text, str):
        return text
    if all(isinstance(byte, int) for byte in text):
        return bytes(text).decode(errors="replace")
    return " ".join(_message({"MESSAGE": one}) for one in text)


def _journalctl(*more: str) -> list[str]:
    return ["journalctl", "--quiet", "--no-pager", *more]


def _boot(app: str) -> str:
    """The unit that starts what is live."""
    return f"fabrelease-{app}{SERVICE}"


def _config(application: Application, release: str) -> str:
    return f"{releases.directory(application.root, release)}/config"


def _units(application: Application, release: str) -> list[Unit]:
    return [Unit(**unit) for unit in releases.read(application.root, release)["units"]]


def _drop(root: str, release: str, stale: set[str]) -> None:
    """Remove files of a release's that are from before the settings changed."""
    written = dict(releases.read(root, release).get("fingerprints", {}))
    for file in stale:
        os.unlink(f"{releases.directory(root, release)}/config/{file}")
        written.pop(f"config/{file}", None)
    if stale:
        releases.update(root, release, fingerprints=written)


def _files(units: Sequence[Unit]) -> dict[str, str]:
    """The names of programs' units, each with its file's in a release's ``config``."""
    return {f"{unit.name}{kind}": f"{unit.role}{kind}" for unit in units for kind in _kinds(unit)}


def _kinds(unit: Unit) -> tuple[str, ...]:
    """What a program consists of, the one that is started first."""
    return (SOCKET, SERVICE) if unit.activated else (SERVICE,)


def _only(names: Sequence[str], *kinds: str) -> list[str]:
    return [name for name in names if name.endswith(kinds)]


def _program_of(unit: str) -> str:
    return unit.rpartition(".")[0]


def _loaded(application: Application) -> dict[str, Shown]:
    """What systemd shows of an application's units that it has in memory, by their names."""
    patterns = [f"{application.name}-*{kind}" for kind in (SERVICE, SOCKET)]
    ours = releases.programs_of(application.name)
    found = unitfiles.show(patterns, SHOWN)
    return {shown["Id"]: shown for shown in found if ours.fullmatch(_program_of(shown["Id"]))}


def _running_after(seconds: float, application: Application, names: Sequence[str]) -> list[str]:
    """Which units still run after some time; it is over earlier once none does."""
    end = time.monotonic() + seconds
    while True:
        running = [name for name, shown in _loaded(application).items() if name in names and not _is_down(shown)]
        if not running or time.monotonic() > end:
            return running
        time.sleep(0.02)


def _is_down(shown: Shown) -> bool:
    """Whether it has stopped, and is not told to do anything."""
    return shown["ActiveState"] in DOWN and not shown.get("Job")


def _program(name: str, service: Shown, socket: Shown | None) -> Program:
    """A program as its service, and where it has one its socket, show it.

    A job is what systemd was told to do and has not come to yet: what is told to start is inactive until then.
    """
    active, sub = service.get("ActiveState", "inactive"), service.get("SubState", "dead")
    result = service.get("Result", "success")
    is_dead = active == "failed" or sub.startswith("auto-restart") or (active == "inactive" and result != "success")
    is_broken = (is_dead and not service.get("Job")) or (socket is not None and socket["ActiveState"] == "failed")
    waits = socket is not None and not _is_down(socket)
    return Program(
        name=name,
        state="listening" if waits and active == "inactive" else sub,
        pid=int(service.get("MainPID", "0")),
        since=time.time() - time.monotonic() + int(service.get("ExecMainStartTimestampMonotonic", "0")) / 1e6,
        detail=f"{active} ({sub}), result: {result}, exit status: {service.get('ExecMainStatus', '0')}, "
        f"restarts: {service.get('NRestarts', '0')}",
        is_up=not is_broken and (active in UP or bool(service.get("Job")) or waits),
        is_broken=is_broken,
        listener=INIT if socket else 0,
    )
