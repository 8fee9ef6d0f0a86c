"""systemd: each program of a release is a unit of its own, named by the release.

The unit's file is part of the release; systemd knows it by a link in /run, so nothing has to be read anew when one
comes or goes. What is live when the machine starts is started by one small unit that follows ``current``.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.remote import files, process, releases
from ..engine.remote.application import Application, Unit
from ..engine.remote.drivers import PATH, Manager, Program
from ..engine.remote.failure import Failed
from ..engine.remote.logs import LINES, Log

FOLDER = "/run/systemd/system"
KILL_SECONDS = 10.0  # that a unit has at most to be gone once systemd has killed it
SECONDS = 30.0  # for systemd to answer
SHOWN = ("Id", "ActiveState", "SubState", "Result", "MainPID", "ExecMainStartTimestampMonotonic", "NRestarts")
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
    templates = {"{role}.service": "systemd/unit.service.j2", "boot": "systemd/boot.sh"}
    gives = frozenset({PATH})
    descriptor = ""
    copies = False
    own_logs = ()
    reopen_logs = ""

    def install(self, application: Application) -> list[str]:
        """Make a unit that starts what is live when the machine starts."""
        name = f"fabrelease-{application.name}.service"
        path = f"/etc/systemd/system/{name}"
        text = BOOT.format(name=application.name, root=application.root.replace("%", "%%"))
        changed = files.install([files.entry(path, text)])
        if changed or process.run(["systemctl", "--quiet", "is-enabled", name], timeout=SECONDS).status != 0:
            _systemctl("daemon-reload")
            _systemctl("enable", name)
        return [f"unit {path}" for path in changed]

    def check(self, application: Application, release: str) -> None:
        """Let systemd read the units of a release; it says what it does not understand, and goes on."""
        root = application.root
        live, names = releases.linked(root, "current"), self._files(root, release)
        if live and releases.same_files(root, live, release, names):
            return
        paths = [f"{releases.directory(root, release)}/config/{name}" for name in names]
        done = process.run(["systemd-analyze", "verify", "--man=no", *paths], timeout=SECONDS, keep=None)
        if lines := [line for line in done.lines if any(name in line for name in names)]:
            raise Failed(
                f"systemd does not understand all of the units; nothing live was touched{process.quote(lines)}",
                "Look at your templates/systemd/.",
            )

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start units of a release."""
        for name in names:
            role = name[len(f"{application.name}-{release}-") :] or "web"
            target = f"{releases.directory(application.root, release)}/config/{role}.service"
            releases.replace_link(f"{FOLDER}/{name}.service", target)
        _systemctl("start", "--no-block", *_units(names))

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop units gracefully, all at the same time, and forget them.

        :param at_once: kill all that is in their control groups.
        :raises Failed: one did not stop, and is still there.
        """
        there = {program.name for program in self.programs(application)}
        names = [unit.name for unit in units if unit.name in there]
        if names and at_once:
            process.run(["systemctl", "kill", "--signal=KILL", *_units(names)], timeout=SECONDS)
        if names:
            _systemctl("stop", "--no-block", *_units(names))
        patience = max((unit.stop_seconds for unit in units if unit.name in there), default=0) + KILL_SECONDS
        self._wait_stopped(application, names, patience)
        for unit in units:
            releases.unlink(f"{FOLDER}/{unit.name}.service")
        if names:
            process.run(["systemctl", "reset-failed", *_units(names)], timeout=SECONDS)

    def _wait_stopped(self, application: Application, names: Sequence[str], timeout: float) -> None:
        end = time.monotonic() + timeout
        while running := [p.name for p in self.programs(application) if p.name in names and p.pid]:
            if time.monotonic() > end:
                raise Failed(
                    f"{', '.join(running)} did not stop within {timeout:.0f} seconds, though killed",
                    f"Look at it on the host: systemctl status {running[0]}",
                    needs_person=True,
                )
            time.sleep(0.02)

    def forget_next(self, application: Application) -> None:
        """Nothing: what starts at boot follows ``current``, and each unit has a link of its own."""

    def programs(self, application: Application) -> list[Program]:
        """The units of an application, of whatever release, that systemd has loaded."""
        show = ["systemctl", "show", f"--property={','.join(SHOWN)}", f"{application.name}-*.service"]
        done = process.run(show, timeout=SECONDS, keep=None)
        if done.status != 0:
            raise Failed(f"systemd does not answer: {done.text}", "Look at it on the host: systemctl status")
        ours = releases.programs_of(application.name)
        found = [_program(block) for block in done.text.split("\n\n") if block.strip()]
        return [program for program in found if ours.fullmatch(program.name)]

    def ensure_running(self, application: Application) -> list[str]:
        """Nothing: without it, nobody could ask."""
        return []

    def temporary(self, application: Application) -> list[str]:
        """Its links, before they get their names."""
        return [f"{FOLDER}/{application.name}", f"/etc/systemd/system/fabrelease-{application.name}.service"]

    def has_started(self, group: str) -> bool:
        """Whether it is in a unit that is named by a release."""
        return releases.ID.search(group) is not None

    def log(self, unit: Unit) -> Log:
        """What is in the journal of a unit from now on."""
        return Journal(unit.name, time.time())

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """The journal of all units of the application."""
        return _journalctl(f"{application.name}-*.service", "-n", str(lines), *(["--follow"] if follow else []))

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""
        return f"sudo systemctl start {' '.join(names)}"

    def _files(self, root: str, release: str) -> list[str]:
        folder = f"{releases.directory(root, release)}/config"
        return sorted(name for name in os.listdir(folder) if name.endswith(".service"))


DRIVER = Systemd()


@dataclass(frozen=True)
class Journal(Log):
    """What the journal holds of a unit since some time."""

    name: str
    since: float

    def lines(self, most: int = LINES) -> list[str]:
        """The last lines."""
        since = f"--since=@{self.since:.3f}"
        return process.run(_journalctl(f"{self.name}.service", since, "-n", str(most)), timeout=SECONDS).lines


def _journalctl(unit: str, *more: str) -> list[str]:
    return ["journalctl", "--quiet", "--no-pager", "--output=cat", f"--unit={unit}", *more]


def _units(names: Sequence[str]) -> list[str]:
    return [f"{name}.service" for name in names]


def _systemctl(*argv: str) -> None:
    process.check(
        ["systemctl", *argv],
        f"systemctl {argv[0]} did not do it",
        f"Look at it on the host: systemctl status {argv[-1]}",
        timeout=SECONDS,
    )


def _program(shown: str) -> Program:
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    active, sub = found.get("ActiveState", ""), found.get("SubState", "")
    started = 0.0
    with contextlib.suppress(ValueError):
        started = int(found.get("ExecMainStartTimestampMonotonic", "0")) / 1e6
    is_broken = active == "failed" or sub == "auto-restart" or (active == "inactive" and found["Result"] != "success")
    return Program(
        name=found["Id"][: -len(".service")],
        state=sub or active,
        pid=int(found.get("MainPID", "0")),
        since=time.time() - time.monotonic() + started,
        detail=f"{active} ({sub}), result: {found.get('Result')}, restarts: {found.get('NRestarts')}",
        is_up=active in ("active", "activating", "reloading") and not is_broken,
        is_broken=is_broken,
    )
