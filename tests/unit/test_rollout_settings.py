"""How a stage is rolled out, as its file says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine import stages
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.settings import Canary, Hook, Rollout

SITE = "app: site\nweb: {app: 'site:app'}\nsite: {domains: [example.net]}\n"


def load(path: Path, text: str, hosts: str = "hosts: {web1: {}, web2: {}}") -> Rollout:
    (path / "hosts").mkdir()
    (path / "hosts/prod.yml").write_text(f"{SITE}{text}\n{hosts}\n")
    return stages.load_stage(path, "prod").hosts["web2"].rollout


@pytest.mark.parametrize(
    ("text", "rollout"),
    [
        ("", Rollout(batch="100%", pause=0, canary=None)),
        ("rollout: {batch: 2, pause: 30}", Rollout(batch=2, pause=30)),
        ("rollout: {batch: 25%, pause: 5m, canary: web1}", Rollout(batch="25%", pause=300, canary=Canary(host="web1"))),
        (
            "rollout: {canary: {host: web2, wait: 1h, check: ./smoke}}",
            Rollout(canary=Canary(host="web2", wait=3600, check=Hook(run="./smoke"))),
        ),
    ],
)
def test_a_stage_says_how_it_is_rolled_out(tmp_path: Path, text: str, rollout: Rollout) -> None:
    assert load(tmp_path, text) == rollout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{batch: 0}", "rollout.batch: expected a number of hosts, or a share of them like 25%, found the number 0"),
        ("{batch: 101%}", 'rollout.batch: expected a number of hosts, or a share of them like 25%, found "101%"'),
        ("{batch: true}", "rollout.batch: expected a number of hosts, or a share of them like 25%, found true"),
        ("{pause: long}", 'rollout.pause: expected seconds, or text like 10s, 5m or 1h, found "long"'),
        ("{pause: -1}", "rollout.pause: expected 0 or more, found the number -1"),
        ("{canary: web9}", 'rollout.canary: "web9" is no host of the stage; hosts: web1, web2'),
    ],
)
def test_what_cannot_be_rolled_out_is_refused_once_with_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"rollout: {text}")
    assert str(refused.value) == f"hosts/prod.yml:4: {message}"


def test_a_rollout_is_the_stages_and_not_a_hosts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^hosts/prod.yml:5: hosts.web1.rollout: not allowed here; it is for all"):
        load(tmp_path, "", "hosts: {web1: {rollout: {batch: 1}}, web2: {}}")


def test_what_runs_once_runs_around_the_switch_and_not_in_a_build(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, "hooks: {build: [{run: make, once: true}], after_switch: [{run: make, once: 1}]}")
    assert str(refused.value).splitlines() == [
        "hosts/prod.yml:4: hooks.after_switch[0].once: expected true or false, found the number 1",
        "hosts/prod.yml:4: hooks.build[0].once: unknown key; known: run, timeout",
    ]


@pytest.mark.parametrize(
    ("batch", "sizes"), [("25%", [1, 1, 1, 1, 2, 25]), ("100%", [1, 2, 3, 4, 8, 100]), (3, [3, 3, 3, 3, 3, 3])]
)
def test_a_share_of_the_hosts_is_rounded_down_but_never_to_none(batch: int | str, sizes: list[int]) -> None:
    assert [Rollout(batch=batch).size(hosts) for hosts in (1, 2, 3, 4, 8, 100)] == sizes
