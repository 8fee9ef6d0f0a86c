"""What a host finds of a deploy that was killed, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import prepare, releases
from fabrelease.tasks.engine.remote.failure import Failed

ONE, TWO, THREE = "20260101T000000Z-1111111", "20260102T000000Z-2222222", "20260103T000000Z-3333333"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("os.fchown", lambda *args: None)
    for name, state in ((ONE, "good"), (TWO, "built"), (THREE, "")):
        (tmp_path / "releases" / name / "config").mkdir(parents=True)
        if state:
            (tmp_path / "releases" / name / "release.json").write_text(f'{{"id": "{name}", "state": "{state}"}}')
    return str(tmp_path)


def test_releases_that_were_never_finished_go_but_for_what_next_and_current_point_to(root: str) -> None:
    releases.link(root, "next", TWO)
    assert releases.clear_unfinished(root) == [THREE]
    releases.link(root, "current", TWO)
    releases.unlink(f"{root}/next")
    assert releases.clear_unfinished(root) == []
    releases.link(root, "current", ONE)
    assert releases.clear_unfinished(root) == [TWO]
    assert releases.ids(root) == [ONE]


def test_names_that_a_rename_never_reached_go_and_no_others(root: str) -> None:
    left = [
        releases.temporary(f"{root}/{name}")
        for name in (
            "current",
            ".fabrelease",
            "shared/config.py",
            f"releases/{ONE}/release.json",
            f"releases/{ONE}/config/nginx.conf",
        )
    ]
    kept = [Path(root, "shared", "upload.123.456"), Path(root, "releases", ONE, "config", "nginx.conf")]
    Path(root, "shared").mkdir()
    for path in (*map(Path, left), *kept):
        path.write_text("half")
    Path(left[0]).unlink()
    Path(left[0]).symlink_to("releases/nowhere")
    assert sorted(releases.clear_temporary(root)) == sorted(left)
    assert all(path.exists() for path in kept)


def test_an_event_after_a_line_that_was_cut_off_is_not_lost(root: str) -> None:
    releases.remember(root, ONE)
    with Path(root, "history").open("a") as file:
        file.write('{"current": "2026')
    releases.remember(root, TWO)
    releases.remember(root, THREE)
    assert [event["current"] for event in releases.history(root)] == [ONE, TWO, THREE]


def test_a_root_that_a_setup_was_about_to_claim_is_claimed_by_the_next_and_nobody_elses(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_check_safe", lambda root: None)  # a test's directory is never root's alone
    mine = Path(root, "mine")
    mine.mkdir()
    Path(releases.temporary(f"{mine}/.fabrelease")).write_text("{")
    assert prepare.claim(owner("shop"), str(mine)) == [f"directory {mine}"]
    assert prepare.claim(owner("shop"), str(mine)) == []
    for app, path in (("other", mine), ("shop", Path(root))):
        with pytest.raises(Failed, match="nothing was touched"):
            prepare.claim(owner(app), str(path))


def owner(app: str, stage: str = "prod", project: str = "1111") -> prepare.Owner:
    return {"app": app, "stage": stage, "project": [project], "who": "ada@work"}


def test_a_root_stays_the_stage_s_and_the_project_s_that_it_was_set_up_for(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_check_safe", lambda root: None)
    mine = f"{root}/mine"
    Path(mine).mkdir()
    prepare.claim(owner("shop"), mine)
    for other, what in ((owner("shop", "staging"), "the stage prod"), (owner("shop", project="22"), "another project")):
        with pytest.raises(Failed, match=f"{mine} belongs to {what}.* ada@work"):
            prepare.claim(other, mine)
    assert prepare.claim({**owner("shop"), "project": [], "who": "ci@build"}, mine) == []  # a clone that is cut off
    assert prepare.claim(owner("shop", "production"), mine, take_over=True) == [f"directory {mine}"]
    assert prepare.claim(owner("shop", "production"), mine) == []


def test_a_root_of_an_older_version_is_taken_for_what_it_is_used_for_first(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_check_safe", lambda root: None)
    mine = Path(root, "mine")
    mine.mkdir()
    (mine / ".fabrelease").write_text('{"app": "shop"}')
    assert prepare.claim(owner("shop"), str(mine)) == []
    with pytest.raises(Failed, match="the stage prod"):
        prepare.claim(owner("shop", "staging"), str(mine))
