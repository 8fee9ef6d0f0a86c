"""A host in memory: its files are real, its programs, proxy, sockets, session and clock are not.

What is real on a server is shown by tests/integration and tests/faults. Here the protocol itself is run through every
point at which something can die, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from fabrelease.tasks.engine.remote import cutover, kinds, recovery, releases
from fabrelease.tasks.engine.remote.application import Application, Unit
from fabrelease.tasks.engine.remote.cutover import Cutover
from fabrelease.tasks.engine.remote.drivers import Manager, Program
from fabrelease.tasks.engine.remote.failure import Failed
from fabrelease.tasks.engine.remote.logs import Log, Tail
from fabrelease.tasks.engine.remote.machine import Machine
from fabrelease.tasks.engine.remote.probe import Answer, Endpoint
from fabrelease.tasks.engine.remote.sockets import Connections

SITE = Endpoint("127.0.0.1:80", "example.net", "/", 200, 5)
WRITERS = ("replace_link", "unlink", "write_atomically", "discard", "remember")  # how releases.py changes the disk


class Died(BaseException):
    """The machine lost its power, or the session's process was killed: nothing after it is done."""


class Clock:
    """Time passes only where somebody waits for it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


class Session:
    """What is to be done when the deployer dies, and once it has its answer."""

    def __init__(self) -> None:
        self.duty: Callable[[], object] | None = None
        self.after: list[Callable[[], object]] = []
        self.is_over = False

    def if_abandoned(self, duty: Callable[[], object] | None) -> None:
        self.duty = duty

    def afterwards(self, duty: Callable[[], object]) -> None:
        self.after.append(duty)

    def refuse_when_ending(self) -> None:
        assert not self.is_over, "a session that ends was asked for something"

    def is_ending(self) -> bool:
        return self.is_over

    def answered(self) -> None:
        """The deployer has its answer."""
        while self.after:
            self.after.pop(0)()

    def abandoned(self) -> None:
        """The deployer is gone: what the agent does at the end of a session."""
        self.is_over = True
        if self.duty:
            self.duty()
        self.answered()


class Host(Manager):
    """A host with one application, and its manager.

    :param root: of the application.
    :param roles: as in its settings.
    :ivar sick: ids of releases that answer 500.
    :ivar dead: ids of releases whose program dies at its start.
    :ivar refused: names of programs that the manager cannot start.
    :ivar done: what was started, stopped and reloaded, and while which release was live.
    :ivar open: connections to the old release, of which one ends whenever somebody looks.
    :ivar queued: the same of those that wait.
    :ivar linger: of the units that are made from now on.
    :ivar killed: the programs that were not stopped gracefully.
    :ivar dies_at: the effect, counted from 1, in front of which it dies; None for never.
    :ivar effects: how many there were.
    :ivar served: what the site answered after each effect, as (status, release).
    """

    gives = frozenset({"path"})

    def __init__(self, root: Path, roles: Sequence[str] = ("app", "proxy", "worker")) -> None:
        self.root, self.roles = root, roles
        (root / "releases").mkdir(parents=True)
        self.application = Application("site", str(root), "nobody", 2)
        self.sick: set[str] = set()
        self.dead: set[str] = set()
        self.refused: set[str] = set()
        self.done: list[str] = []
        self.running: dict[str, str] = {}
        self.read_by_proxy: str | None = None
        self.open = 0
        self.queued = 0
        self.linger: float | None = None
        self.killed: list[str] = []
        self.dies_at: int | None = None
        self.effects = 0
        self.served: list[tuple[int | None, str | None]] = []
        self.clock, self.session = Clock(), Session()

    # --- effects

    def effect(self, change: Callable[[], Any]) -> Any:
        """Change something, unless the host dies in front of it; look at the site before and after."""
        self.effects += 1
        if self.effects == self.dies_at:
            raise Died
        value = change()
        self.served.append(self.visit())
        return value

    def visit(self) -> tuple[int | None, str | None]:
        """What a visitor gets, and from which release."""
        current = releases.linked(str(self.root), "current")
        if current is None or ("app" in self.roles and self.running.get(f"site-{current}") != "up"):
            return None, current
        return (500 if current in self.sick else 200), current

    def release(self, name: str, *processes: str) -> None:
        """Build a release: all that is done before a cutover."""
        releases.begin(str(self.root), {"id": name})
        (self.root / "releases" / name / "config" / "http.conf").write_text("site\n")
        units = [self._unit(f"site-{name}", "web")] if "app" in self.roles else []
        if "worker" in self.roles:
            units += [self._unit(f"site-{name}-{role}", role) for role in processes]
        releases.update(
            str(self.root), name, state="built", manager="memory", units=[asdict(unit) for unit in units]
        )

    def _unit(self, name: str, role: str) -> Unit:
        log, address = f"{self.root}/{role}.log", f"unix:{name}"
        return Unit(name, role, ["run"], "nobody", "/", log, 1, address=address, linger=self.linger)

    def loses_power(self) -> None:
        """All that ran is gone; what is current is started when the machine starts, as install() sees to."""
        self.dies_at, self.running, self.session = None, {}, Session()
        current = releases.linked(str(self.root), "current")
        if current:
            for unit in releases.read(str(self.root), current).get("units", []):
                self.running[unit["name"]] = "up"

    def session_is_killed(self) -> None:
        """The process on the host is gone, and nothing else."""
        self.dies_at, self.session = None, Session()

    @property
    def machine(self) -> Machine:
        """This host, as a cutover sees it."""
        return Machine(
            manager=lambda name: self,
            proxy=self,
            sockets=self,
            orphans=Orphans(),
            session=self.session,
            clock=self.clock,
            ask=lambda endpoint, timeout, pid: self.asked(endpoint.address),
            flush=lambda path: None,
            finishing=lambda app: None,
            compile=lambda application, release: None,
            forget_old_sources=lambda root: None,
        )

    def note(self, what: str) -> None:
        self.done.append(f"{what} while {releases.linked(str(self.root), 'current')}")

    # --- the manager

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        for name in names:
            self.note(f"start {name}")
            if name in self.refused:
                raise Failed(kinds.MANAGER_DOWN, f"{name} does not start")
            self.effect(lambda name=name: self.running.update({name: "down" if release in self.dead else "up"}))

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        self.killed += [unit.name for unit in units if at_once]
        for unit in units:
            self.note(f"stop {unit.name}")
            self.effect(lambda unit=unit: self.running.pop(unit.name, None))

    def forget_next(self, application: Application) -> None:
        pass

    def programs(self, application: Application) -> list[Program]:
        return [
            Program(name, state, 1, 0, "", is_up=state == "up", is_broken=state == "down")
            for name, state in self.running.items()
        ]

    def ensure_running(self, application: Application | None = None) -> list[str]:
        return []

    def temporary(self, application: Application) -> list[str]:
        return []

    def has_started(self, group: str) -> bool:
        return False

    def log(self, unit: Unit) -> Log:
        return Tail(unit.log)

    def start_command(self, names: Sequence[str]) -> str:
        return f"start {' '.join(names)}"

    # --- the proxy, and the kernel

    def admit(self, application: Application, release: str) -> None:
        pass

    def tidy(self, application: Application) -> None:
        pass

    def reload(self) -> None:
        self.note("reload")
        self.effect(lambda: None)

    def ask(self, endpoint: Endpoint) -> Answer:
        return answer(self.visit()[0])

    def asked(self, address: str) -> Answer:
        name = address[len("unix:") :]
        up = self.running.get(name) == "up"
        return answer((500 if releases.of_program(name) in self.sick else 200) if up else None)

    def is_there(self, address: str) -> bool:
        return self.running.get(address[len("unix:") :]) == "up"

    def clear(self, address: str) -> None:
        pass

    def connections(self, address: str) -> Connections:
        self.open, self.queued = max(0, self.open - 1), max(0, self.queued - 1)
        return Connections(self.queued, self.open)


class Orphans:
    """There are none: processes die with the programs that started them."""

    def end(
        self,
        application: Application,
        live: str | None,
        started: Callable[[str], bool],
        known: Callable[[], Collection[int]],
    ) -> list[int]:
        return []


def answer(status: int | None) -> Answer:
    return {"status": status, "error": "" if status else "nobody listens", "body": [], "seconds": 0, "location": ""}


@contextmanager
def disk_of(hosts: Sequence[Host], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make each change of a host's files one of its effects."""

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def change(path: str, *args: Any, **kwargs: Any) -> Any:
            host = next(host for host in hosts if path.startswith(str(host.root)))
            return host.effect(lambda: original(path, *args, **kwargs))

        return change

    with monkeypatch.context() as patched:
        for name in WRITERS:
            patched.setattr(releases, name, counted(getattr(releases, name)))
        yield


def cutover_to(host: Host, name: str) -> Cutover:
    return Cutover(host.application, name, SITE if "app" in host.roles else None, site_of(host), drain=3)


def site_of(host: Host) -> Endpoint | None:
    """What is asked through its proxy; one that is a worker alone has none."""
    return None if list(host.roles) == ["worker"] else SITE


def deploy(host: Host, name: str) -> None:
    """The phases on one host, as `fab switch` asks for them."""
    to, machine = cutover_to(host, name), host.machine
    cutover.start(to, machine)
    cutover.switch(to, False, machine)
    cutover.finish(to, {"what": "deploy"}, machine)
    host.session.answered()


def next_command(host: Host) -> list[str]:
    """What the next command does first."""
    host.session = Session()
    return recovery.clear(host.application, site_of(host), host.machine)
