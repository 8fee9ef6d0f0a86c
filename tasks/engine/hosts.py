"""From what the user typed after -H, or a connection of the user's own, to hosts with their settings."""

from __future__ import annotations

import contextlib
import getpass
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import fabric
from fabric import Connection
from invoke.context import Context

from . import local, planning, profiling, terminal
from .connecting import open_connection
from .errors import Error, HostError, HostErrors, SettingsError, Unreachable, UsageError
from .remote import entry, kinds, prepare, releases
from .session import RemoteCall, Session

if TYPE_CHECKING:
    from .settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
CONNECT_SECONDS = 10


class Host:
    """One server of a stage: its settings, its connection, and the session on it.

    :param settings: merged and checked.
    :param connection: opened when it is first needed, with the host key verified.
    """

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings = settings
        self.connection = connection
        self.name = settings.host.name
        self._session: Session | None = None
        self._entry: entry.Entry | None = None

    @property
    def session(self) -> Session:
        """The session, started when it is first needed.

        :raises HostError: it was lost, and with it the lock, so that a command must not go on in another.
        """
        if self._session is not None and not self.is_open:
            raise self._session.lost()
        if self._session is None:
            open_connection(self.connection, self.settings)
            self._session = Session(self.name, self.connection, lambda line: terminal.output(self.name, line))
        return self._session

    @property
    def is_open(self) -> bool:
        """Whether a session runs."""
        return self._session is not None and self._session.is_open and self.connection.is_connected

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the host; see Session.call."""
        return self.session.call(function, *args, **kwargs)

    def send(self, function: Callable[P, T], data: Iterable[bytes] | None, /) -> Callable[P, T]:
        """Run a function on the host with data; see Session.send."""
        return self.session.send(function, data)

    def run(self, steps: Sequence[RemoteCall]) -> None:
        """Run steps on the host in one round trip; see Session.run."""
        try:
            self.session.run(steps)
        except Error:
            self.forget()
            raise

    def begin(self, what: str) -> entry.Entry:
        """Take the deploy lock for this session and look at what is there; the second time, only look.

        :param what: what the lock is taken for, shown to who comes second.
        """
        session = self.session
        if self._entry is None:
            self._entry = session.call(
                entry.begin, planning.application(self.settings), planning.site(self.settings), self.owner(), what
            )
            for line in self._entry["cleared"]:
                self.say("clear", f"left by an earlier deploy: {line}")
        return self._entry

    def owner(self) -> prepare.Owner:
        """What the application's root is marked with."""
        settings = self.settings
        return {"app": settings.app, "stage": settings.stage, "project": local.identity(settings), "who": who()}

    @property
    def facts(self) -> entry.Facts:
        """What the host is."""
        return self._entry["facts"] if self._entry else self.call(entry.facts)

    @property
    def live(self) -> releases.Release:
        """What is known about the release that was live when the session began; empty where there was none."""
        return (self._entry and self._entry["current"]) or {}

    @property
    def addresses(self) -> list[str]:
        """What the servers of the releases on the host bind, without the next one's."""
        return self._entry["addresses"] if self._entry else []

    @property
    def next(self) -> releases.Release | None:
        """What is known about the next release."""
        return self._entry and self._entry["next"]

    @next.setter
    def next(self, release: releases.Release | None) -> None:
        if self._entry:
            self._entry["next"] = release

    def suppose(self, there: entry.Entry) -> None:
        """Take what was seen without the lock for what is there, until forget(): for who only foresees."""
        self._entry = there

    def forget(self) -> None:
        """Look at the host again when it is needed next."""
        self._entry = None

    def say(self, step: str, text: str, style: str = "") -> None:
        """Tell the person what happened here."""
        terminal.say(self.name, step, text, style)

    def close(self) -> None:
        """End the session, and with it the lock."""
        if self._session is not None:
            self._session.close()
            self._session = None
            self._entry = None


def roles(host: Host) -> list[str]:
    """What a host is for, where that is to be shown: one with all roles is like any other."""
    from .settings import ROLES

    own = host.settings.host.roles
    return [] if set(own) == set(ROLES) else list(own)


def who() -> str:
    """The person and the machine a command was typed on."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


# One host, one connection, one session and so one lock, for all that one run of a program does: each task of
# "fab push venv" gets a context of its own, and they must not lock each other out.
_hosts: dict[tuple[Path, str, str], Host] = {}


_roles: list[str] = []  # those that the command is for; empty for all


@contextlib.contextmanager
def chosen_by_role(roles: str) -> Iterator[None]:
    """Have of() and its like give the hosts that have one of some roles, as long as this lasts.

    :param roles: with commas between; empty for all hosts.
    """
    before, _roles[:] = list(_roles), list(filter(None, map(str.strip, roles.split(","))))
    try:
        yield
    finally:
        _roles[:] = before


def _with_roles(found: list[Host]) -> list[Host]:
    """Those of some hosts that the command is for.

    :raises UsageError: there is none, or no such role.
    """
    if not _roles:
        return found
    from .settings import ROLES

    if unknown := sorted(set(_roles) - set(ROLES)):
        raise UsageError(kinds.ROLE, f"--role: there is no role {', '.join(unknown)}. There are {', '.join(ROLES)}")
    chosen = [host for host in found if set(_roles) & set(host.settings.host.roles)]
    if not chosen:
        there = "; ".join(f"{host.name}: {', '.join(host.settings.host.roles)}" for host in found)
        raise UsageError(kinds.ROLE, f"--role: no host has {' or '.join(_roles)}. There are {there}")
    return chosen


def of(c: Context) -> list[Host]:
    """The hosts a context stands for; the same objects each time, so that steps share connection and lock.

    :param c: what Fabric hands to a task: a Connection to a stage's name, to a host's name, or to a server
        by its address; or a Context where no -H was given, which means the default stage.
    :raises UsageError: nothing answers to that name, or the settings are wrong.
    """
    found = _with_roles(_of(c))
    if isinstance(c, Connection) and len(found) == 1 and c is not found[0].connection:
        _become(c, found[0])
    return found


def _of(c: Context) -> list[Host]:
    with profiling.span("local", "read the stage"):
        return list(_resolve(c))


def together(c: Context) -> list[Host]:
    """Like of(), but the hosts of all names after -H, for the command that is one transaction over them.

    :raises UsageError: they are of different stages.
    """
    names = named_with(c)
    if not names:
        return of(c)
    found = _of(c) + [host for name in names[1:] for host in _of(Connection(name, config=c.config))]
    stages = sorted({host.settings.stage for host in found})
    if len(stages) > 1:
        raise UsageError(
            kinds.WHICH_STAGE,
            f"-H {','.join(names)}: one command changes one stage, and these are of {', '.join(stages)}",
        )
    return _with_roles(list(dict.fromkeys(found)))


def leads(c: Context) -> bool:
    """Whether a command that is one transaction over all names after -H is to be done now.

    Fabric runs it once for each name, one after the other: the first time is for all of them.
    """
    names = named_with(c)
    return not names or c.original_host == names[0]


def named_with(c: Context) -> list[str]:
    """What was named after -H, where that was several and Fabric made this context for one of them."""
    if not isinstance(c, Connection) or "fabric.main" not in sys.modules:
        return []
    core = getattr(sys.modules["fabric.main"].program, "core", None)
    names = list(dict.fromkeys((core[0].args.hosts.value or "").split(","))) if core else []
    return names if len(names) > 1 and c.original_host in names else []


def _become(c: Connection, host: Host) -> None:
    """Make a connection to a stage's or a host's name the connection to that host.

    So that ``c.run`` in a step of one's own reaches the host, once a step was called with the same ``c``.
    """
    c.__dict__.update({**host.connection.__dict__, "original_host": c.original_host})
    if not host.is_open:
        host.connection = c


def without(targets: list[Host], names: str | None) -> list[Host]:
    """The hosts but for some that are known to be dead.

    :param names: with commas between; None for no host.
    :raises UsageError: one is not among the hosts, or none would be left.
    :raises HostError, HostErrors: one is not dead.
    """
    if names is None:
        return targets
    dead = [name.strip() for name in names.split(",")]
    left = [host for host in targets if host.name not in dead]
    unknown = sorted(set(dead) - {host.name for host in targets})
    if unknown:
        there = ", ".join(host.name for host in targets)
        raise UsageError(
            kinds.UNKNOWN_NAME,
            f"--continue-without: {', '.join(unknown)} is no host of this command. There are {there}",
        )
    if not left:
        raise UsageError(kinds.ARGUMENT, "--continue-without: no host would be left")
    each([host for host in targets if host not in left], _leave_behind, "making sure that they are dead")
    return left


def _leave_behind(host: Host) -> None:
    """Make sure that a host cannot be reached: one that can must not be left behind by mistake."""
    try:
        open_connection(host.connection, host.settings)
    except Unreachable as error:
        host.say("without", f"left behind: {error.what}", "yellow")
    else:
        hint = f"Leave --continue-without away: fab -H {host.settings.stage} …"
        raise HostError(
            kinds.HOST_ALIVE, host.name, "it answers, so it is not left behind; nothing was touched", hint
        )


def absent(targets: list[Host]) -> list[str]:
    """The names of the other hosts of the stage."""
    asked = {host.name for host in targets}
    return [name for name in targets[0].settings.members if name not in asked]


def everywhere(c: Context) -> list[Host]:
    """Like of(), but every stage where no -H was given: for commands that only read."""
    from . import stages

    if isinstance(c, Connection):
        return of(c)
    with profiling.span("local", "read the stages"):
        loaded = stages.load_stages(stages.find_project(Path.cwd()))
    return _with_roles([_host(c, settings) for stage in loaded.values() for settings in stage.hosts.values()])


def connections(c: Context) -> list[Connection]:
    """Open connections, host keys verified, to the hosts a context stands for: for steps of your own.

    :param c: what Fabric hands to a task; see of().
    :raises HostError, UsageError: see of() and open_connection().
    """
    found = of(c)
    for host in found:
        open_connection(host.connection, host.settings)
    return [host.connection for host in found]


def close_all() -> None:
    """End every session, and with it every lock."""
    while _hosts:
        _hosts.popitem()[1].close()


def _resolve(c: Context) -> Iterator[Host]:
    from . import stages

    project = stages.find_project(Path.cwd())
    name = stages.default_stage(project) if not isinstance(c, Connection) else c.original_host
    try:
        chosen = stages.select(project, name)
    except SettingsError:
        raise
    except UsageError as unknown:
        if not isinstance(c, Connection):
            raise
        try:
            yield _host(c, stages.match_connection(project, c.host, c.user, c.port), c)
        except SettingsError:
            raise
        except UsageError:
            raise unknown from None
        return
    for settings in chosen.hosts.values():
        yield _host(c, settings)


def _host(c: Context, settings: Settings, connection: Connection | None = None) -> Host:
    """The host of these settings, on the connection it has already or else on this one."""
    key = (settings.project, settings.stage, settings.host.name)
    host = _hosts.get(key)
    if host is not None and not host.is_open:
        host.close()  # one that was lost does not come back: this command has a session and a lock of its own
    if host is None or (connection is not None and not host.is_open):
        host = _hosts[key] = Host(settings, connection or _connection(c, settings))
    host.settings = settings
    return host


def _connection(c: Context, settings: Settings) -> Connection:
    config = c.config.clone() if isinstance(c.config, fabric.Config) else fabric.Config()
    if settings.host.key:
        key = settings.local(settings.host.key)
        if not key.is_file():
            raise UsageError(kinds.KEY_FILE, f"{settings.host.name}: key: there is no file {key}")
        config.connect_kwargs.key_filename = str(key)
    connection = Connection(settings.host.address, user=settings.host.user, port=settings.host.port, config=config)
    connection.connect_timeout = connection.connect_timeout or CONNECT_SECONDS
    return connection


def each(hosts: list[Host], function: Callable[[Host], T], what: str = "") -> list[T]:
    """Do something on every host, side by side, and wait for all of them.

    :param what: what is being done, shown while it lasts.
    :raises HostError, HostErrors: some failed; the others came to their end.
    :raises KeyboardInterrupt: Ctrl-C; the sessions are ended, and each host goes back or tidies up by itself.
    """
    with terminal.working(f"{what}: {', '.join(host.name for host in hosts)}" if what else ""):
        if len(hosts) < 2:
            return [function(host) for host in hosts]
        try:
            futures = [beside(function, host) for host in hosts]
            while wait(futures, timeout=1).not_done:  # Ctrl-C just before a wait without an end goes unnoticed in it
                pass
        except KeyboardInterrupt:
            for host in hosts:
                host.close()
            raise
    failed = [error for error in (future.exception() for future in futures) if error is not None]
    for error in failed:
        if not isinstance(error, Error):
            raise error
    if len(failed) > 1 and all(isinstance(error, HostError) for error in failed):
        raise HostErrors([error for error in failed if isinstance(error, HostError)])
    if failed:
        raise failed[0]
    return [future.result() for future in futures]


def beside(function: Callable[[A], T], given: A) -> Future[T]:
    """Begin something in a thread that nobody has to wait for at the end of the program."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function(given))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
