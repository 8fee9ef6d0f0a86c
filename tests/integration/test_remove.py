"""fab remove: nothing of an application is left but shared/, others are untouched, and nothing of root's is reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import drivers
from tests.integration.support import current, left, revision, settle, sh, tree
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
OTHER = "flask.example.net"
def others(server: Target) -> list[str]:
    """What the other application has."""
    settle(server)
    return tree(server, "/srv/flasktodo", "/etc/nginx", "/etc/supervisor", "/etc/logrotate.d", "/etc/systemd")


@pytest.fixture(scope="module")
def other(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Another application on the same server, live."""
    project = Project(tmp_path_factory.mktemp("removed") / "other", "flasktodo")
    project.stage({"web1": shared_server}, site={"domains": [OTHER]})
    project.fab("-H", "prod", "setup", "deploy")
    return project


@pytest.fixture
def site(shared_server: Target, other: Project, tmp_path: Path) -> Project:
    """The application that is to be removed, set up anew each time, and not live."""
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": shared_server}, processes={"worker": "python worker.py"})
    project.fab("-H", "prod", "setup")
    return project


def as_app(server: Target, script: str) -> str:
    return server.exec(["sh", "-eu", "-c", script], user="tinysite").stdout.decode()


def test_nothing_is_left_but_shared_and_the_other_application_is_untouched(
    site: Project, other: Project, shared_server: Target
) -> None:
    sh(shared_server, "rm -rf /etc/nginx/sites-*/djangosite* /etc/supervisor/conf.d/djangosite*")
    site.fab("-H", "prod", "deploy", "--ref", "one")
    site.stage({"web1": shared_server}, manager="systemd", processes={"worker": "python worker.py"})
    site.fab("-H", "prod", "setup")
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert "nothing to do: the server is ready" in site.fab("-H", "prod", "setup").stderr
    assert site.status()["problems"] == []
    as_app(shared_server, f"echo precious >{ROOT}/shared/data/kept; echo x >/tmp/of-tinysite; nohup sleep 1000 >/dev/null 2>&1 &")
    before, live = others(shared_server), current(shared_server, ROOT)
    told = site.fab("-H", "prod", "remove").stderr
    for what in (
        "site /etc/nginx/sites-available/tinysite.conf",
        "site /etc/nginx/fabrelease/demo.example.net_80/tinysite.conf",
        "domain /etc/nginx/fabrelease/demo.example.net_80.conf",
        "unit /etc/systemd/system/fabrelease-tinysite.service",
        "link /etc/supervisor/conf.d/tinysite.conf",
        "user tinysite-build",
        f"program tinysite-{live}",
        "2 releases",
    ):
        assert f"would remove {what}" in told
    assert f"directory {ROOT}/shared" not in told
    assert (revision(shared_server), current(shared_server, ROOT)) == ("two", live)
    said = site.fab("-H", "prod", "remove", "--yes").stderr
    assert "removed user tinysite\n" in said
    assert "shared stays" in said
    assert left(shared_server, "tinysite") == []
    assert sh(shared_server, f"ls -A {ROOT}; cat {ROOT}/shared/data/kept; stat -c %U {ROOT}/shared/data").split() == [
        "shared",
        "precious",
        "root",
    ]
    gone = [line for line in before if not re.search("tinysite|fabrelease/demo.example.net_80", line)]
    assert others(shared_server) == gone
    assert other.status()["ok"]
    assert revision(shared_server, OTHER) == "two"
    assert "nothing of the application is here" in site.fab("-H", "prod", "remove", "--yes").stderr


@pytest.mark.parametrize("manager", sorted(set(drivers.packaged("managers")) - {"supervisor", "systemd"}))
def test_what_another_manager_needs_goes_with_the_application(site: Project, shared_server: Target, manager: str) -> None:
    site.stage({"web1": shared_server}, manager=manager, processes={"worker": "python worker.py"})
    site.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    assert "nothing to do: the server is ready" in site.fab("-H", "prod", "setup").stderr
    assert site.status()["problems"] == []
    site.fab("-H", "prod", "remove", "--yes")
    assert left(shared_server, "tinysite") == []


def test_what_was_shared_is_given_back_and_goes_with_shared(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    as_app(shared_server, f"mkdir -p {ROOT}/shared/data/deep && echo precious >{ROOT}/shared/data/deep/kept")
    site.fab("-H", "prod", "remove", "--yes")
    sh(shared_server, "useradd --system takes-the-number")  # whoever gets the number of the old user
    site.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    assert as_app(shared_server, f"cd {ROOT}/shared/data/deep; stat -c %U . kept; echo more >>kept; cat kept").split() == [
        "tinysite",
        "tinysite",
        "precious",
        "more",
    ]
    site.fab("-H", "prod", "remove", "--yes", "--shared")
    sh(shared_server, f"userdel takes-the-number; test ! -e {ROOT}")
    assert left(shared_server, "tinysite") == []


def test_what_is_another_stage_s_or_being_deployed_is_not_removed(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    site.stage({"web1": shared_server}, name="staging")
    refused = site.fab("-H", "staging", "remove", "--yes", status=1).stderr
    assert f"{ROOT} belongs to the stage prod, not staging" in refused
    (site.path / "hosts/staging.yml").unlink()
    with site.fab_running("-H", "prod", "deploy", "--ref", "two", "--fresh"):
        sh(shared_server, "while flock --nonblock /run/fabrelease/locks/tinysite.lock true; do sleep 0.05; done")
        assert "has the deploy lock" in site.fab("-H", "prod", "remove", "--yes", status=1).stderr
    site.fab("-H", "prod", "freeze", "-m", "a fair")
    assert "deploys are frozen" in site.fab("-H", "prod", "remove", "--yes", status=1).stderr
    site.fab("-H", "prod", "unfreeze")
    assert revision(shared_server) == "one"


def test_root_reaches_nothing_by_the_links_of_the_application_s_user(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    sh(shared_server, "mkdir -p /srv/precious/below; echo x >/srv/precious/file; chown -R www-data /srv/precious")
    before = tree(shared_server, "/srv/precious", "/etc/cron.d", "/root")
    as_app(
        shared_server,
        f"""cd {ROOT}; for place in shared/data home current/run; do
            ln -s /srv/precious $place/link; ln -s /etc/cron.d $place/cron; ln -s /srv/precious/file $place/file
            mkfifo $place/fifo; mkdir -p $place/$(seq -s/ 150); chmod 0 $place/1
            python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' $place/socket
        done; chmod 755 shared/data/1; ln -s /srv/precious /tmp/link-of-tinysite
        cp /bin/true shared/data/suid; chmod 6755 shared/data/suid
        truncate -s 1G shared/data/large; for i in $(seq 500); do ln shared/data/large shared/data/name-$i; done""",
    )
    # It starts itself again and again, and swaps directories for links while root walks.
    as_app(
        shared_server,
        f"""cat >/tmp/swap-of-tinysite <<'END'
cd {ROOT}/shared/data; mkdir -p swapped
while :; do mv swapped away && ln -s /srv/precious swapped; rm -f swapped; mv away swapped; done 2>/dev/null
END
for i in 1 2 3; do setsid nohup sh /tmp/swap-of-tinysite >/dev/null 2>&1 & done""",
    )
    site.fab("-H", "prod", "remove", "--yes")
    assert left(shared_server, "tinysite") == []
    assert tree(shared_server, "/srv/precious", "/etc/cron.d", "/root") == before
    owners = sh(shared_server, f"find {ROOT}/shared -printf '%u\\n' | sort -u; stat -c %a {ROOT}/shared/data/suid").split()
    assert owners == ["root", "755"]
    assert sh(shared_server, f"stat -c %h {ROOT}/shared/data/large").strip() == "501"  # and no copy of it was made


def test_a_remove_that_was_cut_off_goes_on_where_it_is_typed_again(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    sh(shared_server, "mkdir -p /srv/tinysite/home/mounted && mount -t tmpfs none /srv/tinysite/home/mounted")
    refused = site.fab("-H", "prod", "remove", "--yes", status=1).stderr
    assert f"{ROOT}/home cannot be removed whole" in refused
    sh(shared_server, "umount /srv/tinysite/.home*/mounted /srv/tinysite/home/mounted 2>/dev/null || true")
    site.fab("-H", "prod", "remove", "--yes")
    assert left(shared_server, "tinysite") == []
