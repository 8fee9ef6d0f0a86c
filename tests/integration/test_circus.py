"""circus runs gunicorn on a path, and copies of chaussette on a socket that it opens itself."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.integration.support import current, revision, settle, sh, wait_for
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

FOLDER = "/run/fabrelease-circus/tinysite"
WORKER = {"worker": "sleep 1000"}
CHAUSSETTE = {"server": "chaussette", "workers": 3}


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Target]:
    """A server set up for circus, with the first revision live."""
    project = Project(tmp_path_factory.mktemp("circus") / "project", "tinysite")
    stage(project, shared_server)
    project.fab("-H", "prod", "setup")
    deploy(project, shared_server, "one")
    return project, shared_server


def stage(project: Project, server: Target, **changes: Any) -> None:
    project.stage({"web1": server}, **{"manager": "circus", "processes": WORKER, **changes})


def deploy(project: Project, server: Target, ref: str) -> None:
    project.fab("-H", "prod", "deploy", "--ref", ref)
    settle(server)


def programs(project: Project) -> dict[str, dict[str, Any]]:
    return {program["role"]: program for program in project.status()["programs"]}


def test_copies_on_one_socket_and_no_request_is_lost_from_one_server_to_the_other_and_back(
    site: tuple[Project, Target],
) -> None:
    project, server = site
    stage(project, server, web=CHAUSSETTE)
    with Load((server.host, server.http_port), current(server, "/srv/tinysite"), label="circus") as load:
        for command in (["deploy", "--ref", "two"], ["deploy", "--ref", "one"], ["rollback"], ["rollback"]):
            load.wait(sum(load.done.values()) + 100, time.monotonic() + 60)
            load.sequence.begin()
            project.fab("-H", "prod", *command)
        load.wait(sum(load.done.values()) + 100, time.monotonic() + 60)
    assert load.failures == []
    deploy(project, server, "two")
    web = programs(project)["web"]
    assert web["workers"] == 3
    assert sh(server, "pgrep -c -u tinysite -f chaussette.server").strip() == "3"
    assert revision(server) == "two"
    assert len(sh(server, f"ls {FOLDER}/programs").split()) == 2


def test_another_user_reaches_no_socket_of_circus_and_writes_nothing_that_root_reads(
    site: tuple[Project, Target],
) -> None:
    _, server = site
    ask = (
        "import socket\n"
        f"for name in ('control', 'events'):\n"
        "    try:\n"
        f"        socket.socket(socket.AF_UNIX).connect('{FOLDER}/' + name)\n"
        "        print('reached', name)\n"
        "    except PermissionError:\n"
        "        print('refused')\n"
    )
    assert sh(server, 'runuser -u tinysite -- python3 -c "$1"', ask).split() == ["refused", "refused"]
    assert sh(server, f"stat -c '%U %a' {FOLDER}").split() == ["root", "700"]
    assert sh(server, "ss -Hlntup | grep -i circus || true") == ""
    place = "/opt/fabrelease/circus /etc/fabrelease /etc/systemd/system /srv/tinysite/current/config"
    hostile = f"runuser -u tinysite -- find {place} -writable ! -type l 2>/dev/null || true"
    assert sh(server, hostile) == ""
    assert sh(server, "find /opt/fabrelease/circus /etc/fabrelease ! -user root") == ""


def test_the_user_puts_nothing_where_circus_opens_its_socket(site: tuple[Project, Target]) -> None:
    project, server = site
    stage(project, server, web=CHAUSSETTE)
    deploy(project, server, "two")
    run = "/srv/tinysite/current/run"
    for attack in (f"rm {run}/web.sock", f"touch {run}/x", f"ls {run}"):
        assert server.exec(["runuser", "-u", "tinysite", "--", "sh", "-c", attack], check=False).returncode
    assert sh(server, f"stat -c '%U %G %a' {run}/").split() == ["root", "www-data", "2750"]
    sh(server, "systemctl restart fabrelease-circus@tinysite")
    assert wait_for(lambda: revision(server) == "two")


def test_words_and_values_reach_the_program_as_they_are(site: tuple[Project, Target]) -> None:
    project, server = site
    words = ["$(circus.env.HOME)", "((circus.wid))", "$WID", "a ;b", "it's"]
    line = "python -c 'import json, os, sys, time; print(json.dumps([sys.argv[1:], os.environ[\"ODD\"]]), flush=True); time.sleep(999)' "
    odd = "$(circus.wid) %(x)s 'q' \"w\" ; é\nnext"
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    stage(project, server, processes={"odd": line + quoted}, env={"ODD": odd})
    deploy(project, server, "two")
    assert wait_for(lambda: sh(server, "cat /srv/tinysite/logs/odd.log"))
    assert json.loads(sh(server, "tail -n 1 /srv/tinysite/logs/odd.log")) == [words, odd]


def test_the_manager_changes_with_a_deploy_and_back_with_a_rollback(site: tuple[Project, Target]) -> None:
    project, server = site
    stage(project, server)
    deploy(project, server, "one")
    stage(project, server, manager="supervisor")
    deploy(project, server, "two")
    assert sh(server, f"ls {FOLDER}/programs") == ""
    assert programs(project)["web"]["state"] == "RUNNING"
    project.fab("-H", "prod", "rollback")
    settle(server)
    assert revision(server) == "one"
    assert programs(project)["web"]["state"] == "active"
    assert "tinysite" not in sh(server, "supervisorctl status || true")


def test_what_left_its_session_goes_with_its_release(site: tuple[Project, Target]) -> None:
    project, server = site
    stage(project, server, processes={"hostile": "setsid -f sleep 4242; sleep 1000"})
    deploy(project, server, "two")
    assert wait_for(lambda: sh(server, "pgrep -f 'sleep 4242' -u tinysite || true"))
    stage(project, server)
    deploy(project, server, "one")
    assert sh(server, "pgrep -f 'sleep 4242' -u tinysite || true") == ""
    assert project.status()["problems"] == []


def test_settings_of_chaussette_are_checked_and_it_serves_on_a_port(site: tuple[Project, Target]) -> None:
    project, server = site
    stage(project, server, web={**CHAUSSETTE, "settings": {"backend": "waitress", "log_levl": "info"}})
    said = project.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    assert "chaussette has no setting log_levl; did you mean log_level?" in said
    assert "backend: 'waitress' does not work here; there are: wsgiref" in said
    stage(project, server, web={**CHAUSSETTE, "settings": {"log_level": "info"}, "bind": "127.0.0.1:8004"})
    deploy(project, server, "two")
    assert revision(server) == "two"
    assert programs(project)["web"]["workers"] == 3
    stage(project, server)
    deploy(project, server, "one")
    assert sh(server, "ss -Hltn sport = :8004") == ""
