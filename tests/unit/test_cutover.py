"""The phases of a cutover and their undoing, with the programs of a host in memory; what is counted and read, for real."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fabrelease.tasks.engine.remote import cutover, nginx, releases
from fabrelease.tasks.engine.remote.failure import Failed

OLD, NEW = "20260101T000000Z-1111111", "20260102T000000Z-2222222"


class Host:
    """The programs that run, and all that is done, in order; it stands in for the manager, nginx and the site."""

    def __init__(self, root: Path) -> None:
        self.root, self.done = root, list[str]()
        self.up = {f"site-{OLD}", f"site-{OLD}-worker", f"site-{NEW}"}
        self.answers = True

    def live(self) -> str:
        return os.path.basename(os.readlink(self.root / "current"))

    def of_app(self, app: str) -> list[dict[str, str]]:
        return [{"name": name} for name in sorted(self.up)]

    def is_up(self, program: dict[str, str]) -> bool:
        return True

    def add(self, name: str, root: str) -> None:
        self.done.append(f"add {name} while {self.live()}")
        self.up.add(name)

    def stop(self, names: list[str], root: str, user: str, at_once: bool) -> None:
        self.done += [f"stop {name} while {self.live()}" for name in names if name in self.up]
        self.up -= set(names)

    def settle(self, app: str) -> None:
        pass

    def reload(self) -> None:
        self.done.append("reload")

    def ask_site(self, plan: cutover.Plan) -> dict[str, float]:
        if not self.answers:
            raise Failed("the site does not answer")
        return {"seconds": 0.1}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """OLD is live with its worker; NEW's server runs beside it."""
    host = Host(tmp_path)
    monkeypatch.setattr("os.fchown", lambda *args: None)
    monkeypatch.setattr(cutover, "manager_of", lambda plan: host)
    monkeypatch.setattr(cutover, "_ask_site", host.ask_site)
    monkeypatch.setattr(nginx, "reload", host.reload)
    for name, state in ((OLD, "good"), (NEW, "built")):
        (tmp_path / "releases" / name / "config").mkdir(parents=True)
        known = {"id": name, "state": state, "address": "", "processes": ["worker"]}
        (tmp_path / "releases" / name / "release.json").write_text(json.dumps(known))
        (tmp_path / "releases" / name / "config/nginx.conf").write_text("the same")
    releases.link(str(tmp_path), "current", OLD)
    releases.link(str(tmp_path), "next", NEW)
    return host


def plan(host: Host) -> cutover.Plan:
    given: dict[str, Any] = {"app": "site", "root": str(host.root), "user": "site", "release": NEW, "address": ""}
    return cast(cutover.Plan, {**given, "processes": ["worker"], "ask_site": {"status": 200}, "drain": 0})


WORKERS = [f"stop site-{OLD}-worker while {OLD}", f"add site-{NEW}-worker while {NEW}"]


@pytest.mark.parametrize("site", ["the same", "another"])
def test_a_switch_stops_the_old_workers_renames_starts_the_new_ones_and_reloads_nginx_where_it_must(
    host: Host, site: str
) -> None:
    (host.root / f"releases/{NEW}/config/nginx.conf").write_text(site)
    assert cutover.switch(plan(host), among_others=False)["old"] == OLD
    assert host.done == [*WORKERS, *(["reload"] if site == "another" else [])]
    assert host.up == {f"site-{OLD}", f"site-{NEW}", f"site-{NEW}-worker"}
    assert releases.read(str(host.root), NEW)["came_after"] == OLD


def test_a_switch_to_a_site_that_does_not_answer_is_undone_to_the_last(host: Host) -> None:
    host.answers = False
    with pytest.raises(Failed, match=f"the site does not answer\n  Switched back: {OLD} is live"):
        cutover.switch(plan(host), among_others=False)
    assert (host.live(), host.up) == (OLD, {f"site-{OLD}", f"site-{OLD}-worker"})
    assert host.done[2:] == [
        f"stop site-{NEW}-worker while {NEW}",
        f"add site-{OLD}-worker while {OLD}",
        f"stop site-{NEW} while {OLD}",
    ]
    assert releases.read(str(host.root), NEW)["state"] == "bad"
    assert releases.linked(str(host.root), "next") is None


def test_what_cannot_be_undone_is_told_with_what_to_type_and_the_rest_is_undone(host: Host) -> None:
    host.answers = False

    def add(name: str, root: str) -> None:
        if OLD in name:
            raise Failed(f"{name} does not start")
        Host.add(host, name, root)

    host.add = add  # type: ignore[method-assign]
    with pytest.raises(Failed, match=rf"Not all could be switched back to {OLD}: site-{OLD}-worker does") as failed:
        cutover.switch(plan(host), among_others=False)
    assert failed.value.needs_person
    assert f"sudo supervisorctl start site-{OLD} site-{OLD}-worker" in (failed.value.hint or "")
    assert (host.live(), host.up) == (OLD, {f"site-{OLD}"})


def test_a_release_that_is_given_up_before_it_serves_is_stopped_and_one_that_serves_is_not(host: Host) -> None:
    releases.link(str(host.root), "current", NEW)
    cutover.abandon(plan(host), "no reason")
    assert (host.done, releases.read(str(host.root), NEW)["state"]) == ([], "built")
    releases.link(str(host.root), "current", OLD)
    cutover.abandon(plan(host), "it does not start")
    assert host.done == [f"stop site-{NEW} while {OLD}"]
    assert releases.read(str(host.root), NEW)["reason"] == "it does not start"
    assert releases.linked(str(host.root), "next") is None


def test_releases_that_follow_each_other_use_different_pools_of_connections(host: Host) -> None:
    marks = [host.root / f"releases/{name}/pool-b" for name in (OLD, NEW)]
    cutover.switch(plan(host), among_others=False)
    assert [mark.exists() for mark in marks] == [False, True]
    marks[0].touch()
    releases.link(str(host.root), "current", OLD)
    cutover.switch(plan(host), among_others=False)
    assert [mark.exists() for mark in marks] == [True, False]


@contextlib.contextmanager
def listening(family: socket.AddressFamily, address: object) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.bind(address)  # type: ignore[arg-type]
        server.listen(10)
        yield server


def connect(server: socket.socket, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket(server.family))
    client.connect(server.getsockname())
    return client


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_requests_in_the_queue_and_open_ones_are_counted_and_those_of_others_are_not(
    tmp_path: Path, kind: str
) -> None:
    families = {"unix": socket.AF_UNIX, "tcp": socket.AF_INET}
    places = {"unix": [str(tmp_path / "a.sock"), str(tmp_path / "a.sock2")], "tcp": [("127.0.0.1", 0)] * 2}
    with contextlib.ExitStack() as stack:
        server, other = (stack.enter_context(listening(families[kind], place)) for place in places[kind])
        name = server.getsockname()
        address = f"unix:{name}" if kind == "unix" else f"127.0.0.1:{name[1]}"
        assert cutover.waiting(address) == 0
        connect(other, stack)
        first, *_ = (connect(server, stack) for _ in range(3))
        # Of a connection that nobody has accepted yet, TCP knows twice: in the queue, and as open.
        assert cutover.waiting(address) == (3 if kind == "unix" else 6)
        accepted = [stack.enter_context(server.accept()[0]) for _ in range(3)]
        assert cutover.waiting(address) == 3
        first.close()
        accepted[0].close()
        assert cutover.waiting(address) == 2


def test_where_there_is_no_address_nothing_waits() -> None:
    assert cutover.waiting("") == 0


def test_of_a_log_the_lines_after_a_position_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("before\n")
    offset = path.stat().st_size
    with path.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(4))
    assert cutover.tail(str(path), offset) == [f"line {number}" for number in range(4)]
    assert cutover.tail(str(path), offset, 2) == ["line 2", "line 3"]
    path.write_text("new\n")  # shorter than it was: another file by now
    assert cutover.tail(str(path), offset) == ["new"]
    assert cutover.tail(str(tmp_path / "none.log"), 0) == []


def test_no_more_of_a_log_is_read_than_its_end(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("x" * 100_000 + "\nlast\n")
    assert sum(map(len, cutover.tail(str(path), 0))) <= cutover.LOG_BYTES
    assert cutover.tail(str(path), 0)[-1] == "last"
