"""Connections that stay, through nginx and through a deploy: WebSockets and server-sent events."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.integration.support import DOMAIN, ask, settle
from tests.project import Project
from tests.target import Target

PATHS = {"/ws/": {"websocket": True, "timeouts": {"read": 120}}, "/events/": {"stream": True}}
GRACE = 5
RESTART = 1012  # "Service Restart", RFC 6455's registry: come back


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("websocket") / "project", "asgisite")


def stage(site: Project, server: Target, path: str = "/", **web: Any) -> None:
    settings = {"timeout_graceful_shutdown": GRACE}
    site.stage({"web1": server}, web={"settings": settings, **web}, site={"paths": PATHS, "path": path})


def open_websocket(server: Target, path: str = "/ws/") -> ClientConnection:
    sock = socket.create_connection((server.host, server.http_port))
    return connect(f"ws://{DOMAIN}{path}", sock=sock, open_timeout=30)


def talk(connection: ClientConnection) -> str:
    connection.send("hello")
    return str(connection.recv(timeout=30))


def closed(connection: ClientConnection) -> tuple[int, float]:
    """With which code the server closed a connection, and when."""
    with pytest.raises(ConnectionClosed) as caught:
        connection.recv(timeout=60)
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, time.monotonic()


def events(server: Target, path: str = "/events/") -> Iterator[tuple[float, str]]:
    """The events of a stream, with the time when each has come."""
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=60)
    connection.request("GET", path, headers={"Host": DOMAIN})
    response = connection.getresponse()
    assert response.status == 200
    while line := response.readline():
        if line.strip():
            yield time.monotonic(), line.decode().removeprefix("data: ").strip()


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_are_told_to_come_back_and_find_the_new_release_and_no_deploy_waits_for_them(
    site: Project, shared_server: Target, workers: int
) -> None:
    stage(site, shared_server, workers=workers)
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    with open_websocket(shared_server) as connection, ThreadPoolExecutor(2) as pool:
        assert talk(connection) == "one hello"
        code = pool.submit(closed, connection)
        stream = pool.submit(list, events(shared_server))
        said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
        assert f"stops; 2 connections still open, which it ends within {GRACE} s (timeout_graceful_shutdown)" in said
        told = time.monotonic()
        assert code.result()[0] == RESTART
        assert code.result()[1] < told + GRACE
        with open_websocket(shared_server) as again:
            assert talk(again) == "two hello"
        last, seen = stream.result()[-1][0], {event for _, event in stream.result()}
        assert seen == {"one"}
        assert last < told + GRACE + 10
        assert next(event for _, event in events(shared_server)) == "two"
    settle(shared_server)
    assert site.status()["ok"]


def test_below_a_path_they_are_found_too_and_each_event_comes_at_once(site: Project, shared_server: Target) -> None:
    stage(site, shared_server, path="/live")
    site.fab("-H", "prod", "deploy", "--ref", "one")
    with open_websocket(shared_server, "/live/ws/") as connection:
        assert talk(connection) == "one hello"
    (first, _), (second, _) = (event for event, _ in zip(events(shared_server, "/live/events/"), range(2), strict=False))
    assert second - first < 5  # one every 0.1 s; buffered, some hundreds would come together


def test_a_path_that_does_not_say_so_gives_no_websocket_and_an_ordinary_request_is_served_everywhere(
    site: Project, shared_server: Target
) -> None:
    site.stage({"web1": shared_server}, site={"paths": {"/other/": {"websocket": True}}})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    with pytest.raises(InvalidStatus):
        open_websocket(shared_server)
    assert ask(shared_server, "/", Upgrade="websocket", Connection="upgrade").status == 200
    assert ask(shared_server, "/other/").status == 404  # the application's own answer
    assert ask(shared_server, "/other/").headers["Server"] == "nginx"


def test_a_prefix_that_nginx_serves_itself_is_refused(site: Project, tmp_path: Path) -> None:
    site.stage({}, site={"paths": {"/static/": {"stream": True}}})
    text = (site.path / "hosts/prod.yml").read_text()
    (site.path / "hosts/prod.yml").write_text(text.replace("hosts: {}", "hosts: {web1: {address: 127.0.0.1, port: 1}}"))
    done = site.fab("-H", "prod", "deploy", status=2)
    assert "nginx serves /static/ itself: it is in static" in done.stderr
