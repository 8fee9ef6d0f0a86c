"""One release for a whole stage to go back to, and who is behind."""

from __future__ import annotations

import pytest

from fabrelease.tasks.engine import level
from fabrelease.tasks.engine.errors import Error, HostErrors
from fabrelease.tasks.engine.level import Standing

A, B, C, D = (f"2026010{day}T000000Z-{str(day) * 7}" for day in (1, 2, 3, 4))


def host(*lineage: str, current: str | None = None, bad: str = "", more: tuple[str, ...] = ()) -> Standing:
    """A host that came to the last of the releases by the others.

    :param more: releases that are there and good, and were gone back from.
    """
    known = {
        name: {"id": name, "state": "bad" if name == bad else "good", "reason": "it does not start", "commit": name[17:]}
        for name in (*lineage, *more, *([bad] if bad else []))
    }
    return Standing(current or (lineage[-1] if lineage else None), list(lineage), known)


@pytest.mark.parametrize(
    ("stage", "chosen"),
    [
        ([host(A, B, C)], B),
        ([host(A, B, C), host(A, B, C)], B),
        ([host(A, B, C), host(A, C)], A),  # one was left out when B went live
        ([host(A, B, C), host(A, B)], B),  # one was left out when C went live: the other comes down to it
        ([host(A, B, more=(C,)), host(A, B, C)], B),  # one was rolled back alone
        ([host(A, B, D), host(A, B, C)], B),  # they went different ways
        ([host(A, B, C, bad=B), host(A, B, C)], A),
        ([host(A, B, current=C)], B),  # its host died before it was written down
    ],
)
def test_the_nearest_good_release_that_all_hosts_have_on_their_way_is_gone_back_to(
    stage: list[Standing], chosen: str
) -> None:
    assert level.choose({f"web{number}": there for number, there in enumerate(stage, 1)}, None) == chosen


def test_where_hosts_have_nothing_in_common_each_is_told_and_nothing_is_chosen() -> None:
    with pytest.raises(HostErrors) as refused:
        level.choose({"web1": host(A, B), "web2": host(B)}, None)
    assert str(refused.value).splitlines()[::2] == [
        f"web1: there is no good release to go back to on every host: {B} is live here, before it {A}; nothing was touched",
        f"web2: there is no good release to go back to on every host: {B} is live here, before it nothing; nothing was touched",
    ]
    with pytest.raises(Error, match=r"^web1: there is no good release to go back to; nothing was touched\n  See"):
        level.choose({"web1": host(A)}, None)


@pytest.mark.parametrize("to", [A, "20260101", "1111"])
def test_a_release_is_chosen_by_its_id_or_the_beginning_of_one(to: str) -> None:
    assert level.choose({"web1": host(A, B, C)}, to) == A
    assert level.choose({"web1": host(A, B), "web2": host(A)}, to) == A  # web2 is there already


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("2026", "web1: 3 releases answer to '2026'; nothing was touched"),
        ("none", "web1: no releases answer to 'none'"),
        (C, "is the current release already"),
        (B, "is bad, not good: it does not start"),
    ],
)
def test_a_release_that_is_not_gone_back_to_is_refused_with_the_reason(to: str, why: str) -> None:
    with pytest.raises(Error, match=why):
        level.choose({"web1": host(A, C, bad=B)}, to)


def test_a_host_that_does_not_have_the_release_asked_for_is_named() -> None:
    with pytest.raises(Error, match=rf"^web2: {A} is not here; nothing was touched"):
        level.choose({"web1": host(A, B), "web2": host(B)}, A)


def test_hosts_on_another_revision_than_the_newest_release_are_behind() -> None:
    live = {"web1": {"id": B, "commit": "b"}, "web2": {"id": A, "commit": "a"}, "web3": None}
    assert level.behind(live, "prod") == {
        "web2": f"it is behind: {A} is live here, {B} on web1; bring it level: fab -H prod deploy",
        "web3": f"it is behind: nothing is live here, {B} on web1; bring it level: fab -H prod deploy",
    }
    restarted = {"web1": {"id": C, "commit": "b"}, "web2": {"id": B, "commit": "b"}}
    assert level.behind(restarted, "prod") == level.behind({"web1": None}, "prod") == level.behind({}, "prod") == {}
