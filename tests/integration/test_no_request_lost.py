"""Requests go on while releases change: none is lost, none is done twice, none goes back to the old release."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.support import settle, sh, wait_for
from tests.load import campaign
from tests.load.client import Load, Sequence, Wrong
from tests.project import Project
from tests.target import Target

CHOSEN = [campaign.Kind("sync", 0), campaign.Kind("gthread", 16), campaign.Kind("asgi", 0), campaign.Kind("uvicorn", 16)]


@pytest.mark.parametrize("kind", CHOSEN, ids=str)
def test_deploys_and_rollbacks_lose_no_request(shared_server: Target, tmp_path: Path, kind: campaign.Kind) -> None:
    result = campaign.run(shared_server, tmp_path / "load", kind, 1500, 2, time.monotonic() + 240)
    assert result.failures == []
    assert result.twice == []
    assert result.never == []
    assert set(result.requests) == {"GET", "POST", "slow GET"}


def test_requests_have_graceful_timeout_to_finish_and_are_cut_then_and_that_is_said(
    shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": shared_server}, web={"workers": 4, "settings": {"graceful_timeout": 4}})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    with ThreadPoolExecutor(2) as pool:
        short, long = (pool.submit(ask, shared_server, f"/slow?seconds={seconds}") for seconds in (3, 90))
        wait_for(lambda: connections(shared_server) == 2)
        began = time.monotonic()
        said = project.fab("-H", "prod", "deploy", "--ref", "two").stderr
        assert "still had 1 request open after 4 s (graceful_timeout): cut" in said
        assert short.result() == 200
        assert long.result() == 502
        assert time.monotonic() - began < 60
    assert ask(shared_server, "/") == 200
    settle(shared_server)
    assert [program["role"] for program in project.status()["programs"]] == ["web"]


def ask(server: Target, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=120)
    connection.request("GET", path, headers={"Host": "demo.example.net", "Connection": "close"})
    return connection.getresponse().status


def connections(server: Target) -> int:
    """How many are open to the live release's socket."""
    return int(sh(server, "ss -Hx | grep -c 'ESTAB.*/srv/tinysite/releases/.*/web.sock' || true"))


def test_a_restart_without_a_cutover_is_seen_to_lose_requests(shared_server: Target, tmp_path: Path) -> None:
    """The check can fail: this is what it says of the way most recipes restart."""
    campaign.run(shared_server, tmp_path / "before", campaign.KINDS[0], 10, 1, time.monotonic() + 240)
    with Load((shared_server.host, shared_server.http_port), campaign.live(shared_server), label="restart") as load:
        load.wait(100, time.monotonic() + 60)
        shared_server.exec(["supervisorctl", "restart", "all"])
        load.wait(200, time.monotonic() + 60)
    assert any("status 502" in failure for failure in load.failures)


def test_an_answer_of_the_old_release_after_one_of_the_new_is_seen() -> None:
    sequence = Sequence("old")
    sequence.begin()
    sequence.check("old", 0)
    sequence.check("new", 0)
    sequence.check("old", 0)  # its request was sent before the new one had answered
    with pytest.raises(Wrong, match="went back"):
        sequence.check("old", 1)
    with pytest.raises(Wrong, match="no cutover"):
        sequence.check("other", 1)
