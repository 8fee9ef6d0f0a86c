"""Which releases there are, which are gone back to, and which are kept."""

from __future__ import annotations

import calendar
import json
import os
import stat
import time
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import releases
from fabrelease.tasks.engine.remote.failure import Failed

A, B, C, D = (f"2026010{day}T000000Z-{str(day) * 7}" for day in (1, 2, 3, 4))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Four good releases, of which none was live."""
    monkeypatch.setattr("os.fchown", lambda *args: None)
    for name in (A, B, C, D):
        make(tmp_path, name)
    return str(tmp_path)


def make(root: Path | str, name: str, state: str = "good", **more: object) -> None:
    path = Path(root, "releases", name)
    (path / "config").mkdir(parents=True, exist_ok=True)
    (path / "release.json").write_text(json.dumps({"id": name, "state": state, **more}))


def live(root: str, *names: str) -> None:
    """One after another becomes current."""
    for name in names:
        releases.link(root, "current", name)
        releases.remember(root, name, what="deploy")


# As docs/cutover.md has it under "What a rollback goes to".
@pytest.mark.parametrize(
    ("done", "lineage", "goes_to"),
    [
        ([A, B, C], [A, B, C], B),
        ([A, B, C, B], [A, B], A),
        ([A, B, C, B, A], [A], None),
        ([A, B, C, B, D], [A, B, D], B),
        ([], [], None),
    ],
)
def test_a_rollback_goes_back_on_the_way_that_led_here(
    root: str, done: list[str], lineage: list[str], goes_to: str | None
) -> None:
    live(root, *done)
    assert (releases.lineage(root), releases.rollback_target(root)) == (lineage, goes_to)


def test_only_good_releases_that_are_there_are_gone_back_to(root: str) -> None:
    live(root, A, B, C, D)
    make(root, C, "bad")
    releases.discard(releases.directory(root, B))
    assert releases.rollback_target(root) == A


def test_where_the_live_release_is_not_on_the_way_the_end_of_the_way_is_gone_back_to(root: str) -> None:
    live(root, A, B)
    releases.link(root, "current", C)  # its host died before it was written down
    assert releases.rollback_target(root) == B


def test_pruning_keeps_what_is_live_next_gone_back_to_newest_and_the_newest_bad_one(root: str) -> None:
    for day, state in ((5, "good"), (6, "bad"), (7, "bad"), (8, "built")):
        make(root, f"2026010{day}T000000Z-{str(day) * 7}", state)
    live(root, A, B)
    releases.link(root, "next", "20260108T000000Z-8888888")
    assert releases.prune(root, 1, ()) == [C, D, "20260106T000000Z-6666666", "20260107T000000Z-7777777"]
    assert releases.ids(root) == [A, B, "20260105T000000Z-5555555", "20260108T000000Z-8888888"]
    assert sorted(os.listdir(f"{root}/releases")) == releases.ids(root)


def older(root: str) -> list[str]:
    """The releases that nginx looks for an older file in, in its order."""
    links = sorted(Path(root, "older").iterdir())
    assert [link.name for link in links] == [str(number + 1) for number in range(len(links))]
    return [link.resolve().name for link in links]


def test_older_releases_are_those_that_served_the_newest_first_but_the_one_that_is_left_before_all(root: str) -> None:
    live(root, A)
    releases.link_older(root, None)
    assert older(root) == [D, C, B]
    releases.update(root, C, state="bad")
    live(root, D)
    releases.link_older(root, A)  # about to go from A
    assert older(root) == [A, B]
    releases.link_older(root, D)  # as a rollback does, while D is live yet
    assert older(root) == [D, B, A]
    assert str(os.readlink(f"{root}/older/1")) == f"../releases/{D}"


def test_pruning_keeps_the_environments_and_wheels_that_a_release_uses(root: str) -> None:
    make(root, D, environment="used", wheels=["kept"])
    for path in ("envs/used", "envs/unused", "wheels/kept", "wheels/dropped"):
        Path(root, path).mkdir(parents=True)
    releases.prune(root, 5, ())
    assert (os.listdir(f"{root}/envs"), os.listdir(f"{root}/wheels")) == (["used"], ["kept"])


@pytest.mark.parametrize("target", ["/etc", "releases/no-id", f"elsewhere/{A}", f"/srv/other/releases/{A}"])
def test_a_link_that_is_not_ours_is_not_taken_for_a_release(root: str, target: str) -> None:
    Path(root, "current").symlink_to(target)
    with pytest.raises(Failed, match="which is no release of"):
        releases.linked(root, "current")


def test_a_real_directory_is_not_taken_for_a_link(root: str) -> None:
    Path(root, "current").mkdir()
    with pytest.raises(Failed, match="is a real directory or file"):
        releases.linked(root, "current")
    assert releases.linked(root, "next") is None


@pytest.mark.parametrize("name", ["..", f"{A}/..", f"../{A}", "", f"{A}\n"])
def test_what_is_no_id_names_no_directory(root: str, name: str) -> None:
    with pytest.raises(Failed, match="is no release's id"):
        releases.directory(root, name)


def test_a_file_is_replaced_whole_with_its_mode_or_not_at_all(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(root, "file")
    releases.write_atomically(str(path), b"old", 0o640)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"old", 0o640)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fchmod", fail)
    with pytest.raises(OSError, match="No space"):
        releases.write_atomically(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [name for name in os.listdir(root) if name.startswith("file")] == ["file"]


def test_what_is_known_of_a_release_is_for_root_alone(root: str) -> None:
    assert releases.update(root, A, digest="secret")["digest"] == "secret"
    assert stat.S_IMODE(Path(root, "releases", A, "release.json").stat().st_mode) == 0o600


def test_a_release_that_cannot_be_read_is_bad_and_one_that_served_stays_good(root: str) -> None:
    Path(root, "releases", A, "release.json").write_text("{")
    assert releases.read(root, A)["state"] == "bad"
    releases.mark_bad(root, B, "it failed later")
    assert releases.read(root, B)["state"] == "good"
    make(root, C, "built")
    releases.mark_bad(root, C, "it does not start\nmore")
    assert (releases.read(root, C)["state"], releases.read(root, C)["reason"]) == ("bad", "it does not start")


def test_a_new_next_takes_the_place_of_one_that_was_never_finished(root: str) -> None:
    new, newer = "20260201T000000Z-aaaaaaa", "20260202T000000Z-bbbbbbb"
    releases.begin(root, {"id": new})
    assert releases.read(root, new)["state"] == "building"
    releases.begin(root, {"id": newer})
    assert releases.linked(root, "next") == newer
    assert new not in releases.ids(root)
    assert {"config", "public", "run"} <= set(os.listdir(releases.directory(root, newer)))


@pytest.mark.parametrize("state", ["good", "bad"])
def test_a_next_that_is_no_work_in_progress_stays_when_the_link_goes(root: str, state: str) -> None:
    make(root, D, state)
    releases.link(root, "next", D)
    releases.clear_next(root)
    assert (releases.linked(root, "next"), D in releases.ids(root)) == (None, True)


def test_a_next_that_is_live_stays_when_the_link_goes(root: str) -> None:
    make(root, D, "built")
    releases.link(root, "next", D)
    releases.link(root, "current", D)
    releases.clear_next(root)
    assert D in releases.ids(root)


def test_configurations_are_the_same_but_for_the_ids_in_them(root: str) -> None:
    for name in (A, B):
        Path(root, "releases", name, "config/nginx.conf").write_text(f"root {name};")
    assert releases.same_files(root, A, B, ["nginx.conf", "none.conf"])
    Path(root, "releases", B, "config/none.conf").write_text("")
    assert not releases.same_files(root, A, B, ["nginx.conf", "none.conf"])
    assert releases.same_files(root, A, B, ["nginx.conf"])


def test_what_became_current_is_written_down_with_the_time_in_utc(root: str) -> None:
    releases.remember(root, A, who="alice")
    (event,) = releases.history(root)
    assert (event["current"], event["who"]) == (A, "alice")
    assert abs(calendar.timegm(time.strptime(event["at"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 60


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_cannot_be_removed_is_said_and_nothing_else(
    root: str, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(releases.agent, "output", said.append)
    monkeypatch.setattr(releases.tree, "remove", lambda path: is_gone)
    releases.discard(f"{root}/envs/stuck")
    assert [line.partition(" ")[0] for line in said] == ([] if is_gone else [f"{root}/envs/stuck"])
