"""Every server under every manager that can run it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fabrelease.tasks.engine.remote import drivers


@dataclass(frozen=True)
class Variant:
    """A server as the contract tries it.

    :ivar server: its driver.
    :ivar app: which of the sample applications.
    :ivar web: what a stage file says below ``web``.
    :ivar packages: what its virtualenv needs beside the server.
    """

    server: str
    app: str = "tinysite"
    web: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


VARIANTS = {
    "gunicorn-sync": Variant("gunicorn", web={"workers": 8}),
    "gunicorn-gthread": Variant("gunicorn", web={"settings": {"worker_class": "gthread", "threads": 8}}),
    "gunicorn-asgi": Variant("gunicorn", "asgisite", web={"settings": {"worker_class": "asgi"}}),
    "uvicorn": Variant("uvicorn", "asgisite"),
    "uvicorn-alone": Variant("uvicorn", "asgisite", web={"workers": 1}),
    "uwsgi": Variant("uwsgi", web={"settings": {"threads": 4}}),
    "granian": Variant("granian", "asgisite"),
    "granian-wsgi": Variant("granian", web={"settings": {"interface": "wsgi"}}),
    "chaussette": Variant("chaussette", web={"workers": 1}),
    "gunicorn-gevent": Variant("gunicorn", web={"settings": {"worker_class": "gevent"}}, packages=("gevent>=24", "packaging")),
}


@dataclass(frozen=True)
class Pair:
    """A variant of a server, and a manager."""

    variant: str
    manager: str

    def __str__(self) -> str:
        return f"{self.variant} under {self.manager}"

    def settings(self) -> dict[str, Any]:
        """What a stage file says for it."""
        variant = VARIANTS[self.variant]
        return {
            "web": {"server": variant.server, **variant.web},
            "manager": self.manager,
            "python": {"packages": list(variant.packages)},
        }


def can_be(variant: Variant, manager: str) -> bool:
    """Whether server and manager agree on how a socket comes to the server."""
    return bool(drivers.server(variant.server).takes & drivers.manager(manager).gives)


ALL = [
    Pair(name, manager)
    for name, variant in VARIANTS.items()
    for manager in drivers.packaged("managers")
    if can_be(variant, manager)
]


def once_each() -> list[Pair]:
    """As few pairs as have each server and each manager at least once."""
    chosen: list[Pair] = []
    for server in drivers.packaged("servers"):
        pairs = [pair for pair in ALL if VARIANTS[pair.variant].server == server]
        chosen.append(min(pairs, key=lambda pair: sum(pair.manager == other.manager for other in chosen)))
    missing = {pair.manager for pair in ALL} - {pair.manager for pair in chosen}
    return chosen + [next(pair for pair in ALL if pair.manager == manager) for manager in sorted(missing)]


PAIRS = ALL if os.environ.get("FABRELEASE_PAIRS") == "all" else once_each()
