"""Three hosts in batches: no request is lost, one that fails brings back those before it, all go back to one release."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.faults.world import ROOT
from tests.integration.support import current, revision, settle, sh, unharmed
from tests.integration.test_all_or_none import TEAPOT, answering_wrongly
from tests.load import campaign
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

ROLLOUT = {"batch": 1, "pause": "2s", "canary": {"host": "web3", "check": "test -e tinysite.py", "wait": 1}}
HOOKS = {"before_switch": [{"run": "echo migrated >>/srv/tinysite/shared/data/migrated", "once": True}]}


@pytest.fixture(scope="module")
def servers(prepared_image: str) -> Iterator[list[Target]]:
    """The servers of the stage."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Target.start(prepared_image)) for _ in range(3)]


@pytest.fixture(scope="module")
def site(servers: list[Target], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on all of them; on web2 the site can be made to answer wrongly."""
    project = Project(tmp_path_factory.mktemp("three") / "project", "tinysite")
    own = project.path / "templates/web2/nginx/site.conf.j2"
    own.parent.mkdir(parents=True)
    own.write_text(TEAPOT)
    project.stage({f"web{number}": server for number, server in enumerate(servers, 1)}, rollout=ROLLOUT, hooks=HOOKS)
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


def revisions(servers: list[Target]) -> list[str | None]:
    return [revision(server) for server in servers]


def test_a_rolling_deploy_loses_no_request_on_any_host_and_runs_once_what_runs_once(
    site: Project, servers: list[Target]
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    migrated = "cat /srv/tinysite/shared/data/migrated 2>/dev/null | wc -l"
    before = [int(sh(server, migrated)) for server in servers]
    with contextlib.ExitStack() as stack:
        loads = [
            stack.enter_context(Load((server.host, server.http_port), campaign.live(server), clients=4, label=str(number)))
            for number, server in enumerate(servers)
        ]
        for load in loads:
            load.wait(50, time.monotonic() + 60)
            load.sequence.begin()
        said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
        for load, server in zip(loads, servers, strict=True):
            campaign.wait_for_answer_of(load, campaign.live(server))
    assert [load.failures for load in loads] == [[], [], []]
    assert revisions(servers) == ["two"] * 3
    assert len({current(server, ROOT) for server in servers}) == 1
    switched = [line.split()[0] for line in said.splitlines() if line.split()[1:2] == ["switch"]]
    assert switched == ["web3", "web1", "web2"]
    assert [int(sh(server, migrated)) for server in servers] == [before[0] + 1, *before[1:]]


def test_a_failure_in_a_later_batch_brings_back_those_that_had_switched_long_before(
    site: Project, servers: list[Target]
) -> None:
    live = current(servers[0], ROOT)
    other = "one" if revision(servers[0]) == "two" else "two"
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.enter_context(unharmed(server, site.app))
        with answering_wrongly(servers[1]):
            said = site.fab("-H", "prod", "deploy", "--ref", other, status=1).stderr
    lines = [line.split() for line in said.splitlines()]
    first = next(index for index, words in enumerate(lines) if words[:2] == ["web2", "failed"])
    undone = [index for index, words in enumerate(lines) if "undone," in words]
    assert {lines[index][0] for index in undone} == {"web1", "web3"}
    assert first < min(undone)
    assert [current(server, ROOT) for server in servers] == [live] * 3


def test_a_dead_host_is_left_behind_only_where_that_is_said_and_it_is_dead_and_the_next_deploy_brings_it_level(
    site: Project, servers: list[Target]
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one")
    said = site.fab("-H", "prod", "deploy", "--ref", "two", "--continue-without", "web3", status=1).stderr
    assert "web3: it answers, so it is not left behind; nothing was touched" in said
    assert "web9 is no host" in site.fab("-H", "prod", "deploy", "--continue-without", "web9", status=2).stderr
    path = site.path / "hosts/prod.yml"
    whole = path.read_text()
    path.write_text(whole.replace(f"port: {servers[2].ssh_port}", "port: 1"))
    try:
        assert "web3: " in site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
        assert revisions(servers) == ["one"] * 3
        said = site.fab("-H", "prod", "deploy", "--ref", "two", "--continue-without", "web3").stderr
    finally:
        path.write_text(whole)
    assert "web3" in said
    assert revisions(servers) == ["two", "two", "one"]
    assert "it is behind: " in site.fab("-H", "prod", "status", status=1).stdout
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert revisions(servers) == ["two"] * 3
    assert len({current(server, ROOT) for server in servers}) == 1
    for server in servers:
        settle(server)
    site.fab("-H", "prod", "status")


def test_hosts_that_are_named_one_by_one_are_one_deploy_and_the_others_are_left_alone(
    site: Project, servers: list[Target]
) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    live = current(servers[0], ROOT)
    with answering_wrongly(servers[1]):
        said = site.fab("-H", "web1,web2", "deploy", "--ref", "two", status=1).stderr
    assert "undone" in said
    assert [current(server, ROOT) for server in servers] == [live] * 3
    said = site.fab("-H", "web1,web2", "deploy", "--ref", "two").stderr
    assert "web3" in next(line for line in said.splitlines() if "was not asked" in line)
    assert revisions(servers) == ["two", "two", "one"]
    assert current(servers[0], ROOT) == current(servers[1], ROOT)
    site.fab("-H", "web1,web2", "rollback")
    assert [current(server, ROOT) for server in servers] == [live] * 3


def test_a_rollback_goes_to_one_release_where_hosts_differ(site: Project, servers: list[Target]) -> None:
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    common = current(servers[0], ROOT)
    site.fab("-H", "web1", "deploy", "--ref", "two")
    assert revisions(servers) == ["two", "one", "one"]
    said = site.fab("-H", "prod", "rollback").stderr
    assert "".join(said.split()).count(f"stays:{common}") == 2
    assert [current(server, ROOT) for server in servers] == [common] * 3
    site.fab("-H", "prod", "rollback")
    assert len({current(server, ROOT) for server in servers}) == 1
    assert current(servers[0], ROOT) != common
