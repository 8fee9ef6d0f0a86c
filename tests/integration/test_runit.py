"""runit runs the programs of a release in slots of the application's own runsvdir."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.support import revision, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

FOLDER = "/run/fabrelease-runit/tinysite"
SERVICE = "fabrelease-runit@tinysite"
UNITS = f"cat {FOLDER}/*/name 2>/dev/null || true"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Target]:
    """A server set up for runit, with the first revision live."""
    project = Project(tmp_path_factory.mktemp("runit") / "project", "tinysite")
    stage(project, shared_server)
    project.fab("-H", "prod", "setup")
    deploy(project, shared_server, "one")
    return project, shared_server


def stage(project: Project, server: Target, **changes: Any) -> None:
    project.stage({"web1": server}, **{"manager": "runit", "processes": {"worker": "sleep 1000"}, **changes})


def deploy(project: Project, server: Target, ref: str) -> None:
    project.fab("-H", "prod", "deploy", "--ref", ref)
    settle(server)


def programs(project: Project) -> dict[str, dict[str, Any]]:
    return {program["role"]: program for program in project.status()["programs"]}


def test_another_user_reaches_no_pipe_of_runit_and_writes_nothing_that_root_runs(site: tuple[Project, Target]) -> None:
    _, server = site
    pipes = sh(server, f"find {FOLDER} -type p").split()
    assert len(pipes) >= 4
    for pipe in pipes:
        assert server.exec(["runuser", "-u", "tinysite", "--", "sh", "-c", f"echo d >{pipe}"], check=False).returncode
    assert sh(server, f"stat -c '%U %a' {FOLDER}").split() == ["root", "700"]
    assert sh(server, f"find {FOLDER} /etc/fabrelease ! -user root") == ""
    place = "/etc/fabrelease /etc/systemd/system /srv/tinysite/current/config"
    assert sh(server, f"runuser -u tinysite -- find {place} -writable ! -type l 2>/dev/null || true") == ""
    assert sh(server, "pgrep -c -x runsvdir").strip() == "1"  # nothing of the system's is run by it


def test_words_and_values_reach_the_program_as_they_are(site: tuple[Project, Target]) -> None:
    project, server = site
    words = ["$(id)", "a ;b", "it's", "%s", "\\n"]
    line = "python -c 'import json, os, sys, time; print(json.dumps([sys.argv[1:], os.environ[\"ODD\"]]), flush=True); time.sleep(999)' "
    odd = "$(id) %(x)s 'q' \"w\" ; é\nnext"
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    stage(project, server, processes={"odd": line + quoted}, env={"ODD": odd})
    deploy(project, server, "two")
    assert wait_for(lambda: sh(server, "cat /srv/tinysite/logs/odd.log || true"))
    assert json.loads(sh(server, "tail -n 1 /srv/tinysite/logs/odd.log")) == [words, odd]


def test_the_manager_changes_with_a_deploy_and_back_with_a_rollback(site: tuple[Project, Target]) -> None:
    project, server = site
    stage(project, server)
    deploy(project, server, "one")
    stage(project, server, manager="supervisor")
    deploy(project, server, "two")
    assert sh(server, UNITS) == ""
    assert programs(project)["web"]["state"] == "RUNNING"
    project.fab("-H", "prod", "rollback")
    settle(server)
    assert revision(server) == "one"
    assert programs(project)["web"]["state"] == "run"
    assert "tinysite" not in sh(server, "supervisorctl status || true")


def test_what_left_its_session_and_what_does_not_end_by_itself_go_with_their_release(
    site: tuple[Project, Target],
) -> None:
    project, server = site
    hostile = "trap '' TERM HUP; setsid -f sleep 4242; while :; do sleep 1; done"
    stage(project, server, processes={"hostile": hostile}, env={"TRY": "1"})
    deploy(project, server, "two")
    assert wait_for(lambda: sh(server, "pgrep -f 'sleep 4242' -u tinysite || true"))
    sh(server, "sed -i 's/\"stop_seconds\": 60/\"stop_seconds\": 2/' /srv/tinysite/current/release.json")
    stage(project, server)
    deploy(project, server, "one")
    assert sh(server, "pgrep -f 'sleep 4242|trap' -u tinysite || true") == ""
    assert project.status()["problems"] == []
