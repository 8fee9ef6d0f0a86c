"""runit: a runsvdir of each application, and the runsv of each of its programs, told by the pipe that each has.

runsvdir takes up to five seconds to see a new service, so there are some that wait: a slot is a service without a
program, and a program that is to start is put into one. http://smarden.org/runit/runsv.8.html
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..engine.remote import killing, kinds, orphans, process, releases
from ..engine.remote.application import Application, Unit
from ..engine.remote.drivers import PATH, Manager, Program
from ..engine.remote.failure import Failed
from ..engine.remote.logs import Log, Tail
from ..engine.remote.resources import Common, Resource, SharedFile
from ..engine.remote.resources import Unit as SystemdUnit
from ..engine.remote.unix import pwd

SERVICE = """\
# written by fabrelease: the runsvdir of {name}
[Unit]
Description={name}: runit
After=network.target
RequiresMountsFor="{root}"
StartLimitIntervalSec=0

[Service]
Type=exec
# The pipes that its programs are told by are in there, and whoever writes into them is root.
RuntimeDirectory=fabrelease-runit/{name}
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
ExecStartPre=/bin/mkdir -p {folder}
ExecStartPre=-/bin/sh "{root}/current/config/runit-boot" "{root}" "{name}" {folder}
ExecStart=/usr/bin/runsvdir -P {folder}
UMask=0027
Restart=always
RestartSec=200ms
ExecStop=-/bin/sh -c 'exec sv -w 600 force-stop "$$0"/*' {folder}
# Where it died, nothing that it has started goes on beside what it starts anew.
KillMode=mixed
KillSignal=SIGHUP
TimeoutStopSec=610
SuccessExitStatus=111

[Install]
WantedBy=multi-user.target
"""
# A slot has links to these: where it is, in /run, nothing may be executed on some machines.
SCRIPTS = "/etc/fabrelease/runit"
SCRIPT = {
    "run": """\
#!/bin/sh
# written by fabrelease: runs the program that is in this slot
exec /bin/sh ./unit
""",
    "finish": """\
#!/bin/sh
# written by fabrelease: writes down how the program in this slot has ended
printf 'exit status %s, signal %s' "$1" "$2" >ended
""",
    "log/run": """\
#!/bin/sh
# written by fabrelease: writes down what the program in this slot says
if [ -e ../unit ]; then
    exec /bin/sh ../unit log
fi
exec cat >/dev/null
""",
}
SPARE = 4  # slots beside those in use: the server and some processes of a new release
SECONDS = 30.0  # for runsvdir to see a new slot
KILL_SECONDS = 10.0  # that a program has at most to be gone once it was killed
PAUSE = 0.02
TAI = (1 << 62) + 10  # what runit's clock says in 1970
STATES = ("down", "run", "finish")


@dataclass(frozen=True)
class Slot:
    """A service of the application's runsvdir.

    :ivar unit: the name of the program in it; empty where there is none.
    """

    path: str
    unit: str

    @property
    def is_watched(self) -> bool:
        """Whether its runsv runs, and can be told something."""
        with contextlib.suppress(OSError):
            os.close(self._control(""))
            os.close(self._control("log/"))
            return True
        return False

    def tell(self, command: str, log: bool = False) -> None:
        """Tell its runsv: ``u`` up, ``d`` down, ``t`` to send TERM, ``k`` to kill it.

        :param log: about what writes its log.
        """
        with contextlib.suppress(OSError):  # no runsv: the program does not run either
            handle = self._control("log/" if log else "")
            try:
                os.write(handle, command.encode())
            finally:
                os.close(handle)

    def _control(self, below: str) -> int:
        return os.open(f"{self.path}/{below}supervise/control", os.O_WRONLY | os.O_NONBLOCK)

    @property
    def is_wanted(self) -> bool:
        """Whether its program is to be up."""
        return self._status()[17:18] == b"u"

    def _status(self) -> bytes:
        """What runsv says, in 20 bytes: since when, the pid, whether it is wanted up, and its state."""
        with contextlib.suppress(OSError), open(f"{self.path}/supervise/status", "rb") as file:
            return file.read(20).ljust(20, b"\0")
        return bytes(20)

    def program(self) -> Program:
        """How its program is."""
        status, is_wanted = self._status(), self.is_wanted
        pid, state = int.from_bytes(status[12:16], "little"), STATES[status[19]]
        is_running = state == "run" and pid > 0
        ended = f"it ended ({_read(f'{self.path}/ended')}), and is started again"
        return Program(
            name=self.unit,
            state=state,
            pid=pid if is_running else 0,
            since=float(int.from_bytes(status[:8], "big") - TAI) if is_running else 0.0,
            detail=ended if is_wanted and not is_running else f"runit says: {state}",
            is_up=is_running and is_wanted,
            is_broken=not is_running,
        )


class Runit(Manager):
    """A runsvdir an application."""

    packages = ("runit",)
    services = ()
    dropins = {}
    templates = {"{role}.run": "runit/unit.sh.j2", "runit-boot": "runit/boot.sh"}
    gives = frozenset({PATH})
    descriptor = ""
    copies = False
    own_logs = ()
    reopen_logs = "for log in /run/fabrelease-runit/*/*/log; do [ ! -d $log ] || sv restart $log >/dev/null; done"

    def resources(self, application: Application) -> list[Resource]:
        """What starts programs, the application's runsvdir, and slots for what is to come."""
        text = SERVICE.format(
            name=application.name, root=application.root.replace("%", "%%"), folder=_folder(application)
        )
        return [
            *(SharedFile(f"{SCRIPTS}/{name}", script, 0o755) for name, script in SCRIPT.items()),
            SystemdUnit(_service(application), text, running=True),
            Slots(application),
        ]

    def check(self, application: Application, release: str) -> None:
        """Let the shell read the files of a release.

        :raises Failed: it refuses one.
        """
        config = f"{releases.directory(application.root, release)}/config"
        for name in sorted(name for name in os.listdir(config) if name.endswith(".run")):
            process.check(
                ["/bin/sh", "-n", f"{config}/{name}"],
                "the shell refuses the configuration; nothing live was touched",
                "Look at your templates/runit/.",
            )

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start programs of a release, each in a slot."""
        there = {slot.unit: slot for slot in _slots(application)}
        new = [name for name in names if name not in there]
        free = _free(application, len(new))
        for name, slot in zip(new, free):  # noqa: B905  # there may be more that are free
            role = name[len(f"{application.name}-{release}-") :] or "web"
            config = f"{releases.directory(application.root, release)}/config"
            os.symlink(f"{config}/{role}.run", f"{slot.path}/unit")
            releases.write_atomically(f"{slot.path}/name", name.encode(), durable=False)
            slot.tell("t", log=True)
        slots = [*free[: len(new)], *(there[name] for name in names if name in there)]
        for slot in slots:
            releases.unlink(f"{slot.path}/down")
            slot.tell("u")
        end = time.monotonic() + SECONDS
        while not all(slot.is_wanted for slot in slots):
            if time.monotonic() > end:
                raise _not_running(application)
            time.sleep(PAUSE)

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop programs gracefully, all at the same time, and empty their slots.

        :param at_once: kill them, with all they started, instead of waiting for what they are doing.
        :raises Failed: one did not stop, and is still there.
        """
        known = {unit.name: unit for unit in units}
        slots = [slot for slot in _slots(application) if slot.unit in known]
        for slot in slots:
            releases.write_atomically(f"{slot.path}/down", b"", durable=False)
            if known[slot.unit].stop_group:
                _terminate(slot.program().pid, application.user)
            slot.tell("d")
        patience = max((0.0 if at_once else known[slot.unit].stop_seconds for slot in slots), default=0.0)
        for pids in (_wait_stopped(slots, patience), _wait_stopped(slots, 0)):
            orphans.kill(pids, application.user)
        for slot in slots:
            slot.tell("k")  # what has become a program that is set-user-ID is not the user's any more
        if _wait_stopped(slots, KILL_SECONDS):
            raise Failed(
                kinds.NOT_STOPPED,
                f"{', '.join(slot.unit for slot in slots)} did not stop, though killed",
                f"Look at it on the host: sudo systemctl status {_service(application)}",
                needs_person=True,
            )
        for slot in slots:
            releases.unlink(f"{slot.path}/unit")
            releases.unlink(f"{slot.path}/name")

    def forget_next(self, application: Application) -> None:
        """Nothing: what starts at boot follows ``current``, and each program has a slot of its own."""

    def programs(self, application: Application) -> list[Program]:
        """The programs of an application, of whatever release."""
        ours = releases.programs_of(application.name)
        return [slot.program() for slot in _slots(application) if ours.fullmatch(slot.unit)]

    def ensure_running(self, application: Application) -> list[str]:
        """Start the application's runsvdir where it is down, and see to its slots; what was done, in words."""
        done = []
        if process.run(["systemctl", "--quiet", "is-active", _service(application)]).status != 0:
            process.systemctl("start", _service(application))
            done.append(f"started the runsvdir of {application.name}, which was down")
        _make_slots(application, SPARE)
        return done

    def temporary(self, application: Application) -> list[str]:
        """What systemd runs runsvdir by, before it gets its name."""
        return [f"/etc/systemd/system/{_service(application)}"]

    def has_started(self, group: str) -> bool:
        """Whether it was started below a runsvdir."""
        return "/fabrelease-runit@" in group

    def log(self, unit: Unit) -> Log:
        """The file that the slot's log writes."""
        return Tail(unit.log)

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """Nothing: there are files."""
        return []

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""
        find = "sudo grep -lrx --include=name {} /run/fabrelease-runit | xargs dirname | xargs sudo sv up"
        return "; ".join(find.format(name) for name in names)


DRIVER = Runit()


def _folder(application: Application) -> str:
    return f"/run/fabrelease-runit/{application.name}"


def _service(application: Application) -> str:
    return f"fabrelease-runit@{application.name}.service"


@dataclass(frozen=True)
class Slots(Common):
    """Slots that wait for programs, in /run: they go with the machine, or with their runsvdir."""

    application: Application
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Whether enough are free."""
        free = sum(not slot.unit for slot in _slots(self.application))
        return "" if free >= SPARE else f"only {free} slots of {self.application.name} are free"

    def apply(self) -> list[str]:
        """Make some; they are no change that anybody has to know of."""
        _make_slots(self.application, SPARE)
        return []


def _slots(application: Application) -> list[Slot]:
    """All slots there are."""
    with contextlib.suppress(FileNotFoundError):
        places = [entry.path for entry in os.scandir(_folder(application)) if not entry.name.startswith(".")]
        return [Slot(place, _read(f"{place}/name")) for place in sorted(places)]
    return []


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read().strip()
    return ""


def _free(application: Application, wanted: int) -> list[Slot]:
    """Slots that are free, at least so many.

    :raises Failed: there are too few, and runsvdir sees no new ones.
    """
    end = time.monotonic() + SECONDS
    while True:
        _make_slots(application, wanted)
        found = [slot for slot in _slots(application) if not slot.unit and slot.is_watched]
        if len(found) >= wanted:
            return found
        if time.monotonic() > end:
            raise _not_running(application)
        time.sleep(PAUSE)


def _not_running(application: Application) -> Failed:
    return Failed(
        kinds.MANAGER_DOWN,
        f"the runsvdir of {application.name} does not run its services",
        f"Look at it on the host: systemctl status {_service(application)}",
    )


def _make_slots(application: Application, wanted: int) -> None:
    """Make slots, so that so many are free; each is made whole before runsvdir can see it."""
    slots = _slots(application)
    for _ in range(wanted - sum(not slot.unit for slot in slots)):
        made = f"{_folder(application)}/.{time.monotonic_ns()}"  # runsvdir leaves out what begins with a dot
        os.makedirs(f"{made}/log")
        for name in SCRIPT:
            os.symlink(f"{SCRIPTS}/{name}", f"{made}/{name}")
        releases.write_atomically(f"{made}/down", b"", durable=False)
        os.rename(made, f"{_folder(application)}/slot-{time.monotonic_ns()}")


def _terminate(pid: int, user: str) -> None:
    """Send TERM to all that a program has started; it gets its own from runsv."""
    if pid:
        uid = pwd.getpwnam(user).pw_uid
        others = killing.with_descendants([pid]) - {pid}
        killing.end(others, lambda other: killing.belongs_to(other, uid), signal.SIGTERM, 0)


def _wait_stopped(slots: Sequence[Slot], timeout: float) -> list[int]:
    """The pids of what has not stopped when the time is up."""
    end = time.monotonic() + timeout
    while True:
        left = [slot.program().pid for slot in slots if slot.program().pid]
        if not left or time.monotonic() > end:
            return left
        time.sleep(PAUSE)
