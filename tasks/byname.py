"""``fab gunicorn``, ``fab systemd`` and so on: the steps server, manager and proxy by the name of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from invoke.context import Context

from .engine import configuration, hosts, tls
from .engine.configuration import Building, Part
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import kinds
from .engine.verb import verb


def server(name: str) -> Any:
    """The step of a server."""
    return _step(name, "server", 3, lambda host: host.settings.web.server, configuration.server_part)


def manager(name: str) -> Any:
    """The step of a manager."""
    return _step(name, "manager", 4, lambda host: host.settings.manager.name, configuration.manager_part)


def proxy(name: str) -> Any:
    """The step of a proxy."""
    return _step(name, "proxy", 5, lambda host: name, configuration.site_part, tls.bring_to)


def _step(
    name: str,
    kind: str,
    number: int,
    used: Callable[[Host], str],
    part: Callable[[Building], Part],
    before: Callable[[list[Host]], None] = lambda targets: None,
) -> Any:
    """One that refuses where the stage uses another program, and names that.

    :param before: what else is done, first.
    """

    def step(c: Context) -> None:
        targets = hosts.of(c)
        for host in targets:
            if part in configuration.parts(host.settings) and (other := used(host)) != name:
                raise UsageError(
                    kinds.OTHER_PROGRAM, f"{host.name} has {other} as its {kind}, not {name}. Run: fab {kind}"
                )
        before(targets)
        configuration.write(targets, part)

    step.__name__ = step.__qualname__ = name
    step.__doc__ = f"Step {number}: as {kind}, where that is {name}."
    return verb()(step)
