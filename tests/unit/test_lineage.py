"""Where a rollback goes, as the history tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import releases

A, B, B2, B3, C = (f"2026010{number}T000000Z-1111111" for number in range(1, 6))


def release(root: Path, name: str, **more: str) -> None:
    (root / "releases" / name).mkdir(parents=True)
    known = ", ".join(f'"{key}": "{value}"' for key, value in {"id": name, "state": "good", **more}.items())
    (root / f"releases/{name}/release.json").write_text(f"{{{known}}}")


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name, more in ((A, {}), (B, {}), (B2, {"restarts": B}), (B3, {"restarts": B2}), (C, {})):
        release(tmp_path, name, **more)
    return str(tmp_path)


def live(root: str, *names: str) -> None:
    for name in names:
        releases.link(root, "current", name)
        releases.remember(root, name)


def test_a_release_that_is_started_again_takes_the_place_of_itself(root: str) -> None:
    live(root, A, B, B2, B3)
    assert (releases.lineage(root), releases.rollback_target(root)) == ([A, B3], A)
    live(root, C)
    assert releases.rollback_target(root) == B3


def test_one_that_was_gone_back_to_and_is_started_again_has_nothing_before_it(root: str) -> None:
    live(root, B, C, B, B2)
    assert (releases.lineage(root), releases.rollback_target(root)) == ([B2], None)


def test_releases_that_were_started_again_are_no_good_ones_to_keep(root: str) -> None:
    live(root, A, B, B2, B3)
    assert sorted(releases.prune(root, 1, ())) == [B, B2]
    assert releases.ids(root) == [A, B3, C]
