"""Faults of a deploy to two hosts, at points that are chosen anew each time: both end on one release."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.faults import breakpoints
from tests.faults.world import IS_FREE, IS_REACHED, stopped_at, wait_until
from tests.integration.support import current, revision, through
from tests.project import Project
from tests.target import Target
from tests.target.proxy import Proxy

SEED = int(os.environ["FAULTS_SEED"])
RUNS = 8
ROOT = "/srv/tinysite"
OTHER = {"one": "two", "two": "one"}
Fab = subprocess.Popen[str]


@pytest.fixture(scope="module")
def hosts(prepared_image: str) -> Iterator[tuple[Target, Target]]:
    """Two servers; the first is the one that is stopped at a point."""
    with Target.start(prepared_image) as first, Target.start(prepared_image) as second:
        yield first, second


@pytest.fixture(scope="module")
def site(hosts: tuple[Target, Target], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is live on both, as revision one."""
    project = Project(tmp_path_factory.mktemp("two") / "project", "tinysite")
    project.stage(dict(zip(("web1", "web2"), hosts, strict=True)))
    for ref in ("one", "two", "one"):
        project.fab("-H", "prod", "deploy", "--ref", ref)
    return project


def kill_the_deployer(fab: Fab, proxy: Proxy, go: Callable[[], None]) -> None:
    fab.kill()
    fab.wait()
    go()


def cut_the_link(fab: Fab, proxy: Proxy, go: Callable[[], None]) -> None:
    proxy.cut()
    go()
    fab.wait(150)


def silence_the_link(fab: Fab, proxy: Proxy, go: Callable[[], None]) -> None:
    """The deployer lives on, and hears no more of the first host."""
    proxy.stall()
    go()
    fab.wait(150)


def test_after_some_faults_both_hosts_are_on_one_release(hosts: tuple[Target, Target], site: Project) -> None:
    chance = random.Random(f"{SEED} two hosts")
    points = [point for point in points_of(hosts[0], site) if " " in point and is_before_the_last_word(point)]
    assert len(points) > 30
    live, runs = "one", 0
    while runs < RUNS:
        point, fault = chance.choice(points), chance.choice([kill_the_deployer, cut_the_link, silence_the_link])
        told = f"FAULTS_SEED={SEED}: {fault.__name__} at {point!r}"
        with Proxy(hosts[0].host, hosts[0].ssh_port) as proxy, through(site, hosts[0], proxy):
            reached = broken(hosts[0], site, point, OTHER[live], lambda fab, go, f=fault, p=proxy: f(fab, p, go))
        for host in hosts:
            wait_until(lambda host=host: is_idle(host), 60, f"{told}: the lock is free")
        seen = [revision(host) for host in hosts]
        assert seen in (["one", "one"], ["two", "two"]), told
        live = str(seen[0])
        site.fab("-H", "prod", "deploy", "--ref", OTHER[live])
        live = OTHER[live]
        assert [revision(host) for host in hosts] == [live, live], told
        assert len({current(host, ROOT) for host in hosts}) == 1, told
        runs += reached


def is_before_the_last_word(point: str) -> bool:
    """Whoever dies while it tells the hosts that all have switched may have told one of two (docs/cutover.md)."""
    return "cutover.commit" not in point and "cutover.finish" not in point


def points_of(host: Target, site: Project) -> list[str]:
    """What a deploy to two hosts passes on one of them."""
    with stopped_at(host, site, "", "deploy", "--ref", "two") as fab:
        fab.communicate(timeout=300)
    assert fab.returncode == 0
    wait_until(lambda: is_idle(host), 60, "the lock is free")
    found = list(dict.fromkeys(host.exec(["cat", breakpoints.TRACE]).stdout.decode().splitlines()))
    site.fab("-H", "prod", "deploy", "--ref", "one")
    return found


def broken(
    host: Target, site: Project, point: str, ref: str, fault: Callable[[Fab, Callable[[], None]], None]
) -> bool:
    """Break a deploy at a point; whether it came there."""
    with stopped_at(host, site, point, "deploy", "--ref", ref) as fab:
        while not host.exec(["sh", "-c", IS_REACHED]).stdout:
            if fab.poll() is not None and is_idle(host):
                return False
        fault(fab, lambda: host.exec(["touch", breakpoints.GO]) and None)
    return True


def is_idle(host: Target) -> bool:
    return host.exec(["sh", "-c", IS_FREE], check=False).returncode == 0
