"""A stage against hosts in memory: every failure, loss and death at every point leaves all hosts alike (docs/rollout.md)."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabrelease.tasks.engine.errors import Error
from fabrelease.tasks.engine.remote import hooks

from .stage_in_memory import (
    LATER,
    NEW,
    OLD,
    DeployerDied,
    Stage,
    Trouble,
    cannot_start_workers,
    fails,
    is_lost,
    is_sick,
)
from .test_protocol import files_are_the_users as files_are_the_users
from .test_protocol import is_clean

# How many switch at once, and of how many hosts; a batch that holds all is all of them.
BATCHES: dict[int | str, list[int]] = {1: [2, 3, 4], 2: [3, 4], "100%": [1, 2, 3, 4]}
MIGRATE = {"before_switch": [{"run": "migrate", "once": True}, "collect"], "after_switch": ["echo done"]}
# What goes wrong on one host, and whether before a function runs or after it.
TROUBLES: dict[str, tuple[str, str, Trouble]] = {
    "it cannot be built": ("before", "build", fails),
    "it is lost while it is built": ("before", "build", is_lost),
    "a hook fails": ("before", hooks.run.__name__, fails),
    "it is lost in a hook": ("before", hooks.run.__name__, is_lost),
    "the release does not start": ("before", "start", is_sick),
    "it is lost before the start": ("before", "start", is_lost),
    "it is lost after the start": ("after", "start", is_lost),
    "the site answers wrongly": ("before", "switch", is_sick),
    "the workers do not start": ("before", "switch", cannot_start_workers),
    "it stalls before the switch": ("before", "switch", is_lost),
    "it stalls after the switch": ("after", "switch", is_lost),
    "the site fails while it is watched": ("before", "watch", is_sick),
    "it stalls while it is watched": ("after", "watch", is_lost),
    "it stalls before it hears that all have switched": ("before", "commit", is_lost),
}
# One host alone waits for nobody: what has switched there comes to its end.
BY_ITSELF = [TROUBLES["it stalls after the switch"]]


@pytest.fixture
def shm() -> Iterator[Path]:
    """A directory in memory: thousands of renames take their time on a disk that others use."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield Path(path)


def rolling(batch: int | str, **more: Any) -> dict[str, Any]:
    return {"rollout": {"batch": batch, "pause": 3, **more}, "hooks": MIGRATE}


def is_level(stage: Stage, release: str) -> bool:
    """Whether one release is live on all hosts, and whole, and the site answered all the time."""
    assert stage.live == [release] * len(stage.remotes)
    for remote in stage.remotes:
        assert is_clean(remote.host, release)
        answers = {answer for answer, live in remote.host.served if live not in remote.host.sick}
        assert answers <= {200}
    return True


def mends(stage: Stage) -> bool:
    """Whether the next deploy brings all hosts to one release."""
    stage.calls.dies_after = None
    for remote in stage.remotes:
        remote.host.refused.clear()
        remote.before, remote.after = {}, {}
    stage.deploy(LATER)
    stage.end()
    return is_level(stage, LATER)


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
@pytest.mark.parametrize("batch", BATCHES)
def test_whatever_fails_on_whichever_host_all_are_on_the_old_release_and_the_next_deploy_mends_it(
    shm: Path, batch: int | str, trouble: tuple[str, str, Trouble]
) -> None:
    when, function, what = trouble
    struck = 0
    for count in BATCHES[batch]:
        for position in range(count):
            stage = Stage(shm / f"{count}-{position}", count, **rolling(batch))
            troubles = getattr(stage.remotes[position], when)
            troubles[function] = what
            try:
                stage.deploy()
            except Error as error:
                struck += 1
                assert f"web{position + 1}: " in str(error)
                stage.end()
                assert is_level(stage, NEW if count == 1 and trouble in BY_ITSELF else OLD)
            else:  # one host is not watched, nor told; nor are the last ones watched
                assert troubles
                stage.end()
                assert is_level(stage, NEW)
            assert mends(stage)
    assert struck or (function == "watch" and batch == "100%")


@pytest.mark.parametrize("batch", BATCHES)
def test_a_host_that_is_lost_when_all_have_switched_comes_to_the_new_release_by_itself(
    shm: Path, batch: int | str
) -> None:
    for count, when in itertools.product(set(BATCHES[batch]) - {1}, ("before", "after")):
        for position in range(count):
            stage = Stage(shm / f"{count}-{position}-{when}", count, **rolling(batch))
            getattr(stage.remotes[position], when)["finish"] = is_lost
            with pytest.raises(Error, match=f"web{position + 1}: "):
                stage.deploy()
            stage.end()
            assert is_level(stage, NEW)
            assert mends(stage)


@pytest.mark.parametrize(("batch", "count"), [(batch, count) for batch, counts in BATCHES.items() for count in counts])
def test_whenever_the_deployer_dies_all_hosts_are_on_one_release_but_while_it_tells_them(
    shm: Path, count: int, batch: int | str
) -> None:
    whole = Stage(shm / "whole", count, **rolling(batch))
    whole.deploy()
    whole.end()
    assert is_level(whole, NEW)
    ends = set()
    for dies_after in range(len(whole.calls.made)):
        stage = Stage(shm / str(dies_after), count, **rolling(batch))
        stage.calls.dies_after = dies_after
        with pytest.raises(DeployerDied):
            stage.deploy()
        stage.end()
        told = [call.split()[0] for call in stage.calls.made if call.split()[-1] in ("commit", "finish")]
        expected = [NEW if remote.name in told else OLD for remote in stage.remotes]
        assert stage.live == expected
        for remote, live in zip(stage.remotes, expected, strict=True):
            assert is_clean(remote.host, live)
        if len(set(expected)) > 1:
            assert stage.calls.made[-1].endswith(" commit")
        ends.add(tuple(expected))
        assert mends(stage)
    assert {(OLD,) * count, (NEW,) * count} <= ends


ROLES = {"lb": ["proxy"], "jobs": ["worker"], "web1": ["app"], "web2": ["app", "worker"]}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_whatever_fails_on_a_host_of_whichever_role_all_are_alike_and_the_next_deploy_mends_it(
    shm: Path, trouble: tuple[str, str, Trouble]
) -> None:
    when, function, what = trouble
    for position, name in enumerate(ROLES):
        stage = Stage(shm / name, ROLES, **rolling(1))
        getattr(stage.remotes[position], when)[function] = what
        expected = OLD
        try:
            stage.deploy()
        except Error as error:
            assert f"{name}: " in str(error)
        else:  # nothing is asked there, or nothing of it runs
            expected = NEW
        stage.end()
        if what is not is_sick or name != "jobs":  # nobody asks a worker
            assert is_level(stage, expected)
        assert mends(stage)


# --- the order of the calls


def test_one_host_is_one_round_trip(shm: Path) -> None:
    stage = Stage(shm, 1, rollout={"batch": 1, "pause": 3, "canary": "web1"})
    stage.deploy()
    assert stage.calls.made == ["web1 build", "web1 start switch finish"]


def test_without_batches_all_hosts_do_each_phase_side_by_side_and_wait_for_each_other(shm: Path) -> None:
    stage = Stage(shm, 3)
    stage.deploy()
    phases = ("build", "start", "switch", "commit", "finish")
    assert stage.calls.made == [f"web{number} {phase}" for phase in phases for number in (1, 2, 3)]


def test_without_batches_a_host_that_fails_has_the_others_undo_what_they_did(shm: Path) -> None:
    for function, undo in (("start", "abandon"), ("switch", "undo")):
        stage = Stage(shm / function, 3)
        stage.remotes[1].before[function] = is_sick
        with pytest.raises(Error, match=r"^web2: "):
            stage.deploy()
        assert stage.calls.made[-5:] == [*(f"web{n} {function}" for n in (1, 2, 3)), f"web1 {undo}", f"web3 {undo}"]
        assert stage.remotes[0].said[-1] == f"switch: undone, {OLD} is live: another host failed"


def test_in_batches_each_is_watched_before_the_next_and_nobody_is_told_before_all_have_switched(shm: Path) -> None:
    stage = Stage(shm, 4, **rolling(2))
    stage.deploy()
    made = [call for call in stage.calls.made if call.split()[1] in ("start", "switch", "watch", "commit")]
    assert made == [
        *(f"web{number} start" for number in (1, 2, 3, 4)),
        *("web1 switch", "web2 switch", "web1 watch", "web2 watch"),
        *("web3 switch", "web4 switch"),
        *(f"web{number} commit" for number in (1, 2, 3, 4)),
    ]
    assert [remote.host.clock.now >= 3 for remote in stage.remotes] == [True, True, False, False]


def test_a_batch_that_fails_brings_back_the_one_before_it_and_those_that_wait(shm: Path) -> None:
    stage = Stage(shm, 4, rollout={"batch": 1})
    stage.remotes[1].before["switch"] = is_sick
    with pytest.raises(Error, match=r"^web2: the site does not answer"):
        stage.deploy()
    assert stage.calls.made[-4:] == ["web2 switch", "web1 undo", "web3 abandon", "web4 abandon"]
    stage.end()
    assert is_level(stage, OLD)


def test_the_canary_switches_first_alone_and_its_check_decides(shm: Path) -> None:
    canary = {"canary": {"host": "web2", "check": "./smoke", "wait": "1m"}}
    stage = Stage(shm / "well", 3, rollout=canary)
    stage.deploy()
    order = [f"web2 {step}" for step in ("switch", "watch", "run")] + ["web1 switch", "web3 switch"]
    assert stage.calls.made[6:11] == order
    assert stage.remotes[1].host.clock.now >= 60
    stage = Stage(shm / "not", 3, rollout=canary)
    stage.remotes[1].before["run"] = fails
    with pytest.raises(Error, match=r"^web2: switched back: run failed"):
        stage.deploy()
    assert stage.calls.made[-3:] == ["web2 undo", "web1 abandon", "web3 abandon"]
    stage.end()
    assert is_level(stage, OLD)


def test_a_hook_that_runs_once_runs_on_the_first_host_alone_and_before_any_switch(shm: Path) -> None:
    stage = Stage(shm, 3, hooks={"before_switch": [{"run": "migrate", "once": True}]})
    stage.deploy()
    assert [call for call in stage.calls.made if call.endswith(" run")] == ["web1 run"]
    assert stage.calls.made.index("web1 run") < stage.calls.made.index("web1 start")


def test_workers_switch_first_and_proxies_last_and_hooks_run_where_the_code_is(shm: Path) -> None:
    stage = Stage(shm, ROLES, rollout={"batch": "100%"}, hooks=MIGRATE)
    stage.deploy()
    stage.end()
    made = [call for call in stage.calls.made if call.split()[1] in ("run", "switch")]
    assert made == [
        *("jobs run", "web1 run", "web2 run"),
        *("jobs switch", "web1 switch", "web2 switch", "lb switch"),
        *("jobs run", "web1 run", "web2 run"),
    ]
    assert is_level(stage, NEW)
