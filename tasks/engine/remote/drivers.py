"""What a server, a manager and a proxy have to be able to do, and the one place that finds them by name.

A driver is a module of ``servers`` or ``managers`` with an object called ``DRIVER``; one from outside the package is
found by an entry point of the group ``fabrelease.servers`` or ``fabrelease.managers``. Both sides use it: it imports
nothing but the standard library and its neighbours here. Servers know no manager, and managers no server.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from . import kinds
from .application import Application, Unit
from .failure import Failed
from .logs import Log
from .probe import Answer, Endpoint
from .resources import Resource

PACKAGE = "fabrelease.tasks"
KINDS = ("servers", "managers")
PATH, DESCRIPTOR = "path", "descriptor"  # how a server comes to its listening socket
MANY_WORKERS = 1000  # where the server has no limit of its own


@dataclass(frozen=True)
class Launch:
    """What a server is to run.

    :ivar release: the release's directory, which is named by its id.
    :ivar app: the WSGI or ASGI callable, as ``module:name``.
    :ivar address: ``unix:PATH`` or ``HOST:PORT``.
    :ivar descriptor: the number of the open socket that the manager hands over, instead of the address; or a text
        that the manager replaces by it.
    :ivar path: the URL path that the application lives below; empty for none.
    :ivar settings: ``web.settings``.
    """

    release: str
    app: str
    workers: int
    address: str
    descriptor: str
    path: str
    settings: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The release's id."""
        return self.release.rpartition("/")[2]

    @property
    def python(self) -> str:
        """The virtualenv's interpreter. Its scripts are not used: a script's first line pins another path."""
        return f"{self.release}/env/bin/python"

    @property
    def launcher(self) -> str:
        """The file that every process of the release is started by."""
        return f"{self.config}/launch"

    @property
    def config(self) -> str:
        """The directory of the release's configuration."""
        return f"{self.release}/config"


class Server(Protocol):
    """A program that runs the application.

    :ivar requirements: what its virtualenv needs.
    :ivar templates: file in the release's ``config`` to the template it is rendered from.
    :ivar notifies: it tells systemd when it is ready (sd_notify).
    :ivar reloads: at HUP it starts its workers anew and goes on serving.
    :ivar refused: names in ``web.settings`` that this project sets itself, with the reason.
    :ivar switches: those of them that may be said to be off.
    :ivar takes: PATH, DESCRIPTOR or both.
    :ivar speaks: ``http`` or ``uwsgi``, which nginx passes requests on by.
    :ivar socket: the name of its unix socket in a release; one for each thing that is spoken, see sockets.bridge.
    :ivar longest_path: of a unix socket, in bytes.
    :ivar grace_setting: the setting that grace() reads.
    :ivar is_one_process: it has no workers of its own; a manager runs as many of it, where it can.
    :ivar prefix: how it is told the path the application lives below: ``header`` (SCRIPT_NAME), ``option`` (it is
        told at its start, and gets the whole path), ``stripped`` (the same, and gets the rest of the path), or
        ``none``.
    """

    requirements: Sequence[str]
    templates: Mapping[str, str]
    notifies: bool
    reloads: bool = False
    refused: Mapping[str, str]
    switches: frozenset[str]
    takes: frozenset[str]
    speaks: str
    socket: str = "web.sock"
    longest_path: int
    is_one_process: bool = False
    prefix: str
    grace_setting: str

    def requires(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """What the virtualenv needs with these settings."""
        return self.requirements

    def packages(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """What it needs of the system."""
        return ()

    def argv(self, launch: Launch) -> list[str]:
        """The command line, for a process that the release's launcher becomes."""

    def grace(self, settings: Mapping[str, Any]) -> float:
        """Seconds that running requests get after TERM, before the server itself ends them."""

    def finishes(self, settings: Mapping[str, Any]) -> bool:
        """Whether, after TERM, it goes on with each connection that it has accepted, as long as its grace lasts."""

    def timeout(self, settings: Mapping[str, Any]) -> float:
        """Seconds after which the server ends a request by itself; 0 where it does not."""

    def idle(self, settings: Mapping[str, Any]) -> float:
        """Seconds it keeps a connection open that nothing is asked on; 0 where it keeps none."""

    def workers(self, pid: int) -> list[int]:
        """The processes that answer requests.

        :param pid: of the process that the manager has started.
        """

    def most_workers(self, workers: int, settings: Mapping[str, Any]) -> int:
        """How many workers it can have while it runs, where it takes one more at TTIN and one less at TTOU.

        0: it cannot.
        """
        return 0

    def check(self, application: Application, launch: Launch, whole: bool) -> None:
        """Check a release's configuration with the server itself, from the release's virtualenv.

        :param whole: import the application, too, though starting it beside the live one would show as much.
        :raises Failed: with the server's or the application's own words.
        """


@dataclass(frozen=True)
class Program:
    """A program as its manager sees it.

    :ivar state: in the manager's own word.
    :ivar pid: 0 where it does not run.
    :ivar since: when it was started, in seconds since 1970.
    :ivar detail: the manager's own words about it.
    :ivar is_up: it runs, or is about to.
    :ivar is_broken: it died and is not coming up.
    :ivar listener: the pid of the process that has called listen(2) for it, where it is handed an open socket; 0
        where it listens itself.
    :ivar copies: how many of it run; ``pid`` and ``since`` are the first one's.
    """

    name: str
    state: str
    pid: int
    since: float
    detail: str
    is_up: bool
    is_broken: bool
    listener: int = 0
    copies: int = 1


class Manager(Protocol):
    """A program that keeps others running.

    :ivar packages: of the system, as Debian calls them; see system.py.
    :ivar services: of the system, to be enabled and started, as Debian calls them.
    :ivar dropins: lines for the ``[Service]`` section of such a service.
    :ivar templates: as a server's; a file with ``{role}`` in its name is one for each program, one with
        ``{activated}`` for each that is handed an open socket, and its template is given the program as ``unit``.
    :ivar gives: PATH where a server opens its socket itself, DESCRIPTOR where it can be handed one.
    :ivar descriptor: what stands for the socket that is handed over; see Launch. ``{name}`` is the unit's name.
    :ivar copies: it can run several of one program, on one socket that it opens.
    :ivar own_logs: patterns of the paths of what it writes about itself.
    :ivar reopen_logs: shell commands that make it open its programs' log files anew.
    """

    packages: Sequence[str]
    services: Sequence[str]
    dropins: Mapping[str, str]
    templates: Mapping[str, str]
    gives: frozenset[str]
    descriptor: str
    copies: bool = False
    own_logs: Sequence[str]
    reopen_logs: str

    def refuses(self, setting: str) -> str:
        """Why ``manager.settings`` may not hold a setting; nothing where it may."""
        return "it is not passed on; change its templates instead (docs/templates.md)"

    def resources(self, application: Application) -> list[Resource]:
        """What it needs on a host for an application, so that what is current starts at boot; see resources.py."""

    def check(self, application: Application, release: str) -> None:
        """Check a release's files with the manager's own parser.

        :raises Failed: it refuses them.
        """

    def start(self, application: Application, release: str, names: Sequence[str]) -> None:
        """Start programs of a release, beside what runs.

        :raises Failed: one cannot be started.
        """

    def stop(self, application: Application, units: Sequence[Unit], at_once: bool) -> None:
        """Stop programs gracefully, all at the same time, and forget them.

        :param at_once: kill them, with all they started, instead of waiting for what they are doing.
        :raises Failed: one did not stop, and is still there.
        """

    def forget_next(self, application: Application) -> None:
        """Drop what only a running cutover needs: what is current starts by its resources."""

    def programs(self, application: Application) -> list[Program]:
        """The programs of an application, of whatever release.

        :raises Failed: the manager does not answer.
        """

    def ensure_running(self, application: Application) -> list[str]:
        """Start the manager of an application where it is down; what was done, in words."""

    def temporary(self, application: Application) -> list[str]:
        """The beginnings of the paths of files that it writes for an application outside its root."""

    def has_started(self, group: str) -> bool:
        """Whether the control group of a process (/proc/PID/cgroup) says that this manager had started it."""

    def log(self, unit: Unit) -> Log:
        """Where what a program writes can be read, from now on."""

    def log_command(self, application: Application, follow: bool, lines: int) -> list[str]:
        """What shows the programs' logs where these are not the files of Unit.log; empty where they are."""

    def start_command(self, names: Sequence[str]) -> str:
        """What a person types on the host to start programs."""


class Proxy(Protocol):
    """The program in front: what a cutover asks of it."""

    def admit(self, application: Application, release: str) -> None:
        """See that a release may go live beside the other applications of now.

        :raises Failed: one of them is asked for a path of its.
        """

    def tidy(self, application: Application) -> None:
        """Forget what no release of an application needs any more."""

    def reload(self) -> None:
        """Make it read its configuration again, and wait until nothing is answered by the old one.

        :raises Failed: it goes on with the old one.
        """

    def ensure_running(self) -> list[str]:
        """Start it where it is down; what was done, in words."""

    def ask(self, endpoint: Endpoint) -> Answer:
        """Ask the site as a visitor does."""


def seconds(settings: Mapping[str, Any], name: str, default: float) -> float:
    """A setting in seconds; the default where it is no number, which the server itself refuses."""
    given = settings.get(name, default)
    return float(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else default


def server(name: str) -> Server:
    """The driver of a server."""
    found: Server = _driver("servers", name)
    return found


def manager(name: str) -> Manager:
    """The driver of a manager."""
    found: Manager = _driver("managers", name)
    return found


def module(kind: str, name: str) -> str:
    """The name of a driver's module.

    :param kind: ``servers`` or ``managers``.
    :raises Failed: there is no such driver.
    """
    if name in packaged(kind):
        return f"{PACKAGE}.{kind}.{name}"
    if name in outside(kind):
        return outside(kind)[name]
    raise Failed(
        kinds.DRIVER,
        f"there is no driver called {name!r} among {kind}",
        "Where it is your own, install the package that has it beside fabrelease.",
    )


def names(kind: str) -> list[str]:
    """The names of all drivers of a kind, sorted."""
    return sorted({*packaged(kind), *outside(kind)})


def packaged(kind: str) -> list[str]:
    """The names of the drivers that come with the package."""
    folder = Path(__file__).parents[2] / kind
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


@functools.cache
def outside(kind: str) -> dict[str, str]:
    """The drivers from outside the package: their names and modules."""
    from importlib import metadata

    points: Any = metadata.entry_points()
    group = f"{PACKAGE.partition('.')[0]}.{kind}"
    chosen = points.select(group=group) if hasattr(points, "select") else points.get(group, [])
    return {point.name: point.value.partition(":")[0] for point in chosen}


def file_of(module: str) -> Path:
    """The file of a driver's module; its templates are in ``templates`` beside it.

    :raises Failed: it is no module of one file.
    """
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None or found.submodule_search_locations:
        raise Failed(
            kinds.DRIVER, f"the driver {module} is no module of one file", "A host is sent one file for each driver."
        )
    return Path(found.origin)


def _driver(kind: str, name: str) -> Any:
    return importlib.import_module(module(kind, name)).DRIVER
