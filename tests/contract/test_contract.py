"""What every server under every manager keeps to. By default each server and each manager once; all: tox -e contract."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fabrelease.tasks.engine.remote import drivers
from tests.contract.pairs import PAIRS, VARIANTS, Pair
from tests.integration.support import ask, current, environment_of, left, revision, settle, sh, wait_for
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

VALUES = {
    "PLAIN": "a b",
    "PERCENT": "100% %(here)s %i %%",
    "QUOTES": "it's \"quoted\" `x` \\ back",
    "DOLLAR": "$HOME ${HOME} $$",
    "SIGNS": "#;@&|<>*?[]{}!~=, ",
    "LINES": "one\ntwo\n",
    "LETTERS": "é 日本 😀",
    "EMPTY": "",
}
UP_AGAIN = 60


@dataclass(frozen=True)
class Live:
    """A pair that is live on a server of its own."""

    pair: Pair
    server: Target
    project: Project

    @property
    def root(self) -> str:
        return f"/srv/{self.project.app}"

    def program(self, role: str = "web") -> dict[str, Any]:
        """What status says of a program."""
        settle(self.server)
        programs = self.project.status()["programs"]
        (found,) = [program for program in programs if program["role"] == role]
        return dict(found)

    def deploy(self, ref: str) -> None:
        self.project.fab("-H", "prod", "deploy", "--ref", ref)


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def live(request: pytest.FixtureRequest, prepared_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    pair: Pair = request.param
    with Target.start(prepared_image) as server:
        project = Project(tmp_path_factory.mktemp("contract") / "project", VARIANTS[pair.variant].app)
        project.stage({"web1": server}, env=VALUES, processes={"worker": "python worker.py"}, **pair.settings())
        project.fab("-H", "prod", "setup")
        again = project.fab("-H", "prod", "setup")
        assert "nothing to do: the server is ready" in again.stdout + again.stderr
        live = Live(pair, server, project)
        live.deploy("one")
        live.deploy("two")
        yield live


def test_each_server_that_comes_with_the_package_is_tried() -> None:
    assert {variant.server for variant in VARIANTS.values()} == set(drivers.packaged("servers"))
    assert {pair.manager for pair in PAIRS} == set(drivers.packaged("managers"))
    assert {VARIANTS[pair.variant].server for pair in PAIRS} == set(drivers.packaged("servers"))


def test_status_tells_what_runs_and_as_whom(live: Live) -> None:
    assert revision(live.server) == "two"
    for role in ("web", "worker"):
        program = live.program(role)
        assert (program["user"], program["release"]) == (live.project.app, current(live.server, live.root))
        assert 0 < program["uptime"] < 600
        owner = sh(live.server, 'stat -c %U "/proc/$1"', str(program["pid"])).strip()
        assert owner == live.project.app
    wanted = VARIANTS[live.pair.variant].web.get("workers", 2)
    assert wait_for(lambda: live.program()["workers"] == wanted)
    assert live.project.status()["ok"]


def test_values_of_the_environment_arrive_as_they_were_written(live: Live) -> None:
    for role in ("web", "worker"):
        there = environment_of(live.server, live.program(role)["pid"])
        assert {name: there.get(name) for name in VALUES} == VALUES


def test_what_programs_write_is_in_the_logs(live: Live) -> None:
    mark = secrets.token_hex(8)
    ask(live.server, f"/echo?key={mark}", method="POST", body="x")
    assert wait_for(lambda: mark in said(live.project.fab("-H", "prod", "logs", "--lines", "50")))


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_no_line_is_lost_when_the_logs_are_rotated(live: Live) -> None:
    marks = [secrets.token_hex(8) for _ in range(2)]
    ask(live.server, f"/echo?key={marks[0]}", method="POST", body="x")
    assert wait_for(lambda: marks[0] in written(live, "cat"))
    rotated = live.server.exec(["logrotate", "--force", f"/etc/logrotate.d/fabrelease-{live.project.app}"])
    assert (rotated.stdout + rotated.stderr).decode() == ""
    ask(live.server, f"/echo?key={marks[1]}", method="POST", body="x")
    assert wait_for(lambda: marks[1] in written(live, "cat"))

    # A program that is told to open its log anew does so in a moment of its own: what comes just before is in the old file.
    def shown() -> bool:
        ask(live.server, f"/echo?key={marks[1]}", method="POST", body="x")
        return marks[1] in said(live.project.fab("-H", "prod", "logs", "--which", "app", "--lines", "99"))

    assert wait_for(shown)
    assert sh(live.server, f"cat {live.root}/logs/nginx-access.log*").count(marks[0]) == 1
    sh(live.server, f"rm -f {live.root}/logs/*-20*")


def written(live: Live, program: str) -> str:
    """What is in the application's log files now, and in the journal where they are there."""
    journal = f"journalctl --quiet _UID=$(id -u {live.project.app})"
    return sh(live.server, f"{program} {live.root}/logs/web.log* 2>/dev/null || true; {journal} -n 200")


def test_workers_come_and_go_while_they_work_or_it_is_said_why_not(live: Live) -> None:
    before = live.program()
    wanted = before["workers"] + 1
    server, settings = drivers.server(VARIANTS[live.pair.variant].server), VARIANTS[live.pair.variant].web
    most = server.most_workers(settings.get("workers", 2), settings.get("settings", {}))
    if most < wanted:
        refused = live.project.fab("-H", "prod", "scale", str(wanted), status=1)
        assert "while it runs" in refused.stderr or f"at most {most}" in refused.stderr
    else:
        live.project.fab("-H", "prod", "scale", str(wanted))
        assert live.program()["workers"] == wanted
        live.project.fab("-H", "prod", "scale", "reset")
    assert (live.program()["workers"], live.program()["pid"]) == (before["workers"], before["pid"])


def test_deploys_and_rollbacks_lose_no_request(live: Live) -> None:
    deadline = time.monotonic() + 300
    with Load((live.server.host, live.server.http_port), current(live.server, live.root), label=secrets.token_hex(4)) as load:
        for number, command in enumerate((("deploy", "--ref", "one"), ("rollback",), ("deploy", "--ref", "one"), ("rollback",))):
            load.wait(100 * (number + 1), deadline)
            load.sequence.begin()
            live.project.fab("-H", "prod", *command)
            now = current(live.server, live.root)
            assert wait_for(lambda now=now: load.sequence.seen[-1] == now)
        load.wait(600, deadline)
    assert load.failures == []
    executed = Counter(sh(live.server, f"cat {live.root}/shared/data/executed").split())
    assert [key for key in load.posted if executed[key] > 1] == []
    assert [key for key, answered in load.posted.items() if answered and not executed[key]] == []


def test_only_the_live_release_runs_and_nothing_of_others_is_left(live: Live) -> None:
    settle(live.server)
    status = live.project.status()
    assert {program["release"] for program in status["programs"]} == {current(live.server, live.root)}
    assert sorted(program["role"] for program in status["programs"]) == ["web", "worker"]
    places = sh(live.server, 'for p in /proc/[0-9]*; do readlink $p/cwd || true; done').split()
    ours = {place for place in places if place.startswith(f"{live.root}/releases/")}
    assert ours == {f"{live.root}/releases/{current(live.server, live.root)}/public"}


def test_a_release_that_cannot_start_never_goes_live(live: Live) -> None:
    before, served = current(live.server, live.root), revision(live.server)
    module = live.project.path / "app" / f"{live.project.app}.py"
    whole = module.read_text()
    module.write_text(f"raise RuntimeError('broken on purpose')\n{whole}")
    live.project.repository.commit(f"broken-{secrets.token_hex(4)}")
    done = live.project.fab("-H", "prod", "deploy", status=1)
    assert "broken on purpose" in said(done)
    assert (current(live.server, live.root), revision(live.server)) == (before, served)
    settle(live.server)
    assert live.project.status()["ok"]
    module.write_text(whole)
    live.project.repository.commit(f"mended-{secrets.token_hex(4)}")


def test_workers_and_masters_that_are_killed_come_back(live: Live) -> None:
    before = live.program()
    workers = sh(live.server, 'cat "/proc/$1/task/$1/children"', str(before["pid"])).split()
    if before["workers"] and workers:
        sh(live.server, f"kill -9 {workers[-1]}")
        assert wait_for(lambda: live.program()["workers"] == before["workers"], 60)
    for role in ("web", "worker"):
        pid = live.program(role)["pid"]
        sh(live.server, f"kill -9 {pid}")
        assert wait_for(lambda role=role, pid=pid: live.program(role)["pid"] not in (0, pid), 60)
    assert wait_for(lambda: answers(live.server), UP_AGAIN)
    assert wait_for(lambda: live.project.status()["ok"], UP_AGAIN)


def answers(server: Target) -> bool:
    try:
        return revision(server) is not None
    except OSError:
        return False


def test_all_is_up_again_after_the_power_was_cut(live: Live) -> None:
    before = current(live.server, live.root)
    live.server.kill()
    live.server.boot()
    assert wait_for(lambda: answers(live.server), UP_AGAIN)
    assert current(live.server, live.root) == before
    assert wait_for(lambda: live.project.status()["ok"], UP_AGAIN)
    live.deploy("one")
    assert revision(live.server) == "one"


def test_removed_it_leaves_no_trace_but_what_is_shared(live: Live) -> None:
    live.project.fab("-H", "prod", "remove", "--yes")
    assert left(live.server, live.project.app) == []
    assert sh(live.server, f"ls -A {live.root}").split() == ["shared"]
