"""Two releases that speak otherwise, each to be reached by the name of the other's socket."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import sockets


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        (tmp_path / name / "run").mkdir(parents=True)
    return tmp_path / "one", tmp_path / "two"


def address(place: Path, name: str) -> str:
    return f"unix:{place}/run/{name}"


def test_what_is_asked_by_the_other_name_leads_to_the_other_release(places: tuple[Path, Path]) -> None:
    one, two = places
    for _ in range(2):  # as a second cutover between the two would
        sockets.bridge(str(one), address(one, "web.sock"), str(two), address(two, "uwsgi.sock"))
        assert os.readlink(two / "run/web.sock") == f"{one}/run/web.sock"
        assert os.readlink(one / "run/uwsgi.sock") == f"{two}/run/uwsgi.sock"


def test_sockets_of_one_name_and_ports_need_nothing(places: tuple[Path, Path]) -> None:
    one, two = places
    sockets.bridge(str(one), address(one, "web.sock"), str(two), address(two, "web.sock"))
    sockets.bridge(str(one), "127.0.0.1:8004", str(two), "127.0.0.1:8005")
    assert [*os.listdir(one / "run"), *os.listdir(two / "run")] == []


def test_from_a_socket_to_a_port_the_old_name_leads_to_the_old_release(places: tuple[Path, Path]) -> None:
    one, two = places
    sockets.bridge(str(one), address(one, "web.sock"), str(two), "127.0.0.1:8004")
    assert os.readlink(two / "run/web.sock") == f"{one}/run/web.sock"
    assert os.listdir(one / "run") == []


def test_a_directory_that_the_user_swapped_for_a_link_is_not_followed(places: tuple[Path, Path], tmp_path: Path) -> None:
    one, two = places
    (tmp_path / "etc").mkdir()
    (two / "run").rmdir()
    (two / "run").symlink_to(tmp_path / "etc")
    with pytest.raises(OSError, match="Not a directory"):
        sockets.bridge(str(one), address(one, "web.sock"), str(two), address(two, "uwsgi.sock"))
    assert os.listdir(tmp_path / "etc") == []


def test_what_the_user_put_at_the_name_of_the_other_socket_is_put_aside(places: tuple[Path, Path]) -> None:
    one, two = places
    (one / "run/uwsgi.sock/full").mkdir(parents=True)
    (two / "run/web.sock").touch()
    sockets.bridge(str(one), address(one, "web.sock"), str(two), address(two, "uwsgi.sock"))
    assert os.readlink(one / "run/uwsgi.sock") == f"{two}/run/uwsgi.sock"
    assert os.readlink(two / "run/web.sock") == f"{one}/run/web.sock"
