"""What the host is told about an application and a cutover, made from the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from . import databases
from .remote import drivers
from .remote.application import Application
from .remote.cutover import Cutover
from .remote.domains import HTTP_PORT, TLS_PORT
from .remote.probe import Endpoint
from .remote.provision import Wanted
from .remote.releases import Release

if TYPE_CHECKING:
    from .settings import Settings

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


def wanted(settings: Settings, rotation: str = "", patience: float = 0) -> Wanted:
    """What setup has to make sure of on a host.

    :param rotation: what logrotate is told of the application's logs.
    :param patience: seconds to wait while another process installs packages.
    """
    python = settings.python
    acme = settings.site.tls and settings.site.tls.acme
    code = settings.has_code
    return Wanted(
        application=application(settings),
        manager=settings.manager.name if code else None,
        packages=_packages(settings) if code else [],
        python=python.version if code else None,
        mirror=python.mirror,
        uv=code and python.installer != "pip" and python.wheelhouse is None,
        rotation=rotation,
        patience=patience,
        acme=acme is not None,
        has_site=settings.has_site,
    )


def _packages(settings: Settings) -> list[str]:
    """The system's packages that running the application needs, and backing its database up."""
    server = server_of(settings).packages(settings.web.settings)
    return [*server, *databases.packages(settings), *settings.packages]


def site(settings: Settings, certificate: str = "") -> Endpoint | None:
    """What a visitor asks, at nginx; None on a host that has none.

    :param certificate: the file on the host of the one that the site has; empty where it has none.
    """
    return _visited(settings, certificate) if settings.has_site else None


def _visited(settings: Settings, certificate: str) -> Endpoint:
    health, port = settings.health, TLS_PORT if certificate else settings.site.port
    domain = settings.site.domains[0]
    return Endpoint(
        address=f"127.0.0.1:{port}",
        host=domain if port in STANDARD_PORTS else f"{domain}:{port}",
        path=settings.site.path.rstrip("/") + health.path,
        status=health.status,
        timeout=health.timeout,
        headers={"X-Forwarded-Proto": "https"} if _is_secured_in_front(settings) and not certificate else {},
        certificate=certificate,
        follow=health.follow,
    )


def _is_secured_in_front(settings: Settings) -> bool:
    """Whether visitors come to the proxies by https: an application may send all others there."""
    return settings.front is not None and settings.front.tls


def app(settings: Settings, is_secure: bool = False) -> Endpoint | None:
    """What nginx passes on to the application, at an address that the release has; None where there is no server.

    :param is_secure: the site has TLS.
    """
    if not settings.has_app:
        return None
    asked, prefix = _visited(settings, ""), settings.site.path.rstrip("/")
    scheme = "https" if is_secure or _is_secured_in_front(settings) else "http"
    headers = {"X-Forwarded-Proto": scheme, "X-Forwarded-For": "127.0.0.1"}
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


def _asked(settings: Settings, release: Release, which: str) -> Endpoint | None:
    asked = release["asked"].get(which)
    return asked and replace(Endpoint(**asked), timeout=settings.health.timeout)
