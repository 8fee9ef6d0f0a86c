"""Commands that look, and the way back."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.integration.support import (
    ask,
    children,
    current,
    environment_of,
    programs,
    revision,
    settle,
    sh,
    unharmed,
    wait_for,
)
from tests.project import Project
from tests.target import Target

ROOT = "/srv/djangosite"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two good releases on the shared server, two of them live."""
    project = Project(tmp_path_factory.mktemp("reading") / "project")
    project.stage({"web1": shared_server}, env={"SHOW_COLOUR": "blue # green"})
    for ref in ("one", "two"):
        project.fab("-H", "prod", "deploy", "--ref", ref)
    return project


def listing(site: Project, stage: str = "prod") -> dict[str, Any]:
    done = site.fab("-H", stage, "releases", "--json")
    told = json.loads(done.stdout)
    assert told["version"] == 1
    return dict(told["hosts"][0])


def test_status_is_a_table_a_person_reads(site: Project, shared_server: Target) -> None:
    settle(shared_server)
    name = f"djangosite-{current(shared_server, ROOT)}"
    assert wait_for(lambda: programs(shared_server)[name][0] == "RUNNING")
    done = site.fab("status")  # without -H: every stage
    _, pid = programs(shared_server)[name]
    (line,) = [line for line in done.stdout.splitlines() if "prod/web1" in line]
    for word in (
        current(shared_server, ROOT),
        site.repository.revisions["two"][:7],
        "Revision two",
        "web RUNNING",
        f"2 workers (pid {pid}, djangosite)",
        "200 in ",
    ):
        assert word in line


def test_status_for_programs_has_its_documented_shape(site: Project, shared_server: Target) -> None:
    told = json.loads(site.fab("-H", "prod", "status", "--json").stdout)
    assert (told["version"], told["ok"]) == (1, True)
    (host,) = told["hosts"]
    assert {
        key: host[key] for key in ("host", "stage", "app", "ok", "set_up", "next", "lock", "freeze", "problems")
    } == {
        "host": "web1",
        "stage": "prod",
        "app": "djangosite",
        "ok": True,
        "set_up": True,
        "next": None,
        "lock": None,
        "freeze": None,
        "problems": [],
    }
    assert host["current"]["id"] == current(shared_server, ROOT)
    assert host["current"]["state"] == "good"
    assert host["current"]["revision"] == site.repository.revisions["two"]
    assert host["rollback"] == listing(site)["rollback"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", host["current"]["served"])
    (program,) = host["programs"]
    assert program["workers"] == 2
    assert program["user"] == "djangosite"
    assert program["role"] == "web"
    assert 0 <= program["uptime"] < 3600
    assert host["site"]["status"] == 200
    assert 0 < host["site"]["seconds"] < 10


def test_status_says_what_is_wrong_and_exits_with_1(site: Project, shared_server: Target) -> None:
    name = f"djangosite-{current(shared_server, ROOT)}"
    sh(shared_server, 'supervisorctl stop "$1"', name)
    try:
        done = site.fab("-H", "prod", "status", status=1)
        assert f"{name} is STOPPED" in done.stdout
        assert "the site is not healthy: GET / answered 502, not 200" in done.stdout
        told = json.loads(site.fab("-H", "prod", "status", "--json", status=1).stdout)
        assert (told["ok"], told["hosts"][0]["programs"][0]["uptime"]) == (False, None)
    finally:
        sh(shared_server, 'supervisorctl start "$1"', name)
    assert wait_for(lambda: ask(shared_server).status == 200)
    site.fab("-H", "prod", "status")


def test_a_worker_that_is_killed_comes_back_and_is_counted(site: Project, shared_server: Target) -> None:
    _, master = programs(shared_server)[f"djangosite-{current(shared_server, ROOT)}"]
    before = children(shared_server, master)
    sh(shared_server, 'kill -9 "$1"', str(before[0]))
    assert wait_for(lambda: len(set(children(shared_server, master)) - set(before)) == 1)
    assert site.status()["programs"][0]["workers"] == 2


def test_status_of_a_host_that_cannot_be_reached_still_shows_the_others(site: Project, shared_server: Target) -> None:
    path = site.path / "hosts/prod.yml"
    text = path.read_text()
    dead = text.replace(
        "hosts:\n",
        f"hosts:\n  web0:\n    address: 127.0.0.1\n    port: 1\n    known_hosts: {shared_server.known_hosts}\n",
    )
    path.write_text(dead)
    try:
        done = site.fab("-H", "prod", "status", status=1)
    finally:
        path.write_text(text)
    assert "cannot be reached" in done.stdout
    assert "web RUNNING" in done.stdout


def test_releases_shows_good_bad_and_current(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "broken-import", status=1)
    told = listing(site)
    states = {release["ref"]: release["state"] for release in told["releases"]}
    assert (states["one"], states["two"], states["broken-import"]) == ("good", "good", "bad")
    assert told["current"] == current(shared_server, ROOT)
    bad = told["releases"][-1]
    assert "cannot be loaded" in bad["reason"]
    table = site.fab("-H", "prod", "releases").stdout
    assert re.search(rf"{told['current']}.*good.*current", table)
    assert re.search(rf"{told['rollback']}.*good.*rollback", table)
    assert re.search(rf"{bad['id']}.*bad", table)


def test_logs_shows_the_ends_of_each_log(site: Project, shared_server: Target) -> None:
    ask(shared_server, "/env?for-the-log")
    everything = site.fab("-H", "prod", "logs", "--lines", "500")
    for name in ("web.log", "nginx-access.log", "supervisord.log"):
        assert f"/{name} <==" in everything.stdout + everything.stderr
    for which, wanted, other in (
        ("app", "Booting worker", "supervisord.log"),
        ("nginx", "for-the-log", "supervisord.log"),
        ("supervisor", "success: djangosite-", "nginx-access.log"),
    ):
        done = site.fab("-H", "prod", "logs", "--which", which, "--lines", "500")
        assert wanted in done.stdout + done.stderr
        assert other not in done.stdout + done.stderr
    done = site.fab("-H", "prod", "logs", "--which", "app", "--lines", "1")
    assert len((done.stdout + done.stderr).splitlines()) == 2  # the file's name, and its last line
    assert "there are no logs called" in site.fab("-H", "prod", "logs", "--which", "apache", status=1).stderr


def test_logs_follows_what_is_written_from_now_on(site: Project, shared_server: Target) -> None:
    with site.fab_running("-H", "prod", "logs", "--which", "nginx", "--follow", "--lines", "0") as process:
        assert process.stdout
        wanted, end = f"/env?{time.monotonic_ns()}", time.monotonic() + 30
        for line in process.stdout:  # the names of the logs come first: from then on it follows
            ask(shared_server, wanted)
            if wanted in line or time.monotonic() > end:
                break
        assert wanted in line
    left = "pgrep -f '[t]ail -v -n 0 -F' || true"
    assert wait_for(lambda: not sh(shared_server, left).split())


def test_run_has_the_releases_environment_and_passes_its_status_on(site: Project, shared_server: Target) -> None:
    done = site.fab("-H", "prod", "run", 'echo "$(id -un) $PWD $SHOW_COLOUR"; command -v python')
    release = f"{ROOT}/releases/{current(shared_server, ROOT)}"
    assert done.stdout.splitlines() == [f"djangosite {release}/public blue # green", f"{release}/env/bin/python"]
    assert site.fab("-H", "prod", "run", "exit 7", status=7).stdout == ""
    assert "ended with exit status 7" in site.fab("-H", "prod", "run", "exit 7", status=7).stderr
    done = site.fab("-H", "prod", "run", "python manage.py check --deploy --fail-level CRITICAL")
    assert "System check identified" in done.stdout + done.stderr
    odd = "printf '%s' 'it'\\''s \"odd\"; $(x) %s é'"
    assert site.fab("-H", "prod", "run", odd).stdout.rstrip("\n") == 'it\'s "odd"; $(x) %s é'


def test_freeze_refuses_deploys_until_unfreeze(site: Project, shared_server: Target) -> None:
    assert "Say why" in site.fab("-H", "prod", "freeze", status=2).stderr
    site.fab("-H", "prod", "freeze", "-m", "freeze for the fair")
    try:
        for verb in ("deploy", "rollback", "push", "switch"):
            with unharmed(shared_server):
                said = site.fab("-H", "prod", verb, status=1).stderr
            assert "freeze for the fair" in said
            assert "fab unfreeze" in said
        assert site.status()["freeze"]["why"] == "freeze for the fair"
        assert "freeze for the fair" in site.fab("-H", "prod", "status").stdout
    finally:
        site.fab("-H", "prod", "unfreeze")
    assert "there was no freeze" in site.fab("-H", "prod", "unfreeze").stderr
    assert site.status()["freeze"] is None
    site.fab("-H", "prod", "deploy")


def test_a_second_deploy_is_told_who_deploys(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "waiting", hooks={"before_switch": ["touch /tmp/waits; sleep 60"]})
    with site.fab_running("-H", "waiting", "deploy", "--ref", "one"):
        assert wait_for(lambda: shared_server.exec(["test", "-e", "/tmp/waits"], check=False).returncode == 0)
        said = site.fab("-H", "prod", "deploy", "--ref", "one", status=1).stderr
        assert re.search(r"has the deploy lock since .*, for: deploy of ", said)
        assert site.status()["lock"]["what"].startswith("deploy of ")
    sh(shared_server, "rm /tmp/waits")
    assert wait_for(lambda: site.status()["lock"] is None)
    assert revision(shared_server) == "two"


def test_rollback_goes_back_by_id_and_never_to_a_bad_release(site: Project, shared_server: Target) -> None:
    told = listing(site)
    (one,) = [release["id"] for release in told["releases"] if release["ref"] == "one" and release["state"] == "good"]
    site.fab("-H", "prod", "deploy", "--ref", "broken-import", status=1)
    bad = listing(site)["releases"][-1]
    assert bad["state"] == "bad"
    with unharmed(shared_server):
        assert (
            f"{bad['id']} is bad, not good" in site.fab("-H", "prod", "rollback", "--to", bad["id"], status=1).stderr
        )
        assert "releases answer to" in site.fab("-H", "prod", "rollback", "--to", "2026", status=1).stderr
        assert "no releases answer to 'zzz'" in site.fab("-H", "prod", "rollback", "--to", "zzz", status=1).stderr
        said = site.fab("-H", "prod", "rollback", "--to", current(shared_server, ROOT), status=1).stderr
        assert "is the current release already" in said
    site.fab("-H", "prod", "rollback", "--to", one)
    assert (current(shared_server, ROOT), revision(shared_server)) == (one, "one")
    with unharmed(shared_server):  # what is bad or newer is not a way back
        said = site.fab("-H", "prod", "rollback", status=1).stderr
    assert "there is no good release to go back to; nothing was touched" in said
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(shared_server) == "two"


def test_a_rollback_brings_the_old_configuration_back(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "other", web={"workers": 1}, env={"SHOW_COLOUR": "red"})
    site.fab("-H", "other", "deploy", "--ref", "one")
    _, master = programs(shared_server)[f"djangosite-{current(shared_server, ROOT)}"]
    assert environment_of(shared_server, master)["SHOW_COLOUR"] == "red"
    assert site.status()["programs"][0]["workers"] == 1
    site.fab("-H", "other", "rollback")
    _, master = programs(shared_server)[f"djangosite-{current(shared_server, ROOT)}"]
    assert environment_of(shared_server, master)["SHOW_COLOUR"] == "blue # green"
    assert wait_for(lambda: site.status()["programs"][0]["workers"] == 2)


def test_only_as_many_good_releases_are_kept_as_asked_for(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "few", keep_releases=2)
    for ref in ("one", "two", "one"):
        site.fab("-H", "few", "deploy", "--ref", ref)
    site.fab("-H", "few", "deploy", "--ref", "broken-import", status=1)
    settle(shared_server)
    told = listing(site)
    good = [release["ref"] for release in told["releases"] if release["state"] == "good"]
    assert good == ["two", "one"]
    assert len(sh(shared_server, 'ls "$1/releases"', ROOT).split()) == len(told["releases"])
    site.fab("-H", "few", "rollback")
    assert revision(shared_server) == "two"
    used = {
        sh(shared_server, 'basename "$(readlink "$1")"', f"{ROOT}/releases/{r['id']}/env").strip()
        for r in told["releases"]
    }
    site.fab("-H", "few", "cleanup")
    assert set(sh(shared_server, 'ls "$1/envs"', ROOT).split()) <= used


def test_rollback_with_nothing_to_go_back_to_touches_nothing(server: Target, project: Project) -> None:
    project.stage({"web1": server})
    said = project.fab("-H", "prod", "rollback", status=1).stderr
    assert "there is no good release to go back to; nothing was touched" in said
    assert "nothing is deployed yet" in project.fab("-H", "prod", "status", status=1).stdout
    assert "nothing is deployed yet" in project.fab("-H", "prod", "run", "true", status=1).stderr
    assert "there are no logs" in project.fab("-H", "prod", "logs", "--which", "app", status=1).stderr
    project.fab("-H", "prod", "deploy", "--ref", "one")
    with unharmed(server):
        said = project.fab("-H", "prod", "rollback", status=1).stderr
    assert "there is no good release to go back to; nothing was touched" in said
