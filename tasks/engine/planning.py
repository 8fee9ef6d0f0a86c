"""What the host is told about an application, made from its settings."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from . import drivers
from .remote import releases
from .remote.cutover import Plan
from .remote.probe import Question

if TYPE_CHECKING:
    from .settings import Settings


def server_of(settings: Settings) -> ModuleType:
    """The module of the server that runs the application."""
    return drivers.server(settings.web.server)


def manager_of(settings: Settings) -> ModuleType:
    """The module of the manager that keeps the server running."""
    return drivers.manager(settings.manager.name)


def plan(settings: Settings, release: releases.Release) -> Plan:
    """What the cutover to a release needs to know.

    :param release: what the host knows about it.
    """
    health, site = settings.health, settings.site
    prefix = site.path.rstrip("/")
    host = site.domains[0]
    if site.port not in (80, 443):
        host = f"{host}:{site.port}"
    headers = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "127.0.0.1"}
    if prefix:
        headers["SCRIPT_NAME"] = prefix
    ask: Question = {
        "path": prefix + health.path,
        "host": host,
        "headers": headers,
        "status": health.status,
        "timeout": health.timeout,
    }
    return {
        "app": settings.app,
        "root": settings.root,
        "manager": settings.manager.name,
        "user": settings.user,
        "release": release["id"],
        "address": release.get("address", ""),
        "processes": release.get("processes", []),
        "ask": ask,
        "ask_site": {**ask, "headers": {}},
        "port": site.port,
        "drain": graceful_timeout(settings),
        "keep": settings.keep_releases,
    }


def graceful_timeout(settings: Settings) -> float:
    """Seconds that running requests get to finish when a release is stopped."""
    return float(settings.web.settings.get("graceful_timeout", server_of(settings).GRACEFUL_TIMEOUT))
