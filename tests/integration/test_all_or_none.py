"""On several hosts a deploy is live everywhere or nowhere, whoever fails or dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.faults import breakpoints
from tests.faults.world import IS_REACHED, ROOT, stopped_at
from tests.integration.support import ask, current, revision, settle, sh, through, unharmed, wait_for
from tests.project import Project
from tests.target import Target
from tests.target.proxy import Proxy

# A site that answers 418 as long as a file is there.
TEAPOT = """\
{% extends "fabrelease/nginx/site.conf.j2" %}
{% block proxy %}
    if (-e /run/teapot) {
        return 418;
    }
{{ super() }}
{% endblock %}
"""


@pytest.fixture(scope="module")
def other(prepared_image: str) -> Iterator[Target]:
    """The second server of the stage."""
    with Target.start(prepared_image) as server:
        yield server


@pytest.fixture(scope="module")
def site(shared_server: Target, other: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on both; on web2 the site can be made to answer wrongly."""
    project = Project(tmp_path_factory.mktemp("two") / "project", "tinysite")
    own = project.path / "templates/web2/nginx/site.conf.j2"
    own.parent.mkdir(parents=True)
    own.write_text(TEAPOT)
    project.stage({"web1": shared_server, "web2": other})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


@contextmanager
def untouched(project: Project, *servers: Target) -> Iterator[None]:
    """What is done inside leaves both as they were; the next deploy works and so does the way back."""
    with unharmed(servers[0], project.app), unharmed(servers[1], project.app):
        yield
    project.fab("-H", "prod", "deploy", "--ref", "two")
    assert [revision(server) for server in servers] == ["two", "two"]
    # A release has the same id on every host of a deploy.
    assert len({current(server, ROOT) for server in servers}) == 1
    project.fab("-H", "prod", "rollback")
    assert [revision(server) for server in servers] == ["one", "one"]


@contextmanager
def answering_wrongly(server: Target) -> Iterator[None]:
    """The site answers 418 instead of what the application says."""
    sh(server, "touch /run/teapot")
    try:
        yield
    finally:
        sh(server, "rm -f /run/teapot")


def wait_for_switch(server: Target, before: str) -> None:
    """Wait until a host has switched, so that another one, which cannot, keeps the deployer waiting."""
    wait_for(lambda: current(server, ROOT) != before)


def test_where_the_release_of_one_host_does_not_start_nothing_is_switched(
    site: Project, shared_server: Target, other: Target
) -> None:
    path = site.path / "hosts/prod.yml"
    whole = path.read_text()
    with untouched(site, shared_server, other):
        path.write_text(whole.replace("  web2:\n", "  web2:\n    health: {status: 418, timeout: 3}\n"))
        said = site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
        path.write_text(whole)
    assert "web2: the new release did not become healthy within 3 seconds" in said
    assert "GET / answered 200, not 418" in said
    # One host of the stage, by its own name.
    site.fab("-H", "web2", "deploy", "--ref", "two")
    assert (revision(shared_server), revision(other)) == ("one", "two")
    site.fab("-H", "web2", "rollback")


def test_where_the_site_of_one_host_answers_wrongly_the_other_is_switched_back(
    site: Project, shared_server: Target, other: Target
) -> None:
    live = current(shared_server, ROOT)
    with untouched(site, shared_server, other), answering_wrongly(other):
        said = site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    assert "web2: the site does not answer through nginx: GET / answered 418, not 200" in said
    assert f"Switched back: {live} is live." in said
    line = next(line for line in said.splitlines() if "undone" in line)
    assert line.split() == ["web1", "switch", *f"undone, {live} is live: another host failed".split()]


def test_a_deployer_killed_when_one_host_has_switched_leaves_the_old_release_on_both(
    site: Project, shared_server: Target, other: Target
) -> None:
    live = current(shared_server, ROOT)
    with (
        untouched(site, shared_server, other),
        answering_wrongly(other),
        site.fab_running("-H", "prod", "deploy", "--ref", "two") as deployer,
    ):
        wait_for_switch(shared_server, live)
        deployer.kill()


def test_a_host_that_is_lost_when_it_has_switched_goes_back_and_so_does_the_other(
    site: Project, shared_server: Target, other: Target
) -> None:
    live = current(shared_server, ROOT)
    with (
        untouched(site, shared_server, other),
        Proxy("127.0.0.1", shared_server.ssh_port) as proxy,
        through(site, shared_server, proxy),
        answering_wrongly(other),
        site.fab_running("-H", "prod", "deploy", "--ref", "two") as deployer,
    ):
        wait_for_switch(shared_server, live)
        proxy.cut()
        sh(other, "rm /run/teapot")
        said, _ = deployer.communicate(timeout=180)
        assert deployer.returncode == 1
        assert "web1: the connection was lost" in said
        assert f"undone, {live} is live: another host failed" in said


def test_a_deployer_killed_when_all_know_that_all_have_switched_leaves_the_new_release_on_both(
    site: Project, shared_server: Target, other: Target
) -> None:
    with stopped_at(shared_server, site, "before cutover.finish", "deploy", "--ref", "two") as deployer:
        stopped = wait_for(lambda: shared_server.exec(["sh", "-c", IS_REACHED]).stdout)
        deployer.kill()
    sh(shared_server, f"touch {breakpoints.GO}")
    assert stopped
    for server in (shared_server, other):
        settle(server)
        assert revision(server) == "two"
    assert site.status("web1")["ok"]
    assert site.status("web2")["ok"]


def test_a_host_that_hears_again_when_it_goes_back_already_does_not_say_that_it_stays(
    site: Project, shared_server: Target, other: Target
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    live = current(shared_server, ROOT)
    with (
        Proxy("127.0.0.1", shared_server.ssh_port) as proxy,
        through(site, shared_server, proxy),
        ThreadPoolExecutor(1) as pool,
    ):
        with stopped_at(other, site, "after cutover.switch", "deploy", "--ref", "two") as deployer:
            assert wait_for(lambda: other.exec(["sh", "-c", IS_REACHED]).stdout)
            wait_for_switch(shared_server, live)
            # What it was asked meanwhile is answered before the new release is stopped: going back takes its time.
            answer = pool.submit(ask, shared_server, "/slow?seconds=24")
            proxy.pause()
            assert wait_for(lambda: current(shared_server, ROOT) == live)
            proxy.resume()
            sh(other, f"touch {breakpoints.GO}")
            said, _ = deployer.communicate(timeout=180)
        assert answer.result().headers["X-Revision"] == "two"
    assert deployer.returncode == 1, said
    assert "web1: the host heard nothing from here for 15 seconds and gave the session up" in said
    for server in (shared_server, other):
        settle(server)
        assert (revision(server), current(server, ROOT)) == ("one", live)


def test_ctrl_c_ends_fab_at_once_and_each_host_tidies_up(site: Project, shared_server: Target, other: Target) -> None:
    hook = "touch /tmp/building; while [ -e /tmp/building ]; do sleep 0.1; done"
    path = site.path / "hosts/prod.yml"
    whole = path.read_text()
    servers = (shared_server, other)
    with unharmed(shared_server, site.app), unharmed(other, site.app):
        path.write_text(whole + f"hooks: {{build: ['{hook}']}}\n")
        try:
            with site.fab_running("-H", "prod", "deploy", "--ref", "two") as deployer:
                for server in servers:
                    assert wait_for(lambda server=server: b"/tmp/building ]" in server.exec(["ps", "-eo", "args"]).stdout)
                os.killpg(deployer.pid, signal.SIGINT)
                said, _ = deployer.communicate(timeout=180)  # the hooks have no end of their own
            for server in servers:
                settle(server)
                assert b"/tmp/building" not in server.exec(["ps", "-eo", "args"]).stdout
        finally:
            path.write_text(whole)
            for server in servers:
                sh(server, "rm -f /tmp/building")
    assert deployer.returncode == 1, said
    assert "Traceback" not in said
    assert "interrupted; each host goes back by itself, or finishes where it has switched [FR-013]" in said
