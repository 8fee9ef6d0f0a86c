"""The rollout alone: hosts are names, and phases write down what they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine.errors import HostError, HostErrors
from fabrelease.tasks.engine.remote import kinds
from fabrelease.tasks.engine.rollout import Phase, Rollout, one_by_one, together, waves

from .stage_in_memory import one_after_another


def phase(name: str, done: list[str], fails_on: str = "", harmed: str = "") -> Phase[str]:
    def do(host: str) -> None:
        done.append(f"{name} {host}")
        if host == fails_on:
            raise HostError(kinds.UNHEALTHY, host, f"{name} failed")

    def undo(host: str, reason: str) -> HostError | None:
        done.append(f"undo {name} {host}")
        return HostError(kinds.UNHEALTHY, host, "is down", needs_person=True) if host == harmed else None

    return Phase(name, do, undo)


def test_each_host_goes_back_by_the_undo_of_the_last_phase_it_came_through() -> None:
    done: list[str] = []
    first, second = phase("build", done), phase("switch", done, fails_on="c")
    steps = [*together(first, "abcd"), *together(second, "ab"), *together(second, "c"), *together(second, "d")]
    with pytest.raises(HostError, match=r"^c: switch failed$"):
        Rollout(steps, one_after_another).run()
    assert done[-3:] == ["undo switch a", "undo switch b", "undo build d"]
    assert "undo build c" not in done  # a host that fails goes back by itself


def test_what_cannot_be_brought_back_is_told_after_what_failed() -> None:
    done: list[str] = []
    with pytest.raises(HostErrors) as failed:
        Rollout(together(phase("switch", done, fails_on="b", harmed="a"), "ab"), one_after_another).run()
    assert (str(failed.value), failed.value.exit_status) == ("b: switch failed\na: is down", 3)


def test_from_a_phase_without_an_undo_nobody_goes_back() -> None:
    done: list[str] = []
    final: Phase[str] = Phase("finish", phase("finish", done, fails_on="a").do)
    with pytest.raises(HostError, match=r"^a: finish failed$"):
        Rollout([*together(phase("switch", done), "ab"), *one_by_one(final, "ab")], one_after_another).run()
    assert done == ["switch a", "switch b", "finish a"]


def test_who_failed_is_told_before_anybody_goes_back() -> None:
    done: list[str] = []
    tell: Callable[[Any], None] = lambda error: done.append(f"told {error}")  # noqa: E731
    with pytest.raises(HostError):
        Rollout(together(phase("switch", done, fails_on="b"), "ab"), one_after_another, tell).run()
    assert done == ["switch a", "switch b", "told b: switch failed", "undo switch a"]


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=3).filter(any),
    batch=st.integers(1, 120),
    canary=st.integers(0, 99) | st.none(),
)
def test_waves_hold_each_host_once_and_none_is_larger_than_a_batch_or_of_two_groups(
    sizes: list[int], batch: int, canary: int | None
) -> None:
    groups = [[f"{group}.{number}" for number in range(size)] for group, size in enumerate(sizes)]
    hosts = [host for group in groups for host in group]
    first = hosts[canary] if canary is not None and canary < len(hosts) else None
    found = waves(groups, batch, first)
    assert sorted(host for wave in found for host in wave) == sorted(hosts)
    assert all(0 < len(wave) <= batch for wave in found)
    assert all(len({host.partition(".")[0] for host in wave}) == 1 for wave in found)
    assert first is None or found[0] == [first]
    rest = [host for wave in found for host in wave if host != first]
    assert rest == [host for host in hosts if host != first]
