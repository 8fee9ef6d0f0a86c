"""Hostile values and a hostile repository: carried through exactly, or refused by name; never executed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.support import revision, sh
from tests.project import Project
from tests.target import Target

ROOT = "/srv/my site @ home"
HOSTILE = "$(touch /tmp/owned) `touch /tmp/owned`; touch /tmp/owned | \" ' \\ %(x)s {{ 7 * 7 }} # é\n[program:x]"


@pytest.fixture
def quiet_server(server: Target) -> Iterator[Target]:
    """A server on which nobody has executed anything at the end."""
    yield server
    assert sh(server, "find /tmp /srv /etc /root /home -name owned").split() == []


def test_a_root_with_spaces_works_throughout(project: Project, server: Target) -> None:
    env = {"DJANGO_DB": f"{ROOT}/shared/data/db.sqlite3"}
    project.stage({"web1": server}, root=ROOT, env=env, processes={"clock": "while :; do date; sleep 5; done"})
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    project.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(server) == "two"
    project.fab("-H", "prod", "rollback")
    assert revision(server) == "one"
    assert project.status()["problems"] == []
    assert project.fab("-H", "prod", "run", "pwd -P").stdout.startswith(f"{ROOT}/releases/")


def test_hostile_values_arrive_exactly_and_run_nothing(project: Project, quiet_server: Target) -> None:
    project.stage({"web1": quiet_server}, env={"HOSTILE": HOSTILE, "LONG": "x;'" * 3400})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    pid = next(program["pid"] for program in project.status()["programs"])
    environment = quiet_server.exec(["cat", f"/proc/{pid}/environ"]).stdout.decode().split("\0")
    assert f"HOSTILE={HOSTILE}" in environment
    assert "LONG=" + "x;'" * 3400 in environment
    project.fab("-H", "prod", "freeze", "-m", HOSTILE)
    assert project.status()["freeze"]["why"] == HOSTILE
    assert "touch /tmp/owned" in project.fab("-H", "prod", "deploy", status=1).stderr
    project.fab("-H", "prod", "unfreeze")


@pytest.mark.parametrize("value", ["$(touch /tmp/owned)", "-oProxyCommand=touch", "--upload-pack=touch /tmp/owned", "a\nb", "", "é;"])
def test_hostile_options_are_refused_and_nothing_is_connected_to(project: Project, server: Target, value: str) -> None:
    project.stage({"web1": server})
    before = sh(server, "journalctl -u ssh | grep -c Accepted || true")
    assert project.fab("-H", "prod", "deploy", f"--ref={value or ' '}", status=2).stderr
    assert sh(server, "journalctl -u ssh | grep -c Accepted || true") == before


def test_a_hostile_repository_stays_inside_its_release(project: Project, quiet_server: Target) -> None:
    tree = project.path / "app"
    project.repository.git("checkout", "--quiet", "two")
    (tree / "release.json").write_text('{"state": "good", "id": "20990101T000000Z-evil"}')
    (tree / "a\nnew line.txt").write_text("fine\n")
    (tree / "outside").symlink_to("/etc")
    (tree / "up").symlink_to("../../../../../../tmp")
    project.repository.commit("hostile")
    for shared in ("outside/cron.d", "up/owned"):
        project.stage({"web1": quiet_server}, shared={"dirs": ["data", "media", shared]})
        refused = project.fab("-H", "prod", "deploy", "--ref", "hostile", status=1).stderr
        assert f"shared: {shared} cannot be linked" in refused
    assert sh(quiet_server, "stat -c %F /etc/cron.d").strip() == "directory"
    project.stage({"web1": quiet_server})
    project.fab("-H", "prod", "deploy", "--ref", "hostile")
    current = project.status()["current"]
    assert current["state"] == "good"
    assert current["id"] != "20990101T000000Z-evil"
    names = quiet_server.exec(["ls", "-b", "/srv/djangosite/current/public"]).stdout.decode()
    assert "a\\nnew\\ line.txt" in names
