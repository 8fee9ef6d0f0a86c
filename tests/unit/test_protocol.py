"""The cutover against hosts in memory: every death at every point, and what may be live after it (docs/cutover.md)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import cutover, releases
from fabrelease.tasks.engine.remote.failure import Failed

from .hosts_in_memory import Died, Host, cutover_to, deploy, disk_of, next_command

OLD, NEW, LATER = "20260101T000000Z-1111111", "20260102T000000Z-2222222", "20260103T000000Z-3333333"
Death = Callable[[Host], None]
DEATHS: dict[str, Death] = {"the host loses its power": Host.loses_power, "the session is killed": Host.session_is_killed}


@pytest.fixture(autouse=True)
def files_are_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fchown", lambda *args: None)
    monkeypatch.setattr("os.fsync", lambda handle: None)


def host_with_old(path: Path, linger: float | None = None) -> Host:
    """A host on which a release is live, with a background process."""
    host = Host(path)
    host.linger = linger
    host.release(OLD, "worker")
    deploy(host, OLD)
    host.effects, host.served = 0, []
    return host


def effects_of_a_deploy(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    host = host_with_old(path)
    host.release(NEW, "worker")
    with disk_of([host], monkeypatch):
        deploy(host, NEW)
    return host.effects


def is_clean(host: Host, live: str) -> bool:
    """Whether a release is live, whole, and nothing else runs or stands about."""
    root = str(host.root)
    assert releases.linked(root, "current") == live
    following = releases.linked(root, "next")
    assert following is None or (following != live and releases.read(root, following)["state"] == "built")
    programs = {"app": f"site-{live}", "worker": f"site-{live}-worker"}
    assert host.running == {program: "up" for role, program in programs.items() if role in host.roles}
    assert host.visit() == (200, live)
    assert releases.read(root, live)["state"] == "good"
    assert releases.history(root)[-1]["current"] == live
    return True


def test_a_deploy_serves_at_each_moment_and_keeps_two_good_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with_old(tmp_path)
    for name in (NEW, LATER):
        host.release(name, "worker")
        with disk_of([host], monkeypatch):
            deploy(host, name)
        assert is_clean(host, name)
    assert {status for status, _ in host.served} == {200}
    assert releases.rollback_target(str(host.root)) == NEW
    assert releases.ids(str(host.root)) == [NEW, LATER]


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS.keys())
def test_whatever_dies_at_whatever_point_one_release_serves_and_the_next_command_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    points = effects_of_a_deploy(tmp_path / "whole", monkeypatch)
    lived = []
    for point in range(1, points + 1):
        host = host_with_old(tmp_path / str(point))
        host.release(NEW, "worker")
        host.dies_at = point
        with disk_of([host], monkeypatch):
            with pytest.raises(Died):
                deploy(host, NEW)
            death(host)
            assert host.visit()[0] == 200, f"nothing serves after a death at {point}"
            next_command(host)
        live = str(releases.linked(str(host.root), "current"))
        assert is_clean(host, live)
        assert all(status == 200 for status, _ in host.served)
        lived.append(live)
        host.release(LATER, "worker")
        deploy(host, LATER)
        assert is_clean(host, LATER)
    assert lived == sorted(lived), "after the rename it is always the new one"
    assert {OLD, NEW} == set(lived)


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS.keys())
def test_a_death_while_the_next_command_clears_up_is_cleared_up_by_the_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    points = effects_of_a_deploy(tmp_path / "whole", monkeypatch)
    again = 0
    for point in range(1, points + 1):
        for second in range(1, 30):
            host = host_with_old(tmp_path / f"{point}-{second}")
            host.release(NEW, "worker")
            host.dies_at = point
            with disk_of([host], monkeypatch):
                with pytest.raises(Died):
                    deploy(host, NEW)
                death(host)
                host.effects, host.dies_at = 0, second
                try:
                    next_command(host)
                except Died:
                    again += 1
                else:
                    break
                death(host)
                next_command(host)
            assert is_clean(host, str(releases.linked(str(host.root), "current")))
    assert again > points / 2, "clearing up has something to do after most deaths"


@pytest.mark.parametrize("illness", ["sick", "dead"])
def test_a_release_that_is_not_healthy_is_never_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, illness: str) -> None:
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    getattr(host, illness).add(NEW)
    with disk_of([host], monkeypatch), pytest.raises(Failed, match="nothing was switched"):
        cutover.start(cutover_to(host, NEW), host.machine)
    assert is_clean(host, OLD)
    assert releases.read(str(host.root), NEW)["state"] == "bad"
    assert host.clock.now < 60


def test_a_site_that_answers_wrongly_after_the_switch_is_switched_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    cutover.start(cutover_to(host, NEW), host.machine)
    host.sick.add(NEW)
    with disk_of([host], monkeypatch), pytest.raises(Failed, match=f"Switched back: {OLD} is live"):
        cutover.switch(cutover_to(host, NEW), False, host.machine)
    assert is_clean(host, OLD)


def test_requests_that_go_on_are_waited_for_and_counted_where_they_are_cut(tmp_path: Path) -> None:
    for connections, cut in ((5, 0), (10_000, True)):
        host = host_with_old(tmp_path / str(connections))
        host.release(NEW, "worker")
        to = cutover_to(host, NEW)
        cutover.start(to, host.machine)
        cutover.switch(to, False, host.machine)
        host.open = connections
        finished = cutover.finish(to, {}, host.machine)
        assert bool(finished["cut"]) == bool(cut)
        assert finished["drained"] <= 3.1
        host.session.answered()
        assert bool(host.killed) == bool(cut)


@pytest.mark.parametrize(
    ("open_ones", "queued", "kept", "least", "most"),
    [(20, 0, False, 0, 0.5), (10_000, 0, True, 1, 1.1), (10_000, 75, True, 1.4, 1.6), (10_000, 10_000, True, 3, 3.1)],
    ids=["all end", "one does not", "the queue is waited for", "the queue does not end"],
)
def test_a_server_that_finishes_what_it_has_is_not_waited_for_that_long_and_not_killed(
    tmp_path: Path, open_ones: int, queued: int, kept: bool, least: float, most: float
) -> None:
    host = host_with_old(tmp_path, linger=1.0)
    host.release(NEW, "worker")
    to = cutover_to(host, NEW)
    cutover.start(to, host.machine)
    cutover.switch(to, False, host.machine)
    host.open, host.queued = open_ones, queued
    finished = cutover.finish(to, {}, host.machine)
    assert (bool(finished["kept"]), finished["cut"]) == (kept, 0)
    assert least <= finished["drained"] <= most
    host.session.answered()
    assert host.killed == []
    assert is_clean(host, NEW)


@pytest.mark.parametrize("site", ["site\n", "another\n"])
def test_old_workers_stop_before_the_rename_and_new_ones_start_after_it_and_nginx_reads_what_is_new(
    tmp_path: Path, site: str
) -> None:
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    (tmp_path / "releases" / NEW / "config" / "http.conf").write_text(site)
    cutover.start(cutover_to(host, NEW), host.machine)
    host.done = []
    cutover.switch(cutover_to(host, NEW), False, host.machine)
    workers = [f"stop site-{OLD}-worker while {OLD}", f"start site-{NEW}-worker while {NEW}"]
    assert host.done == [*workers, *([] if site == "site\n" else [f"reload while {NEW}"])]


def test_what_cannot_be_undone_is_told_with_what_to_type_and_the_rest_is_undone(tmp_path: Path) -> None:
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    cutover.start(cutover_to(host, NEW), host.machine)
    host.sick.add(NEW)
    host.refused.add(f"site-{OLD}-worker")
    with pytest.raises(Failed, match=rf"Not all could be switched back to {OLD}: site-{OLD}-worker does") as failed:
        cutover.switch(cutover_to(host, NEW), False, host.machine)
    assert failed.value.needs_person
    assert f"start site-{OLD} site-{OLD}-worker" in failed.value.hint
    assert (host.visit(), host.running) == ((200, OLD), {f"site-{OLD}": "up"})


def test_what_is_live_and_cannot_be_written_down_is_told_as_such_and_the_next_command_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    cutover.start(cutover_to(host, NEW), host.machine)
    cutover.switch(cutover_to(host, NEW), False, host.machine)

    def full(*args: object, durable: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/site/history")

    with monkeypatch.context() as patch, pytest.raises(Failed, match=f"{NEW} is live.*No space left") as told:
        patch.setattr(releases, "write_atomically", full)
        cutover.finish(cutover_to(host, NEW), {}, host.machine)
    assert told.value.needs_person
    assert host.visit() == (200, NEW)
    next_command(host)
    assert is_clean(host, NEW)


def test_releases_that_follow_each_other_use_different_pools_of_connections(tmp_path: Path) -> None:
    host = host_with_old(tmp_path)
    for name, others in ((NEW, True), (LATER, False)):
        host.release(name, "worker")
        deploy(host, name)
        assert (tmp_path / "releases" / name / "pool-b").exists() is others


# --- the deployer dies, and its hosts decide by themselves

PHASES = ("start", "switch", "commit", "finish")


def run_phase(host: Host, phase: str, name: str) -> None:
    to, machine = cutover_to(host, name), host.machine
    if phase == "start":
        cutover.start(to, machine)
    elif phase == "switch":
        cutover.switch(to, True, machine)
    elif phase == "commit":
        cutover.commit(to, machine)
    else:
        cutover.finish(to, {"what": "deploy"}, machine)


def test_wherever_the_deployer_dies_all_hosts_are_on_one_release_but_while_it_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host's calls in their order, on three hosts; the deployer dies after any number of them."""
    calls = [(phase, index) for phase in PHASES for index in range(3)]
    for dies_after in range(len(calls) + 1):
        hosts = [host_with_old(tmp_path / f"{dies_after}-{index}") for index in range(3)]
        for host in hosts:
            host.release(NEW, "worker")
        for phase, index in calls[:dies_after]:
            run_phase(hosts[index], phase, NEW)
            hosts[index].session.answered()
        for host in hosts:
            host.session.abandoned()
            next_command(host)
        live = [str(releases.linked(str(host.root), "current")) for host in hosts]
        for host, name in zip(hosts, live, strict=True):
            assert is_clean(host, name)
            assert all(status == 200 for status, _ in host.served)
        telling = calls[:dies_after][-1:] in ([("commit", 0)], [("commit", 1)])
        told = [index for phase, index in calls[:dies_after] if phase == "commit"]
        expected = [NEW if index in told else OLD for index in range(3)]
        assert live == expected
        assert len(set(live)) == 1 or telling


def test_a_session_that_ends_answers_no_call_any_more(tmp_path: Path) -> None:
    """It stalled, went back by itself, and is heard again: it must not say that it stays."""
    host = host_with_old(tmp_path)
    host.release(NEW, "worker")
    for phase in ("start", "switch"):
        run_phase(host, phase, NEW)
    host.session.abandoned()
    with pytest.raises(AssertionError, match="a session that ends"):
        run_phase(host, "commit", NEW)
    assert is_clean(host, OLD)
