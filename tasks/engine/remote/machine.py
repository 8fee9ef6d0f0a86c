"""What a cutover acts on: managers, proxy, sockets, processes, session and clock. Tests put others in their place."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from . import agent, bytecode, drivers, lock, nginx, orphans, probe, releases, sockets, source
from .application import Application, Unit
from .drivers import Manager, Program, Proxy
from .logs import Log, Tail
from .probe import Answer, Endpoint
from .sockets import Connections


class Sockets(Protocol):
    """See sockets.py."""

    def is_there(self, address: str) -> bool: ...
    def clear(self, address: str) -> None: ...
    def connections(self, address: str) -> Connections: ...


class Orphans(Protocol):
    """See orphans.py."""

    def end(
        self,
        application: Application,
        live: str | None,
        started: Callable[[str], bool],
        known: Callable[[], Collection[int]],
    ) -> list[int]: ...


class Session(Protocol):
    """See agent.py: what is done when the deployer dies, and what once it has its answer."""

    def if_abandoned(self, duty: Callable[[], object] | None) -> None: ...
    def afterwards(self, duty: Callable[[], object]) -> None: ...
    def refuse_when_ending(self) -> None: ...
    def is_ending(self) -> bool: ...


class Clock(Protocol):
    """Seconds from some time on, and waiting."""

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


def ask_application(endpoint: Endpoint, timeout: float, pid: int) -> Answer:
    """Ask a release on its own address, with the rights of the web server's user."""
    return probe.ask(endpoint, probe.web_user(), timeout, pid)


@dataclass(frozen=True)
class Machine:
    """A host, as a cutover sees it; its files are the files that are there."""

    manager: Callable[[str], Manager] = drivers.manager
    proxy: Proxy = nginx
    sockets: Sockets = sockets
    orphans: Orphans = orphans
    session: Session = agent
    clock: Clock = time
    ask: Callable[[Endpoint, float, int], Answer] = ask_application
    flush: Callable[[str], object] = releases.flush_all
    finishing: Callable[[str], object] = lock.finishing
    compile: Callable[[Application, str], object] = bytecode.add
    forget_old_sources: Callable[[str], object] = source.forget_old


HOST = Machine()


class Programs:
    """The programs of one release of an application.

    :ivar web: the one that serves; None on a host that has none.
    """

    def __init__(self, machine: Machine, application: Application, release: str) -> None:
        known = releases.read(application.root, release)
        self.application, self.release = application, release
        self.units = units_of(known)
        self.manager = machine.manager(known["manager"]) if self.units else None
        self.web = next((unit for unit in self.units if unit.serves), None)
        self.address = self.web.address if self.web else ""
        self.server = str(known.get("server", ""))
        self._sockets = machine.sockets

    @property
    def background(self) -> list[Unit]:
        """All but the one that serves."""
        return [unit for unit in self.units if unit is not self.web]

    @property
    def finishes(self) -> bool:
        """Whether the serving one goes on with its connections once it is told to stop."""
        return self.web is not None and self.web.linger is not None

    @property
    def linger(self) -> float:
        """Seconds until it may be told so though there are connections."""
        return self.web.linger or 0.0 if self.web else 0.0

    def state(self) -> Program | None:
        """How the serving one is; None where its manager does not know it."""
        return next((program for program in self.states() if self.web and program.name == self.web.name), None)

    def states(self) -> list[Program]:
        """How those are that the manager knows."""
        names = {unit.name for unit in self.units}
        found = self.manager.programs(self.application) if self.manager else []
        return [program for program in found if program.name in names]

    def start(self, units: list[Unit]) -> None:
        """Start some of them."""
        if self.manager and units:
            self.manager.start(self.application, self.release, [unit.name for unit in units])

    def stop(self, units: list[Unit], at_once: bool = False) -> None:
        """Stop some of them."""
        if self.manager and units:
            self.manager.stop(self.application, units, at_once)

    def workers(self, pid: int) -> list[int]:
        """The processes that answer requests: the server knows its own.

        :param pid: of the serving program.
        """
        return drivers.server(self.server).workers(pid)

    def log(self) -> Log:
        """What the serving one writes from now on."""
        return self.manager.log(self.web) if self.manager and self.web else Tail("", 0)

    def run(self) -> bool:
        """Whether all are up, and the serving one, where there is one, can be reached."""
        up = {program.name for program in self.states() if program.is_up}
        is_reached = self.web is None or self._sockets.is_there(self.address)
        return is_reached and up >= {unit.name for unit in self.units}

    def start_down(self) -> list[str]:
        """Start what is down; the names of what was started."""
        up = {program.name for program in self.states() if program.is_up}
        if self.web and self.web.name in up and not self._sockets.is_there(self.address):
            self.stop([self.web])
            up.remove(self.web.name)
        down = [unit for unit in self.units if unit.name not in up]
        self.start(down)
        return [unit.name for unit in down]

    @property
    def start_command(self) -> str:
        """What a person types on the host to start them all."""
        return self.manager.start_command([unit.name for unit in self.units]) if self.manager else ""


def units_of(release: releases.Release) -> list[Unit]:
    """The programs of a release; none before it was configured, and on a proxy."""
    return [Unit(**unit) for unit in release.get("units", [])]


def managers_of(application: Application) -> list[str]:
    """The names of the managers of all releases on the host: each keeps the one that it was made for."""
    known = (releases.read(application.root, name) for name in releases.ids(application.root))
    return sorted({release["manager"] for release in known if release.get("manager")})
