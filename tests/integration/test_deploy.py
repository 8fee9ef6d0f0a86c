"""The main job: setup, deploy, status, rollback on a real server."""

from __future__ import annotations

import urllib.request

from tests.project import Project
from tests.target import Target


def get(server: Target, path: str = "/", host: str = "demo.example.net") -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", headers={"Host": host})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def test_a_deploy_is_live_a_second_changes_nothing_and_rollback_goes_back(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    assert "revision: one" in get(server)
    assert "nothing to do" in project.fab("-H", "prod", "deploy", "--ref", "one").stderr
    project.fab("-H", "prod", "deploy", "--ref", "two")
    assert "revision: two" in get(server)
    assert project.status()["ok"]
    project.fab("-H", "prod", "rollback")
    assert "revision: one" in get(server)
