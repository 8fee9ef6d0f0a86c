"""A short selection of the fault table, another one each time: `tox -e faults` runs all of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults import harness
from tests.faults.faults import FAULTS
from tests.target import Target

SEED = int(os.environ["FAULTS_SEED"])
RUNS = 12


@pytest.mark.parametrize("name", ["deploy", "rollback"])
def test_some_faults_at_some_points_leave_nothing_broken_or_behind(
    prepared_image: str, tmp_path: Path, name: str
) -> None:
    chance = random.Random(f"{SEED} {name}")
    (scenario,) = (scenario for scenario in harness.SCENARIOS if scenario.name == name)
    world = harness.make_world(Target.start(prepared_image), tmp_path / "project", scenario, None)
    try:
        points = harness.points_of(world, scenario)
        assert len(points) > 30
        runs = 0
        while runs < RUNS:
            # Not the full disk, which takes a server of its own.
            fault = chance.choice([fault for fault in FAULTS if fault.name != "disk full"])
            outcome = harness.run(world, scenario, chance.choice(points), fault)
            if outcome is not None:  # a few points are passed every other time only
                runs += 1
                outcome.judge(points)
                assert outcome.violations == [], f"FAULTS_SEED={SEED}: {outcome}"
                assert outcome.live in ("old", "new"), f"FAULTS_SEED={SEED}: {outcome}"
    finally:
        world.close()
