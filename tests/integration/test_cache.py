"""What nginx keeps of the application's answers: for whom, how long, and never past a switch."""

from __future__ import annotations

import functools
import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.support import DOMAIN, Answer, ask, meanwhile, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
APP = "pages:application"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("cache") / "project", "tinysite")
    stage(project, shared_server)
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    return project


def stage(project: Project, server: Target, name: str = "gunicorn", **more: object) -> None:
    paths = {"/page/": {"cache": {}}, "/page/short/": {"cache": {"valid": 1}}, "/page/never/": {"cache": False}}
    site = {"paths": paths, "cache_status": True, **more}
    project.stage({"web1": server}, web={"app": APP, "server": name}, site=site)


def cached(answer: Answer) -> str | None:
    return answer.headers["X-Cache"]


def test_an_answer_is_kept_and_what_is_for_one_person_is_not(site: Project, shared_server: Target) -> None:
    first, second = (ask(shared_server, "/page/a") for _ in range(2))
    assert [cached(answer) for answer in (first, second)] == ["MISS", "HIT"]
    assert first.body == second.body
    for headers in ({"Authorization": "Basic x"}, {"Cookie": "a=b; sessionid=1"}, {"Cookie": "session=1"}):
        own = ask(shared_server, "/page/a", **headers)
        assert (cached(own), own.body == first.body) == ("BYPASS", False)
    assert cached(ask(shared_server, "/page/a", Cookie="other=1; nosessionid=2")) == "HIT"
    for query in ("cookie=1", "private=1"):
        assert {cached(ask(shared_server, f"/page/b?{query}")) for _ in range(3)} == {"MISS"}
    assert [cached(ask(shared_server, path)) for path in ("/page/never/", "/page/never/", "/")] == [None] * 3
    assert cached(ask(shared_server, "/page/a", User_Agent="fabrelease")) == "BYPASS"


def test_the_cache_is_nginx_s_alone(site: Project, shared_server: Target) -> None:
    ask(shared_server, "/page/c")
    assert sh(shared_server, 'stat -c "%U %a" "$1/cache"', ROOT).strip() == "www-data 700"
    assert sh(shared_server, 'find "$1/cache" -type f | wc -l', ROOT).strip() != "0"
    assert site.status()["problems"] == []
    assert "nothing to do: the server is ready" in site.fab("-H", "prod", "setup").stderr


def test_what_is_too_old_is_answered_while_the_application_fails(site: Project, shared_server: Target) -> None:
    kept = ask(shared_server, "/page/short/").body
    wait_for(lambda: cached(ask(shared_server, "/page/short/")) == "STALE" or None)
    wait_for(lambda: ask(shared_server, "/page/short/").body != kept)  # fetched meanwhile
    sh(shared_server, "supervisorctl stop all")
    try:
        assert wait_for(lambda: cached(ask(shared_server, "/page/short/")) in ("STALE", "UPDATING"))
        assert ask(shared_server, "/page/short/").status == 200
        assert ask(shared_server, "/").status == 502
    finally:
        sh(shared_server, "supervisorctl start all")
    wait_for(lambda: ask(shared_server).status == 200)


@contextmanager
def visitors(server: Target, path: str) -> Iterator[list[list[str]]]:
    """Ask for a page without a pause; the revisions that answered, of each visitor in order."""
    seen: list[list[str]] = [[], [], []]

    def visit(mine: list[str]) -> None:
        answer = ask(server, path)
        mine.append(answer.body.split()[0] if answer.status == 200 else str(answer.status))

    with meanwhile(*(functools.partial(visit, mine) for mine in seen)):
        yield seen


def changes(seen: list[str]) -> list[str]:
    return [now for before, now in zip(["", *seen], seen, strict=False) if now != before]


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_a_switch_and_a_rollback_are_seen_at_once_whatever_is_kept(
    site: Project, shared_server: Target, server: str
) -> None:
    stage(site, shared_server, server)
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    with visitors(shared_server, "/page/busy") as seen:
        wait_for(lambda: all(len(mine) > 20 for mine in seen))
        site.fab("-H", "prod", "deploy", "--ref", "two")
        assert ask(shared_server, "/page/busy").body.startswith("two ")
        settle(shared_server)
        before = ask(shared_server, "/page/busy").body
        site.fab("-H", "prod", "rollback")
        assert ask(shared_server, "/page/busy").body.startswith("one ")
        site.fab("-H", "prod", "deploy", "--ref", "two")
        after = ask(shared_server, "/page/busy").body
        assert after.startswith("two ")
        assert after != before  # another release, though of the same revision
    assert [changes(mine) for mine in seen] == [["one", "two", "one", "two"]] * 3


def test_an_answer_of_the_next_release_is_not_kept_as_one_of_the_release_before(
    site: Project, shared_server: Target
) -> None:
    """The request comes before the switch; its body, without which nginx asks nobody, after it."""
    stage(site, shared_server)
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    with socket.create_connection((shared_server.host, shared_server.http_port), 60) as late:
        late.sendall(f"GET /page/late HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 1\r\n\r\n".encode())
        site.fab("-H", "prod", "deploy", "--ref", "two")
        late.sendall(b"x")
        answer = http.client.HTTPResponse(late)
        answer.begin()
        assert (answer.headers["X-Cache"], answer.read().split()[0]) == ("MISS", b"two")
    site.fab("-H", "prod", "rollback")
    after = ask(shared_server, "/page/late")
    assert (cached(after), after.body.split()[0]) == ("MISS", "one")
