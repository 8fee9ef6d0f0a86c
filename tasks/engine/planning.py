"""What the host is told about an application and a cutover, made from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .remote import drivers
from .remote.application import Application
from .remote.cutover import Cutover
from .remote.domains import HTTP_PORT, TLS_PORT
from .remote.probe import Endpoint
from .remote.provision import Wanted
from .remote.releases import Release

if TYPE_CHECKING:
    from .settings import Job, Settings

STANDARD_PORTS = (HTTP_PORT, TLS_PORT)  # that a Host header does not name


def server_of(settings: Settings) -> drivers.Server:
    """The driver of the server that runs the application."""
    return drivers.server(settings.web.server)


def manager_of(settings: Settings) -> drivers.Manager:
    """The driver of the manager that keeps the server running."""
    return drivers.manager(settings.manager.name)


def application(settings: Settings) -> Application:
    """What the application is on a host."""
    return Application(settings.app, settings.root, settings.user, settings.keep_releases)


def scheduled(settings: Settings) -> dict[str, Job]:
    """The timed jobs that run on a host: all of the stage's, or none."""
    return settings.schedule if has_schedule(settings) else {}


def has_schedule(settings: Settings) -> bool:
    """Whether a host is the one that has the timed jobs of its stage: the first, as with hooks that run once."""
    return settings.members[:1] in ([], [settings.host.name])


def wanted(settings: Settings, rotation: str = "", patience: float = 0) -> Wanted:
    """What setup has to make sure of on a host.

    :param rotation: what logrotate is told of the application's logs.
    :param patience: seconds to wait while another process installs packages.
    """
    python = settings.python
    acme = settings.site.tls and settings.site.tls.acme
    return Wanted(
        application=application(settings),
        manager=settings.manager.name,
        packages=[*server_of(settings).packages(settings.web.settings), *settings.packages],
        python=python.version,
        mirror=python.mirror,
        uv=python.installer != "pip" and python.wheelhouse is None,
        rotation=rotation,
        patience=patience,
        acme=acme is not None,
    )


def site(settings: Settings, certificate: str = "") -> Endpoint:
    """What a visitor asks, at nginx.

    :param certificate: the file on the host of the one that the site has; empty where it has none.
    """
    health, port = settings.health, TLS_PORT if certificate else settings.site.port
    domain = settings.site.domains[0]
    return Endpoint(
        address=f"127.0.0.1:{port}",
        host=domain if port in STANDARD_PORTS else f"{domain}:{port}",
        path=settings.site.path.rstrip("/") + health.path,
        status=health.status,
        timeout=health.timeout,
        certificate=certificate,
        follow=health.follow,
    )


def app(settings: Settings, is_secure: bool = False) -> Endpoint:
    """What nginx passes on to the application, at an address that the release has.

    :param is_secure: the site has TLS.
    """
    asked, prefix = site(settings), settings.site.path.rstrip("/")
    headers = {"X-Forwarded-Proto": "https" if is_secure else "http", "X-Forwarded-For": "127.0.0.1"}
    if prefix:
        headers["SCRIPT_NAME"] = prefix
    path = settings.health.path if server_of(settings).prefix == "stripped" else asked.path
    return replace(asked, address="", path=path, headers=headers)


def cutover(settings: Settings, release: Release) -> Cutover:
    """The change to a release: it is asked what it was made for, within the time of now.

    :param release: what the host knows about it.
    """
    return Cutover(
        application=application(settings),
        release=release["id"],
        app=_asked(settings, release, "app"),
        site=_asked(settings, release, "site"),
        drain=server_of(settings).grace(settings.web.settings),
    )


def _asked(settings: Settings, release: Release, which: str) -> Endpoint:
    return replace(Endpoint(**release["asked"][which]), timeout=settings.health.timeout)
