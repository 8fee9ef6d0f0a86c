"""Trees that somebody else wrote: removed, given and sealed without following a link, however deep."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import tree
from fabrelease.tasks.engine.remote.failure import Failed

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
SOMEBODY = 4242


def deep(path: Path, levels: int) -> None:
    """Directories within each other, deeper than a path can be long."""
    path.mkdir()
    handle = os.open(path, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=handle)
        below = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)


@pytest.mark.parametrize("levels", [1500, 5000])
def test_a_deep_tree_is_removed(tmp_path: Path, levels: int) -> None:
    deep(tmp_path / "release", levels)
    assert tree.remove(str(tmp_path / "release"))
    assert list(tmp_path.iterdir()) == []


def test_what_links_point_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("precious")
    release = tmp_path / "release"
    (release / "a/b").mkdir(parents=True)
    (release / "a/b/out").symlink_to(kept)
    (release / "file").symlink_to(kept / "file")
    os.mkfifo(release / "a/pipe")
    assert tree.remove(str(release))
    assert (kept / "file").read_text() == "precious"
    (tmp_path / "link").symlink_to(kept)
    assert tree.remove(str(tmp_path / "link"))
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_one_directory_that_holds_too_much_is_left_when_the_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "release").mkdir()
    for number in range(50):
        (tmp_path / f"release/{number}").touch()
    monkeypatch.setattr(tree, "REMOVE_SECONDS", -1.0)
    assert not tree.remove(str(tmp_path / "release"))
    (hidden,) = tmp_path.iterdir()
    assert hidden.name.startswith(".release.")
    monkeypatch.undo()
    assert tree.remove(str(hidden))


def test_what_is_not_there_is_gone(tmp_path: Path) -> None:
    assert tree.remove(str(tmp_path / "nothing"))
    assert tree.remove(str(tmp_path / ".nothing"))


def test_links_that_lead_out_are_found(tmp_path: Path) -> None:
    (tmp_path / "lib/sub").mkdir(parents=True)
    (tmp_path / "lib64").symlink_to("lib")
    (tmp_path / "lib/sub/up").symlink_to("../../lib")
    (tmp_path / "lib/sub/out").symlink_to("../../../etc")
    (tmp_path / "python").symlink_to("/usr/bin/python3")
    # Read as text it stays inside; the link on its way goes up to the top first, and from there out.
    (tmp_path / "lib/sub/top").symlink_to("../..")
    (tmp_path / "sly").symlink_to("lib/sub/top/../etc")
    assert tree.links_out(str(tmp_path)) == {
        "lib/sub/out": "../../../etc",
        "python": "/usr/bin/python3",
        "sly": "lib/sub/top/../etc",
    }


@as_root
def test_a_sealed_tree_is_root_s_and_nobody_else_writes_in_it(tmp_path: Path) -> None:
    top = tmp_path / "env"
    (top / "bin").mkdir(parents=True)
    for name, mode in (("open", 0o666), ("setuid", 0o4755), ("group", 0o2775), ("plain", 0o644)):
        (top / "bin" / name).write_text(name)
        (top / "bin" / name).chmod(mode)
    outside = tmp_path / "outside"
    outside.write_text("outside")
    outside.chmod(0o666)
    os.chown(outside, SOMEBODY, SOMEBODY)
    (top / "link").symlink_to(outside)
    os.mkfifo(top / "pipe")
    top.chmod(0o777)
    tree.give(str(top), SOMEBODY, SOMEBODY)
    assert (top.stat().st_uid, stat.S_IMODE(top.stat().st_mode)) == (SOMEBODY, 0o777)
    assert (top / "bin/plain").stat().st_uid == SOMEBODY
    tree.seal(str(top))
    for path in [top, *top.rglob("*")]:
        info = path.lstat()
        assert (info.st_uid, info.st_gid) == (0, 0), path
        assert path.is_symlink() or path.name == "pipe" or not info.st_mode & tree.LOOSE, path
    assert (outside.stat().st_uid, stat.S_IMODE(outside.stat().st_mode)) == (SOMEBODY, 0o666)


@as_root
def test_a_file_with_another_name_elsewhere_becomes_one_of_its_own(tmp_path: Path) -> None:
    top, outside = tmp_path / "env", tmp_path / "outside"
    top.mkdir()
    outside.write_text("content")
    outside.chmod(0o664)
    os.chown(outside, SOMEBODY, SOMEBODY)
    os.link(outside, top / "same")
    tree.seal(str(top))
    assert (top / "same").read_text() == "content"
    assert ((top / "same").stat().st_uid, stat.S_IMODE((top / "same").stat().st_mode)) == (0, 0o644)
    assert (outside.stat().st_uid, outside.stat().st_nlink) == (SOMEBODY, 1)


@as_root
def test_holes_of_a_file_with_another_name_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    path = tmp_path / "tree/file"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"in the middle")
        file.truncate(1 << 40)
    os.link(path, tmp_path / "other")
    os.chown(path, SOMEBODY, SOMEBODY)
    tree.seal(str(tmp_path / "tree"))
    info = path.stat()
    assert (info.st_uid, info.st_nlink, info.st_size) == (0, 1, 1 << 40)
    assert info.st_blocks < 1000
    with path.open("rb") as file:
        file.seek((1 << 20) - 1)
        assert file.read(15) == b"\0in the middle\0"


@as_root
@pytest.mark.parametrize("is_mapped", [False, True])
def test_who_holds_a_file_open_for_writing_writes_into_another_one_once_it_is_sealed(
    tmp_path: Path, is_mapped: bool
) -> None:
    path = tmp_path / "env/code.py"
    path.parent.mkdir()
    path.write_text("good")
    os.chown(path, SOMEBODY, SOMEBODY)
    with path.open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 4)
        held = os.dup(file.fileno()) if not is_mapped else None
    if held is not None:
        memory.close()
    untouched = tmp_path / "env/other.py"
    untouched.write_text("other")
    before = untouched.stat().st_ino
    tree.seal(str(path.parent))
    if held is not None:
        os.pwrite(held, b"evil", 0)
        os.close(held)
    else:
        memory[:] = b"evil"
        memory.close()
    assert path.read_text() == "good"
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)
    assert untouched.stat().st_ino == before  # what nobody holds is not copied


def test_a_tree_that_is_too_deep_is_not_sealed(tmp_path: Path) -> None:
    deep(tmp_path / "env", tree.DEEPEST + 5)
    with pytest.raises(Failed, match="directories deep"):
        tree.links_out(str(tmp_path / "env"))
    assert tree.remove(str(tmp_path / "env"))


@as_root
def test_what_is_given_away_is_nothing_that_stands_elsewhere_too(tmp_path: Path) -> None:
    """A release that is another started again has its files by hard links, and the build hook's account gets them."""
    live, following = tmp_path / "live", tmp_path / "next"
    for place in (live, following):
        place.mkdir()
    (live / "app.py").write_text("good")
    os.link(live / "app.py", following / "app.py")
    tree.give(str(following), SOMEBODY, SOMEBODY)
    tree.seal(str(following))
    assert (live / "app.py").stat().st_uid == 0
    assert (following / "app.py").read_text() == "good"
