"""Deploys and rollbacks in turn under load, on one server, for one kind of server and proxy."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.load.client import Load
from tests.project import Project
from tests.target import Server, Target

EXECUTED = "/srv/tinysite/shared/data/executed"


@dataclasses.dataclass(frozen=True)
class Kind:
    """How the application is served.

    :ivar served_by: a name in SERVERS.
    """

    served_by: str
    upstream_keepalive: int = 0
    manager: str = "supervisor"

    def __str__(self) -> str:
        keepalive = f", upstream keepalive {'on' if self.upstream_keepalive else 'off'}"
        return f"{self.served_by}, {self.manager}{keepalive if self.served_by != 'uwsgi' else ''}"

    @property
    def source(self) -> str:
        """Which of the sample applications."""
        return "asgisite" if self.served_by in ASGI else "tinysite"

    def settings(self) -> dict[str, Any]:
        """What a stage file says for it: whatever is served, it is one application, in one place."""
        return {
            "app": "tinysite",
            "web": SERVERS[self.served_by],
            "manager": self.manager,
            "site": {"upstream_keepalive": self.upstream_keepalive},
        }


SERVERS: dict[str, dict[str, Any]] = {
    "sync": {"workers": 8, "settings": {"worker_class": "sync"}},
    "gthread": {"workers": 2, "settings": {"worker_class": "gthread", "threads": 8}},
    "asgi": {"workers": 2, "server": "gunicorn", "settings": {"worker_class": "asgi"}},
    "uvicorn": {"workers": 2, "server": "uvicorn"},
    "granian": {"workers": 2, "server": "granian"},
    "uwsgi": {"workers": 2, "server": "uwsgi", "settings": {"threads": 4}},
    "chaussette": {"workers": 1, "server": "chaussette"},
}
ASGI = ("asgi", "granian", "uvicorn")
KINDS = [
    *(Kind(server, keepalive) for server in ("sync", "gthread", "asgi", "uvicorn", "granian") for keepalive in (0, 16)),
    Kind("uwsgi"),  # whose protocol has one request a connection
    Kind("chaussette", manager="circus"),
    *(Kind("gthread", manager=manager) for manager in ("systemd", "circus", "runit")),
    Kind("uvicorn", manager="systemd"),
]


@dataclasses.dataclass
class Result:
    """What one campaign saw."""

    kind: Kind
    requests: Counter[str]
    cutovers: int
    failures: list[str]
    twice: list[str]
    never: list[str]
    seconds: float
    slowest: float
    cut_over_seconds: list[float]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, wrong or done twice."""
        return not (self.failures or self.twice or self.never)


def run(server: Server, directory: Path, kind: Kind, requests: int, cutovers: int, deadline: float) -> Result:
    """Ask at least so many times during so many cutovers.

    :param server: a prepared one.
    :param directory: where the project is made.
    :param deadline: by time.monotonic(), when to give up.
    """
    project = Project(directory, kind.source)
    project.stage({"web1": server}, **kind.settings())
    if kind.manager != "supervisor" or not isinstance(server, Target):  # it may be the kind before's
        project.fab("-H", "prod", "setup", "--take-over")
    project.fab("-H", "prod", "deploy", "--ref", "one")
    took: list[float] = []
    with Load((server.host, server.http_port), live(server), label=secrets.token_hex(4)) as load:
        for number in range(cutovers):
            load.wait(requests * number // cutovers, deadline)
            began = time.monotonic()
            load.sequence.begin()
            cut_over(project, number)
            took.append(time.monotonic() - began)
            wait_for_answer_of(load, live(server))
        load.wait(requests, deadline)
        seconds = time.monotonic() - load.began
    executed = Counter(server.exec(["cat", EXECUTED]).stdout.decode().split())
    return Result(
        kind,
        load.done,
        cutovers,
        load.failures,
        [key for key in load.posted if executed[key] > 1],
        [key for key, answered in load.posted.items() if answered and not executed[key]],
        seconds,
        load.slowest,
        took,
    )


def cut_over(project: Project, number: int) -> None:
    """Deploys and rollbacks in turn; each deploy is of the revision that is not live."""
    if number % 2:
        project.fab("-H", "prod", "rollback")
    else:
        project.fab("-H", "prod", "deploy", "--ref", "two")


def live(server: Server) -> str:
    """The release that `current` points to."""
    return Path(server.exec(["readlink", "/srv/tinysite/current"]).stdout.decode().strip()).name


def wait_for_answer_of(load: Load, release: str) -> None:
    """Wait until the release that is live has answered, and make sure that it is the newest that did."""
    deadline = time.monotonic() + 30
    while load.sequence.seen[-1] != release:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{release} is live and does not answer; {load.failures[:3]}")
        time.sleep(0.01)
