"""What the fault tests hold a run against can fail."""

from __future__ import annotations

import pytest

from tests.faults.harness import Outcome

POINTS = [
    f"{when} cutover.{step}" for step in ("start", "switch", "finish") for when in ("before", "in", "after")
]


@pytest.mark.parametrize(
    ("point", "fault", "status", "wrong"),
    [
        ("before cutover.switch", "deployer killed", -9, "new"),
        ("in cutover.switch", "connection cut", 1, "old"),
        ("in cutover.switch", "connection stalled", 1, "old"),
        ("before cutover.start", "target killed, booted", 1, "new"),
        ("after cutover.switch", "target killed, booted", 1, "old"),
        ("in cutover.start", "nginx killed", 0, "old"),
        ("in cutover.switch", "supervisord killed", 1, "new"),
        ("before cutover.finish", "no more processes", 3, "old"),
    ],
)
def test_the_wrong_release_is_a_violation_and_the_right_one_is_none(
    point: str, fault: str, status: int, wrong: str
) -> None:
    (right,) = {"old", "new"} - {wrong}
    for live in (wrong, right):
        outcome = Outcome("deploy", point, fault, live, status=status)
        outcome.judge(POINTS)
        assert bool(outcome.violations) is (live == wrong)
