"""supervisord dies: what it left goes on until it is replaced, and the next deploy is whole."""
from __future__ import annotations

from tests.integration.support import revision, settle, sh, wait_for
from tests.project import Project
from tests.target import Target


def test_a_site_stays_up_when_supervisord_dies_and_the_next_deploy_leaves_one_server(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    settle(server)
    sh(server, "pkill -KILL supervisord")
    assert revision(server) == "one"
    assert wait_for(lambda: project.status()["programs"])
    assert wait_for(lambda: revision(server) == "one")
    project.fab("-H", "prod", "deploy", "--ref", "two")
    settle(server)
    assert revision(server) == "two"
    masters = sh(server, "pgrep -f -u djangosite gunicorn.conf.py | xargs -n1 ps -o ppid= -p").split()
    assert masters.count("1") == 0
    assert project.status()["problems"] == []


def test_a_socket_whose_name_is_gone_comes_back_with_the_next_deploy(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    settle(server)
    sh(server, "rm /srv/djangosite/current/run/web.sock")
    assert revision(server) is None
    said = project.fab("-H", "prod", "deploy", "--ref", "one").stderr
    assert "started djangosite-" in said
    assert wait_for(lambda: revision(server)) == "one"
