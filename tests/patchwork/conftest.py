"""Both implementations of patchwork's functions, and a server to run them on."""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fabric import Connection
from invoke.exceptions import UnexpectedExit

from fabrelease.tasks.engine import patchwork as ours
from tests.target import Target

IMPLEMENTATIONS = ("original", "ours")


@functools.cache
def load_original() -> SimpleNamespace:
    """patchwork 1.0.1; it imports a module that Invoke no longer has, so one stands in for it."""
    six = ModuleType("invoke.vendor.six")
    six.string_types = (str,)  # type: ignore[attr-defined]
    sys.modules.setdefault("invoke.vendor.six", six)
    files = pytest.importorskip("patchwork.files", reason="patchwork 1.0.1 is not here: tox -e patchwork")
    from patchwork import info, packages, transfers, util

    return SimpleNamespace(
        **{name: getattr(files, name) for name in ("directory", "exists", "contains", "append")},
        distro_name=info.distro_name,
        distro_family=info.distro_family,
        package=packages.package,
        rsync=transfers.rsync,
        set_runner=util.set_runner,
    )


@dataclass
class Patchwork:
    """One implementation: its name, and its functions as attributes."""

    name: str
    functions: Any

    def __getattr__(self, function: str) -> Callable[..., Any]:
        return getattr(self.functions, function)

    def expect(self, outcome: object, *, original: object, ours: object) -> None:
        """Assert what each implementation does: the original's flaw, and our repair of it."""
        assert outcome == {"original": original, "ours": ours}[self.name]


@pytest.fixture(params=IMPLEMENTATIONS)
def pw(request: pytest.FixtureRequest) -> Patchwork:
    """Each implementation in turn."""
    functions = ours if request.param == "ours" else load_original()
    return Patchwork(request.param, functions)


@pytest.fixture(scope="module")
def c(shared_bare_server: Target) -> Iterator[Connection]:
    """A connection of a user who may use sudo without a password."""
    with shared_bare_server.connection() as connection:
        connection.open()
        connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # 40 ms a command
        yield connection


@pytest.fixture
def d(c: Connection) -> Iterator[str]:
    """A directory of the test's own on the server."""
    path = c.run("mktemp -d", hide=True).stdout.strip()
    yield path
    c.sudo(f"rm -rf {path}")


@pytest.fixture
def read(shared_bare_server: Target) -> Callable[[str], str | None]:
    """Reads a file on the server past everything that is tested; None where there is none."""

    def read_file(path: str) -> str | None:
        result = shared_bare_server.exec(["cat", "--", path], check=False)
        return result.stdout.decode() if result.returncode == 0 else None

    return read_file


@pytest.fixture
def write(shared_bare_server: Target) -> Callable[[str, str], None]:
    """Writes a file on the server, readable for everyone."""

    def write_file(path: str, text: str) -> None:
        shared_bare_server.exec(["dd", f"of={path}", "status=none"], input=text.encode())
        shared_bare_server.exec(["chmod", "0666", path])

    return write_file


def attempt(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns, or "failed" where a command of its own failed."""
    try:
        return function(*args, **kwargs)
    except UnexpectedExit:
        return "failed"
