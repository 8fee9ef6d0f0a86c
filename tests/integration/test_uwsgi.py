"""uWSGI, from PyPI and from Debian: its own protocol from nginx to the application, and what is special to it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.support import ask, children, current, programs, revision, settle, sh, wait_for
from tests.load import campaign
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
TELLS = """\
import json
from tinysite import application as tinysite


def application(environ, start_response):
    if not environ["PATH_INFO"].startswith("/env"):
        return tinysite(environ, start_response)
    told = {name: value for name, value in environ.items() if isinstance(value, str)}
    told["scheme"] = environ["wsgi.url_scheme"]
    told["body"] = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""
FORGED = {
    "X_Forwarded_For": "203.0.113.66",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Protocol": "ssl",
    "X_Forwarded_Ssl": "on",
    "X_Forwarded_Host": "evil.example.com",
    "X_Forwarded_Port": "443",
    "X_Forwarded_Prefix": "/evil",
    "X_Real_IP": "203.0.113.66",
    "X_Scheme": "https",
    "Forwarded": "for=203.0.113.66",
    "Proxy": "http://203.0.113.66",
    "Script_Name": "/evil",
    "Path_Info": "/evil",
    "Remote_User": "admin",
    "Https": "on",
}


def a_project(place: Path, server: Target, **changes: object) -> Project:
    """The smallest application, under uWSGI, with an address that tells what it was given."""
    project = Project(place / "project", "tinysite")
    project.repository.git("checkout", "--quiet", "one")
    (project.path / "app/tells.py").write_text(TELLS)
    project.repository.commit("tells")
    project.stage({"web1": server}, **{"web": {"app": "tells:application", "server": "uwsgi"}, **changes})
    return project


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, shared_server: Target) -> Project:
    """It is live."""
    project = a_project(tmp_path_factory.mktemp("uwsgi"), shared_server)
    project.fab("-H", "prod", "setup")
    project.fab("-H", "prod", "deploy", "--ref", "tells")
    settle(shared_server)
    return project


def test_it_is_live_as_its_user_and_nginx_speaks_uwsgi_to_it(site: Project, shared_server: Target) -> None:
    (web,) = site.status()["programs"]
    assert (web["state"], web["workers"], web["user"]) == ("RUNNING", 2, "tinysite")
    assert "uwsgi_pass tinysite;" in sh(shared_server, f"cat {ROOT}/current/config/sites/*.conf")
    told = ask(shared_server, "/env?a=b").json
    assert (told["QUERY_STRING"], told["REQUEST_METHOD"], told.get("SCRIPT_NAME", "")) == ("a=b", "GET", "")


def test_what_a_client_forges_changes_nothing_that_the_application_sees(site: Project, shared_server: Target) -> None:
    honest, forged = ask(shared_server, "/env").json, ask(shared_server, "/env", **FORGED).json
    for told in (honest, forged):
        assert told.pop("REMOTE_PORT")
    assert forged.pop("HTTP_HTTPS") == "on"  # a header like any other: HTTPS itself is nginx's
    assert forged == honest
    assert (honest["scheme"], honest["HTTP_HOST"]) == ("http", "demo.example.net")


def test_a_body_and_a_large_header_arrive_whole(site: Project, shared_server: Target) -> None:
    assert ask(shared_server, "/env", method="POST", body="x" * 100_000).json["body"] == "x" * 100_000
    assert ask(shared_server, "/env", Cookie="c" * 7000).json["HTTP_COOKIE"] == "c" * 7000


def test_a_worker_and_the_master_come_back_by_themselves(site: Project, shared_server: Target) -> None:
    (master,) = [pid for _, pid in programs(shared_server).values()]
    worker = children(shared_server, master)[0]
    sh(shared_server, 'kill -9 "$1"', str(worker))
    assert wait_for(lambda: len(children(shared_server, master)) == 2 and worker not in children(shared_server, master))
    sh(shared_server, 'kill -9 "$1"', str(master))
    assert wait_for(lambda: revision(shared_server) == "one")
    assert site.status()["ok"]


def test_an_option_that_uwsgi_does_not_know_is_refused_before_anything_is_touched(
    site: Project, shared_server: Target
) -> None:
    before = current(shared_server, ROOT)
    web = {"app": "tells:application", "server": "uwsgi"}
    site.stage({"web1": shared_server}, web={**web, "settings": {"harakirri": 20}})
    said = site.fab("-H", "prod", "deploy", "--ref", "tells", status=1).stderr
    assert "uWSGI has no option harakirri" in said
    site.stage({"web1": shared_server}, web={**web, "app": "tells:nothing"})
    assert "unable to load app" in site.fab("-H", "prod", "deploy", "--ref", "tells", status=1).stderr
    site.stage({"web1": shared_server}, web=web)
    assert current(shared_server, ROOT) == before
    assert revision(shared_server) == "one"


def test_below_a_path_the_application_is_told_it(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"app": "tells:application", "server": "uwsgi"}, site={"path": "/sub"})
    site.fab("-H", "prod", "deploy", "--ref", "tells")
    told = ask(shared_server, "/sub/env").json
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/sub", "/env")
    site.fab("-H", "prod", "rollback")  # to where it was not below a path: it is asked as it was made to answer


def test_from_gunicorn_to_uwsgi_and_back_no_request_is_lost(shared_server: Target, tmp_path: Path) -> None:
    project = a_project(tmp_path, shared_server, web={"app": "tells:application", "server": "gunicorn"})
    project.also({"web1": shared_server}, "prod", web={"app": "tells:application", "server": "gunicorn"})
    project.fab("-H", "prod", "deploy", "--ref", "tells")
    settle(shared_server)
    address = (shared_server.host, shared_server.http_port)
    with Load(address, campaign.live(shared_server), label="change", reloads=True) as load:
        load.wait(200, time.monotonic() + 60)
        project.stage({"web1": shared_server}, web={"app": "tells:application", "server": "uwsgi"})
        load.sequence.begin()
        project.fab("-H", "prod", "deploy", "--ref", "tells")
        load.wait(200, time.monotonic() + 60)
        load.sequence.begin()
        project.fab("-H", "prod", "rollback")
        load.wait(200, time.monotonic() + 60)
    # While nginx takes on the site that speaks otherwise, its old workers still ask the old release (docs/cutover.md).
    both = [float(failure.split()[0]) for failure in load.failures if "Wrong went back" in failure]
    assert [failure for failure in load.failures if "Wrong went back" not in failure] == []
    assert all(min(at - min(both), max(both) - at) < 2 for at in both)
    assert "proxy_pass" in sh(shared_server, f"cat {ROOT}/current/config/sites/*.conf")


@pytest.mark.parametrize("manager", ["systemd"])
def test_under_another_manager_it_serves_and_is_ready_when_it_says_so(
    shared_server: Target, tmp_path: Path, manager: str
) -> None:
    project = a_project(tmp_path, shared_server)
    project.also({"web1": shared_server}, "prod", web={"app": "tells:application", "server": "uwsgi"}, manager=manager)
    project.fab("-H", "prod", "setup")
    project.fab("-H", "prod", "deploy", "--ref", "tells")
    settle(shared_server)
    (web,) = project.status()["programs"]
    assert (web["state"], web["workers"]) == ("running", 2)
    assert ask(shared_server, "/env").json["wsgi.url_scheme"] == "http"


def test_debian_s_uwsgi_with_its_plugin_serves_from_the_release_s_virtualenv(shared_server: Target, tmp_path: Path) -> None:
    project = a_project(tmp_path, shared_server)
    web = {"app": "tells:application", "server": "uwsgi", "settings": {"plugins": "python3"}}
    project.also({"web1": shared_server}, "prod", web=web)
    assert "package uwsgi-plugin-python3" in project.fab("-H", "prod", "setup").stderr
    project.fab("-H", "prod", "deploy", "--ref", "tells")
    settle(shared_server)
    (web_program,) = project.status()["programs"]
    assert sh(shared_server, 'readlink "/proc/$1/exe"', str(web_program["pid"])).startswith("/usr/bin/uwsgi")
    assert revision(shared_server) == "one"
    environment = sh(shared_server, f"readlink -f {ROOT}/current/env").strip()
    assert sh(shared_server, f"ls {environment}/lib/python3*/site-packages | grep -c -i pyuwsgi || true").strip() == "0"
