"""Requests go on while releases change: none is lost, none is done twice, none goes back to the old release."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.load import campaign
from tests.load.client import Load, Sequence, Wrong
from tests.target import Target


@pytest.mark.parametrize("kind", [campaign.KINDS[0], campaign.KINDS[-1]], ids=str)
def test_deploys_and_rollbacks_lose_no_request(shared_server: Target, tmp_path: Path, kind: campaign.Kind) -> None:
    result = campaign.run(shared_server, tmp_path / "load", kind, 1500, 2, time.monotonic() + 240)
    assert result.failures == []
    assert result.twice == []
    assert result.never == []
    assert set(result.requests) == {"GET", "POST", "slow GET"}


def test_a_restart_without_a_cutover_is_seen_to_lose_requests(shared_server: Target, tmp_path: Path) -> None:
    """The check can fail: this is what it says of the way most recipes restart."""
    campaign.run(shared_server, tmp_path / "before", campaign.KINDS[0], 10, 1, time.monotonic() + 240)
    with Load(shared_server.http_port, campaign.live(shared_server), label="restart") as load:
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
