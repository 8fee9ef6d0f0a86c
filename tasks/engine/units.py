"""The programs of a release, made from the settings: its server's, and its background processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from . import planning
from .remote.application import WEB, Unit, launcher
from .remote.drivers import DESCRIPTOR, PATH, Launch

if TYPE_CHECKING:
    from .settings import Settings

LINGER_SECONDS = 2.0  # most requests have ended by then; what has not may be a connection without an end
KEPT_SECONDS = 4.0  # longer than nginx keeps a connection that it does not use
KILL_SECONDS = 10  # after the server's own grace, for what has not ended then
PROCESS_STOP_SECONDS = 60  # a queue's worker finishes what it works on


def all_of(settings: Settings, release: str, address: str, processes: Mapping[str, str]) -> list[Unit]:
    """The programs of a release, the serving one first where the host has one.

    :param release: the release's directory.
    :param address: what its server listens on.
    :param processes: name to command line.
    """
    serving = [web(settings, release, address)] if settings.has_app else []
    return [*serving, *(_process(settings, release, *item) for item in processes.items())]


def web(settings: Settings, release: str, address: str) -> Unit:
    """The program that serves."""
    server = planning.server_of(settings)
    activated = _is_activated(settings)
    listens = [] if activated or not address.startswith("unix:") else ["--listen", address[len("unix:") :]]
    return Unit(
        name=_name(settings, release),
        role=WEB,
        argv=[*launcher(release), *listens, *server.argv(launch(settings, release, address))],
        user=settings.user,
        directory=f"{release}/public",
        log=f"{settings.root}/logs/web.log",
        stop_seconds=server.grace(settings.web.settings) + KILL_SECONDS,
        address=address,
        speaks=server.speaks,
        activated=activated,
        linger=_linger(settings),
        notifies=server.notifies,
        reloads=server.reloads,
        workers=settings.web.workers,
        most_workers=server.most_workers(settings.web.workers, settings.web.settings),
        copies=settings.web.workers if server.is_one_process and planning.manager_of(settings).copies else 1,
        environment=_environment(settings),
    )


def launch(settings: Settings, release: str, address: str) -> Launch:
    """What the server is to run; see web()."""
    server, manager = planning.server_of(settings), planning.manager_of(settings)
    is_handed = _is_activated(settings) and DESCRIPTOR in server.takes
    return Launch(
        release=release,
        app=settings.web.app,
        workers=settings.web.workers,
        address=address,
        descriptor=manager.descriptor.format(name=_name(settings, release)) if is_handed else "",
        path=settings.site.path.rstrip("/"),
        settings=settings.web.settings,
    )


def _linger(settings: Settings) -> float | None:
    if not planning.server_of(settings).finishes(settings.web.settings):
        return None
    return KEPT_SECONDS if settings.site.upstream_keepalive else LINGER_SECONDS


def _is_activated(settings: Settings) -> bool:
    both = planning.server_of(settings).takes & planning.manager_of(settings).gives
    return bool(settings.manager.activation) or PATH not in both


def _process(settings: Settings, release: str, name: str, line: str) -> Unit:
    """A background process.

    A line that is one command replaces its shell, so the command itself gets TERM and nobody else: Celery's pool can
    finish its tasks. ("env" makes this right for lines such as "LANG=C celery worker", too.) In a line with any of
    | & ; ( ) the shell has to stay, so TERM goes to the whole group.
    """
    is_compound = any(char in line for char in "|&;()\n")
    whole = line if is_compound or line.startswith("exec ") else f"exec env {line}"
    return Unit(
        name=f"{_name(settings, release)}-{name}",
        role=name,
        argv=[*launcher(release), "/bin/sh", "-c", whole],
        user=settings.user,
        directory=f"{release}/public",
        log=f"{settings.root}/logs/{name}.log",
        stop_seconds=PROCESS_STOP_SECONDS,
        stop_group=is_compound,
        environment=_environment(settings),
    )


def _name(settings: Settings, release: str) -> str:
    return f"{settings.app}-{PurePosixPath(release).name}"


def _environment(settings: Settings) -> dict[str, str]:
    return {"HOME": f"{settings.root}/home", "USER": settings.user}
