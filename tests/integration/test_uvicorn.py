"""What is special to uvicorn: options, paths, workers, lifespan."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.support import ask, children, current, settle, sh, unharmed, wait_for
from tests.project import Project
from tests.target import Target

LIFESPAN = "/srv/asgisite/shared/data/lifespan"


@pytest.fixture
def site(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", "asgisite")


def test_a_request_is_told_as_nginx_got_it_and_below_a_path_the_application_knows_its_place(
    site: Project, shared_server: Target
) -> None:
    site.stage({"web1": shared_server})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    told = ask(shared_server, "/where/a").json
    assert (told["path"], told["root_path"], told["url"]) == ("/where/a", "", "http://demo.example.net/")
    assert told["client"] not in (None, "", "127.0.0.1")
    lied_to = ask(shared_server, "/where/a", X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https").json
    assert (lied_to["client"], lied_to["scheme"]) == (told["client"], "http")

    for bind in ("socket", "127.0.0.1:8004"):
        site.stage({"web1": shared_server}, web={"bind": bind}, site={"path": "/a.b", "upstream_keepalive": 4})
        site.fab("-H", "prod", "deploy", "--ref", "one")
        told = ask(shared_server, "/a.b/where/a%3Fb%20c?d").json
        assert (told["root_path"], told["path"]) == ("/a.b", "/a.b/where/a?b c")
        assert told["url"] == "http://demo.example.net/a.b/"
        assert (told["scheme"], told["client"] in (None, "", "127.0.0.1")) == ("http", False)
        assert ask(shared_server, "/a.b?x").headers["Location"] == "/a.b/?x"
        assert ask(shared_server, "/axb/where/a").status == 404


def test_wrong_options_and_applications_are_refused_before_anything_starts(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    refused = {
        "timeout_keepalive": (3, "uvicorn has no setting timeout_keepalive; did you mean timeout_keep_alive?"),
        "timeout_keep_alive": ("soon", "Invalid value for '--timeout-keep-alive'"),
        "loop": ("slow", "Error loading custom loop"),
    }
    with unharmed(shared_server, "asgisite"):
        for name, (value, message) in refused.items():
            site.stage({"web1": shared_server}, web={"settings": {name: value}})
            assert message in site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
        site.stage({"web1": shared_server}, web={"workers": 1, "settings": {"limit_max_requests": 9}})
        assert "Set web.workers to 2 or more" in site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
        site.stage({"web1": shared_server}, web={"app": "asgisite:nothing"})
        assert '"nothing" not found' in site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
        site.stage({"web1": shared_server})
        began = time.monotonic()
        said = site.fab("-H", "prod", "deploy", "--ref", "broken-import", status=1).stderr
        assert "this revision cannot be imported" in said
        assert time.monotonic() - began < 60


def test_options_reach_uvicorn_and_a_killed_one_is_started_in_spite_of_its_socket_s_name(
    site: Project, shared_server: Target
) -> None:
    options = {"access_log": False, "header": ["X-One:1", "X-Two:a b"], "ws_per_message_deflate": False, "factory": False}
    site.stage({"web1": shared_server}, web={"settings": options})
    site.fab("-H", "prod", "deploy", "--ref", "two")
    answer = ask(shared_server)
    assert (answer.headers["X-One"], answer.headers["X-Two"]) == ("1", "a b")
    settle(shared_server)
    (program,) = site.status()["programs"]
    assert program["workers"] == 2
    assert len(children(shared_server, program["pid"])) == 3  # with Python's resource_tracker
    sh(shared_server, f"kill -9 {program['pid']}")
    assert wait_for(lambda: site.status()["programs"][0]["pid"] not in (0, program["pid"]))
    assert wait_for(lambda: site.status()["ok"])
    assert ask(shared_server).status == 200


def test_each_process_has_its_lifespan_and_one_alone_is_its_own_worker(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"workers": 1})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    first = current(shared_server, "/srv/asgisite")
    settle(shared_server)
    (program,) = site.status()["programs"]
    assert (program["workers"], children(shared_server, program["pid"])) == (1, [])
    assert ask(shared_server, "/where/").json["life"] == ["startup"]
    site.stage({"web1": shared_server}, web={"workers": 3})
    site.fab("-H", "prod", "deploy", "--ref", "two")
    second = current(shared_server, "/srv/asgisite")
    settle(shared_server)
    counted = Counter(sh(shared_server, f"cat {LIFESPAN}").splitlines())
    assert counted[f"startup {first}"] == counted[f"shutdown {first}"] == 1
    assert (counted[f"startup {second}"], counted[f"shutdown {second}"]) == (3, 0)


def test_django_is_served_by_its_asgi_and_goes_there_from_wsgi_and_back(server: Target, project: Project) -> None:
    project.stage({"web1": server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    project.stage({"web1": server}, web={"app": "djangosite.asgi:application", "server": "uvicorn"})
    project.fab("-H", "prod", "deploy", "--ref", "two")
    assert (ask(server).status, ask(server).headers["X-Revision"]) == (200, "two")
    settle(server)
    assert "-m uvicorn" in command_of(server, project)
    project.fab("-H", "prod", "rollback")
    assert ask(server).headers["X-Revision"] == "one"
    settle(server)
    assert "-m gunicorn" in command_of(server, project)
    assert project.status()["ok"]


def command_of(server: Target, project: Project) -> str:
    (program,) = project.status()["programs"]
    return server.exec(["cat", f"/proc/{program['pid']}/cmdline"]).stdout.decode().replace("\0", " ")
