"""What the tests share: a Docker engine, the image of a bare server, and servers made from it."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.prepared import ensure_prepared_image
from tests.project import Project
from tests.target import Target, ensure_engine, ensure_image, ensure_programs

LONGEST_FIRST = ("tests/contract/", "tests/faults/", "tests/integration/")


def pytest_configure() -> None:
    """One seed for the whole run, its parallel processes included; on a loaded machine an example may take its time."""
    os.environ.setdefault("FAULTS_SEED", str(random.randrange(10**6)))
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background commands ignore it


def pytest_report_header() -> str:
    return f"FAULTS_SEED={os.environ['FAULTS_SEED']} (chooses what tests/faults breaks; set it to break the same again)"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of one file run in one process, for they share a server; but each pair of the contract has its own."""
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            pair = nodeid.partition("[")[2] if "/contract/" in nodeid else ""
            return f"{super()._split_scope(nodeid)}{pair}"

    return ByServer(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that the processes come to an end together."""

    def turn(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(LONGEST_FIRST) if name in item.nodeid), len(LONGEST_FIRST))

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def readable_stdin() -> Iterator[None]:
    """An empty stdin: Fabric reads it while a command runs, and pytest's own stand-in refuses to be read."""
    before = sys.stdin
    with Path(os.devnull).open() as empty:
        sys.stdin = empty
        yield
        sys.stdin = before


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine that answers."""
    ensure_engine()


@pytest.fixture(scope="session")
def programs() -> None:
    """nginx, logrotate, openssl and rsync on this machine."""
    ensure_programs()


@pytest.fixture(scope="session")
def image(engine: None) -> str:
    """The image of a bare server: nothing but systemd, sshd, sudo and Python."""
    return ensure_image()


@pytest.fixture
def bare_server(image: str) -> Iterator[Target]:
    """A server of the test's own, fresh from the image."""
    with Target.start(image) as server:
        yield server


@pytest.fixture(scope="module")
def shared_bare_server(image: str) -> Iterator[Target]:
    """A server that the tests of one module share, fresh from the image for the first of them."""
    with Target.start(image) as server:
        yield server


@pytest.fixture(scope="session")
def prepared_image(image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of a server that `fab setup` has prepared for both applications, made once and kept.

    Named by what decides what setup does, so that a change there makes it anew.
    """
    return ensure_prepared_image(image, tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def server(prepared_image: str) -> Iterator[Target]:
    """A prepared server of the test's own."""
    with Target.start(prepared_image) as target:
        yield target


@pytest.fixture(scope="module")
def shared_server(prepared_image: str) -> Iterator[Target]:
    """A prepared server that the tests of one module share."""
    with Target.start(prepared_image) as target:
        yield target


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project of the Django application."""
    return Project(tmp_path / "project")
