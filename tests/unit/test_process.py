"""Running programs: they end in time with all they started, and what they say fits in bounded space."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import cgroup, process

if not Path("/proc/self/cgroup").exists():
    pytest.skip("this is the host's side, and hosts are Linux", allow_module_level=True)


def can_be_used(mounts: dict[str, str]) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroup, "MOUNTS", mounts)
        return bool(cgroup._places())


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another user")
# A machine has its control groups in one of these; one that has both versions, in two.
HIERARCHIES = {
    "version 1": {"name=systemd": cgroup.MOUNTS["name=systemd"]},
    "version 2": {"": cgroup.MOUNTS[""]},
    "version 2 beside 1": {"": "/sys/fs/cgroup/unified"},
}
HERE = {name: mounts for name, mounts in HIERARCHIES.items() if can_be_used(mounts)}
ESCAPE = "setsid sh -c 'setsid sleep {0} & setsid setsid sleep {0} &' & wait $!; {1}"  # new sessions, nobody's children


@pytest.fixture(params=HERE)
def hierarchy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place that this machine has control groups in."""
    monkeypatch.setattr(cgroup, "MOUNTS", HERE[request.param])


def sleepers(seconds: str) -> int:
    """How many processes sleep for so long."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes() == f"sleep\0{seconds}\0".encode()
    return found


def taken(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


@needs_root
def test_what_a_user_s_program_leaves_is_ended_with_it(hierarchy: None) -> None:
    assert taken(lambda: process.run(["sh", "-c", ESCAPE.format(4001, "echo said")], user="nobody")) < 60
    assert sleepers("4001") == 0


@needs_root
def test_a_user_s_program_that_takes_too_long_is_ended_with_all_it_started(hierarchy: None) -> None:
    done = process.run(["sh", "-c", ESCAPE.format(4002, "exec yes")], user="nobody", timeout=0.5)
    assert done.status is None
    assert done.lines == ["y"] * process.TAIL_LINES
    assert sleepers("4002") == 0


@needs_root
def test_no_control_group_is_left(hierarchy: None) -> None:
    process.run(["sh", "-c", ESCAPE.format(4003, ":")], user="nobody")
    with pytest.raises(FileNotFoundError):
        process.run(["true"], user="nobody", cwd="/nowhere")
    assert not [path for place in cgroup._places() for path in Path(place).glob(f"{cgroup.NAME}.{os.getpid()}.*")]


@needs_root
def test_where_no_control_group_can_be_made_the_end_of_a_program_is_still_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "MOUNTS", {})
    done = process.run(["sh", "-c", "sleep 4004 & setsid sleep 5 & echo said"], user="nobody", timeout=3)
    assert (done.status, done.lines) == (0, ["said"])
    assert sleepers("4004") == 0


@needs_root
def test_a_user_s_program_has_that_user_s_rights_and_no_others() -> None:
    ids = process.run(["sh", "-c", "id -u; id -G; grep -E '^(Uid|CapEff)' /proc/self/status"], user="nobody").lines
    uid, groups, uids, capabilities = ids
    assert (uid, groups) == ("65534", "65534")
    assert set(uids.split()[1:]) == {"65534"}
    assert int(capabilities.split()[1], 16) == 0


def test_the_end_of_a_program_is_the_end_of_its_process_whoever_holds_its_pipe() -> None:
    done = process.run(["sh", "-c", "setsid sleep 5 & echo said"], timeout=3)
    assert (done.status, done.lines) == (0, ["said"])


def test_a_program_that_takes_too_long_is_ended_whether_it_writes_or_not() -> None:
    for command in ("exec yes", "exec sleep 30", "exec >&- 2>&-; exec sleep 30", "sleep 30 & exec sleep 30"):
        assert process.run(["sh", "-c", command], timeout=0.3).status is None


def test_all_that_was_written_before_the_end_arrives() -> None:
    seen: list[str] = []
    done = process.run(["sh", "-c", "seq 100000; printf last"], on_line=seen.append)
    assert seen == [*map(str, range(1, 100001)), "last"]
    assert done.lines == seen[-process.TAIL_LINES :]
    assert process.run(["seq", "50"], keep=100).lines == seen[:50]


def test_a_line_without_an_end_is_cut_and_said_to_be_and_takes_no_room() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = process.run(["sh", "-c", "head -c 400000000 /dev/zero | tr '\\0' x; echo; echo short"])
    assert done.lines == ["x" * process.LINE_BYTES + process.CUT, "short"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert process.run(["printf", "%s", "x" * process.LINE_BYTES]).lines == ["x" * process.LINE_BYTES]
