"""The number of workers, changed while they work; and the same release again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.support import children, current, programs, revision, settle, sh, wait_for
from tests.load import campaign
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"


@pytest.fixture
def site(tmp_path: Path, shared_server: Target) -> Project:
    """The smallest application, live, as any stage may have left the server."""
    project = Project(tmp_path / "project", "tinysite")
    project.also({"web1": shared_server}, "prod")
    sh(shared_server, f"rm -f {ROOT}/scale")
    project.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    settle(shared_server)
    return project


def master(server: Target) -> int:
    """The pid of the live release's main process."""
    live = current(server, ROOT)
    return next(pid for name, (_, pid) in programs(server).items() if name.endswith(live))


@pytest.mark.parametrize("server_name", ["gunicorn", "uwsgi"])
def test_workers_come_and_go_without_a_restart_and_deploys_keep_their_number(
    site: Project, shared_server: Target, server_name: str
) -> None:
    site.stage({"web1": shared_server}, web={"server": server_name})
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    settle(shared_server)
    before = master(shared_server)
    assert "4 workers, before 2" in site.fab("-H", "prod", "scale", "4").stderr
    assert (master(shared_server), len(children(shared_server, before))) == (before, 4)
    assert sh(shared_server, f"stat -c '%U %a' {ROOT}/scale") == "root 644\n"
    said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
    assert "4 workers, as fab scale asked (web.workers: 2)" in said
    settle(shared_server)
    status = site.status()
    assert [program["workers"] for program in status["programs"]] == [4]
    assert (status["ok"], status["scale"]["workers"]) == (True, 4)
    began = time.monotonic()
    site.fab("-H", "prod", "scale", "1")
    assert time.monotonic() - began < 15  # workers that have nothing to do go at once
    assert wait_for(lambda: len(children(shared_server, master(shared_server))) == 1)
    assert "2 workers" in site.fab("-H", "prod", "scale", "reset").stderr
    assert wait_for(lambda: len(children(shared_server, master(shared_server))) == 2)
    assert site.status()["scale"] is None
    site.fab("-H", "prod", "rollback")
    settle(shared_server)
    assert [program["workers"] for program in site.status()["programs"]] == [2]


def test_no_request_is_lost_while_workers_come_and_go(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"settings": {"worker_class": "gthread", "threads": 2}})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    with Load((shared_server.host, shared_server.http_port), campaign.live(shared_server), label="scale") as load:
        for count, workers in enumerate(("4", "1", "2")):
            load.wait(200 * (count + 1), time.monotonic() + 60)
            site.fab("-H", "prod", "scale", workers)
    assert load.failures == []


def test_a_number_that_is_lost_with_the_server_is_said(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "scale", "3")
    died = master(shared_server)
    sh(shared_server, 'kill -9 "$1"', str(died))
    assert wait_for(lambda: master(shared_server) not in (0, died) and revision(shared_server) == "one")
    wait_for(lambda: len(children(shared_server, master(shared_server))) == 2)
    assert site.status()["problems"] == ["2 workers run, and 3 were asked for: fab scale 3"]
    site.fab("-H", "prod", "scale", "3")
    assert site.status()["ok"]


def test_what_cannot_be_scaled_is_refused_with_what_to_do(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"server": "uwsgi"})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    said = site.fab("-H", "prod", "scale", "17", status=1).stderr
    assert "at most 16 workers; nothing was touched" in said
    assert "Set web.workers: 17 and deploy" in said
    assert "whole number" in site.fab("-H", "prod", "scale", "none", status=2).stderr
    assert site.status()["scale"] is None


def test_a_restart_is_the_same_release_again_and_rollback_goes_where_it_went(
    site: Project, shared_server: Target
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "two")
    settle(shared_server)
    before, pid = site.status(), master(shared_server)
    with Load((shared_server.host, shared_server.http_port), campaign.live(shared_server), label="restart") as load:
        load.wait(100, time.monotonic() + 60)
        load.sequence.begin()
        site.fab("-H", "prod", "restart")
        load.wait(300, time.monotonic() + 60)
    assert load.failures == []
    settle(shared_server)
    after = site.status()
    assert master(shared_server) != pid
    assert after["ok"]
    assert after["current"]["id"] != before["current"]["id"]
    assert {**after["current"], "id": 0, "made": 0, "served": 0} == {**before["current"], "id": 0, "made": 0, "served": 0}
    assert after["rollback"] == before["rollback"]
    assert "nothing to do" in site.fab("-H", "prod", "deploy", "--ref", "two").stderr
    site.fab("-H", "prod", "rollback")
    assert revision(shared_server) == "one"
    assert current(shared_server, ROOT) == before["rollback"]


def test_restarts_push_no_older_release_out(site: Project, shared_server: Target) -> None:
    kept = site.status()["rollback"]
    for _ in range(3):
        site.stage({"web1": shared_server}, keep_releases=2)
        site.fab("-H", "prod", "restart")
        settle(shared_server)
    there = sh(shared_server, f"ls {ROOT}/releases").split()
    assert site.status()["rollback"] == kept
    assert len(there) <= 4


def test_a_restart_with_ports_takes_a_port_that_is_free(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"bind": "127.0.0.1:8104"})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    first = sh(shared_server, f"grep -o '127.0.0.1:81..' {ROOT}/current/config/http.conf").strip()
    site.fab("-H", "prod", "restart")
    settle(shared_server)
    second = sh(shared_server, f"grep -o '127.0.0.1:81..' {ROOT}/current/config/http.conf").strip()
    assert (first != second, revision(shared_server), site.status()["ok"]) == (True, "one", True)


def test_a_restart_that_fails_leaves_the_live_release_alone(site: Project, shared_server: Target) -> None:
    before, pid = current(shared_server, ROOT), master(shared_server)
    package = sh(shared_server, f"echo {ROOT}/current/env/lib/python3*/site-packages/gunicorn").strip()
    sh(shared_server, 'mv "$1" "$1.away"', package)
    try:
        site.fab("-H", "prod", "restart", status=1)
    finally:
        sh(shared_server, 'mv "$1.away" "$1"', package)
    settle(shared_server)
    assert (current(shared_server, ROOT), master(shared_server), revision(shared_server)) == (before, pid, "one")
