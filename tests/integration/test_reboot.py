"""The power is cut: what was live is up again by itself, in the middle of a cutover too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import checks
from tests.faults.world import World, wait_until
from tests.target import Target

UP_AGAIN = 60  # seconds within which the site must answer after a boot


@pytest.fixture(scope="module")
def world(prepared_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(Target.start(prepared_image), tmp_path_factory.mktemp("reboot") / "project")
    try:
        world.deploy("two")
        world.deploy("one")
        yield world
    finally:
        world.close()


def cut_the_power(world: World) -> None:
    world.server.kill()
    world.server.boot()
    wait_until(world.revision, UP_AGAIN, "the site answers")


def test_what_was_live_is_up_after_a_reboot_by_itself(world: World) -> None:
    before = world.revision()
    cut_the_power(world)
    assert world.revision() == before
    assert world.project.status()["ok"]
    assert checks.nothing_left(world) == []


@pytest.mark.parametrize(
    ("point", "live"),
    [
        ("in cutover.start: supervisor._add tinysite-*", "old"),
        ("before cutover.switch", "old"),
        ("in cutover.switch: nginx.reload", "new"),
        ("after cutover.finish", "new"),
    ],
)
def test_after_a_reboot_in_the_middle_of_a_cutover_one_whole_release_is_live_and_the_next_deploy_clears_up(
    world: World, point: str, live: str
) -> None:
    before = world.revision()
    assert before
    after = {"one": "two", "two": "one"}[before]
    world.stage(after)
    with world.stopped_at(point, "deploy", "--ref", after) as fab:
        assert world.wait_for_point(fab), fab.communicate()[0]
        cut_the_power(world)
    assert world.revision() == {"old": before, "new": after}[live]
    world.deploy(after)
    assert world.revision() == after
    assert world.project.status()["ok"]
    assert checks.nothing_left(world) == []
    assert {release["state"] for release in world.look()["releases"].values()} <= {"good", "bad"}
