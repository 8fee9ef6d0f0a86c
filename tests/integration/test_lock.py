"""One deploy at a time: the lock says who has it, goes when its holder goes, and a freeze stays until it is lifted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote.lock import FINISHING_SECONDS
from fabrelease.tasks.engine.remote.wire import SILENCE_SECONDS
from tests.integration.support import through
from tests.project import FAB, SETTINGS, Project
from tests.target import Target
from tests.target.proxy import Proxy

FREE_AFTER = 60  # seconds until the lock of a holder that is gone is free
HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
LOCK = "/run/fabrelease/locks/tinysite.lock"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is live, with a step that takes as long as the file `wait` is on the server."""
    project = Project(tmp_path_factory.mktemp("lock") / "project", "tinysite")
    hook = "while [ -e /tmp/wait ]; do sleep 0.1; done"
    project.stage({"web1": shared_server}, hooks={"build": [hook]})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


@contextlib.contextmanager
def held(project: Project, server: Target) -> Iterator[subprocess.Popen[str]]:
    """A deploy that has the lock and stays in its build hook until the end of the block."""
    server.exec(["touch", "/tmp/wait"])
    try:
        with project.fab_running("-H", "prod", "deploy", "--ref", "two", "--force") as process:
            wait_until(lambda: bool(project.status()["lock"]), 60)
            wait_until(lambda: b"/tmp/wait" in server.exec(["ps", "-eo", "args"]).stdout, 60)
            yield process
    finally:
        server.exec(["rm", "-f", "/tmp/wait"])


def wait_until(is_so: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true, and tell how long it took."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, f"not so within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - began


def is_free(server: Target, lock: str = LOCK) -> bool:
    """Whether somebody could take the lock this moment."""
    return server.exec(["python3", "-c", HOLD, lock], check=False).returncode == 0


def test_of_ten_deploys_at_the_same_moment_one_wins_and_nine_say_who_since_when_and_what_for(
    site: Project, shared_server: Target
) -> None:
    shared_server.exec(["touch", "/tmp/wait"])
    try:
        command = [*FAB, "-H", "prod", "deploy", "--ref", "two", "--force"]
        ten = [
            subprocess.Popen(
                command,
                cwd=site.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(10)
        ]
        wait_until(lambda: sum(process.poll() is not None for process in ten) >= 9, 90)
    finally:
        shared_server.exec(["rm", "-f", "/tmp/wait"])
    said = [process.communicate(timeout=120)[0] for process in ten]
    lost = [text for text, process in zip(said, ten, strict=True) if process.returncode == 1]
    assert sorted(process.returncode for process in ten) == [0, *[1] * 9], said
    for text in lost:
        assert re.search(r"\S+@\S+ has the deploy lock since 20\d\d-\S+Z, for: deploy of [0-9a-f]{7}", text), text
    assert site.status()["ok"]


def test_who_comes_second_is_told_within_a_second(site: Project, shared_server: Target) -> None:
    with held(site, shared_server):
        took = []
        for _ in range(3):
            began = time.monotonic()
            site.fab("-H", "prod", "releases")
            reading = time.monotonic() - began
            began = time.monotonic()
            done = site.fab("-H", "prod", "rollback", status=1)
            took.append(time.monotonic() - began - reading)
            assert "has the deploy lock since" in done.stderr
    # Both start Python, connect and ask one thing; only waiting for the lock would make the difference.
    assert min(took) < FINISHING_SECONDS / 3


def kill(holder: subprocess.Popen[str], proxy: Proxy) -> None:
    holder.kill()


def suspend(holder: subprocess.Popen[str], proxy: Proxy) -> None:
    os.killpg(holder.pid, signal.SIGSTOP)


def drop_without_a_word(holder: subprocess.Popen[str], proxy: Proxy) -> None:
    proxy.stall()


@pytest.mark.parametrize("end", [kill, suspend, drop_without_a_word])
def test_the_lock_is_free_soon_after_its_holder_is_gone(
    site: Project, shared_server: Target, tmp_path: Path, end: Callable[[subprocess.Popen[str], Proxy], None]
) -> None:
    with Proxy("127.0.0.1", shared_server.ssh_port) as proxy, through(site, shared_server, proxy):
        with held(site, shared_server) as holder:
            assert not is_free(shared_server)
            end(holder, proxy)
            took = wait_until(lambda: is_free(shared_server), FREE_AFTER)
            wait_until(lambda: b"/tmp/wait" not in shared_server.exec(["ps", "-eo", "args"]).stdout, 30)
        if end is kill:
            assert took < SILENCE_SECONDS
    site.fab("-H", "prod", "deploy", "--ref", "two", "--force")
    assert site.status()["ok"]


def test_the_lock_is_free_soon_where_a_release_that_still_starts_has_to_be_stopped(
    shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "flasktodo")
    env = {**SETTINGS["flasktodo"].get("env", {}), "SHOW_START_SECONDS": "120"}
    site = {"domains": ["todo.example.net"]}
    project.stage({"web1": shared_server}, env=env, health={"timeout": 120}, site=site)
    project.fab("-H", "prod", "deploy", "--ref", "two")
    live = starting(shared_server)
    lock = "/run/fabrelease/locks/flasktodo.lock"
    with (
        Proxy("127.0.0.1", shared_server.ssh_port) as proxy,
        through(project, shared_server, proxy),
        project.fab_running("-H", "prod", "deploy", "--ref", "slow-start") as holder,
    ):
        # gunicorn does not end a worker that imports the application before it has done so.
        wait_until(lambda: starting(shared_server).count(b"flasktodo-2") == 2, 60)
        drop_without_a_word(holder, proxy)
        wait_until(lambda: is_free(shared_server, lock), FREE_AFTER)
    assert starting(shared_server).split()[0] == live.split()[0]


def starting(server: Target) -> bytes:
    return server.exec(["supervisorctl", "status"], check=False).stdout


def test_somebody_who_looks_at_the_lock_does_not_stop_a_deploy(site: Project, shared_server: Target) -> None:
    look = (
        "import fcntl, sys, time\n"
        "while True:\n"
        "    with open(sys.argv[1]) as file:\n"
        "        fcntl.flock(file, fcntl.LOCK_SH)\n"
        "        time.sleep(0.05)\n"
        "    time.sleep(0.05)\n"
    )
    command = ["docker", "exec", shared_server.container.id, "timeout", "60", "python3", "-c", look, LOCK]
    with subprocess.Popen(command):
        try:
            for _ in range(6):
                site.fab("-H", "prod", "cleanup")
        finally:
            shared_server.exec(["pkill", "-f", "LOCK_SH"])


def test_who_still_runs_its_last_hooks_is_not_said_to_be_done(site: Project, shared_server: Target) -> None:
    waits = "while [ -e /tmp/wait ]; do sleep 0.1; done"
    site.stage({"web1": shared_server}, "after", hooks={"after_switch": [waits]})
    shared_server.exec(["touch", "/tmp/wait"])
    try:
        with site.fab_running("-H", "after", "deploy", "--ref", "one", "--force") as first:
            wait_until(lambda: b"/tmp/wait" in shared_server.exec(["ps", "-eo", "args"]).stdout, 60)
            began = time.monotonic()
            assert "has the deploy lock since" in site.fab("-H", "prod", "rollback", status=1).stderr
            assert time.monotonic() - began < FINISHING_SECONDS * 2 / 3
            shared_server.exec(["rm", "/tmp/wait"])
            assert first.wait(60) == 0
    finally:
        shared_server.exec(["rm", "-f", "/tmp/wait"])


def test_a_freeze_is_refused_by_deploy_and_rollback_seen_in_status_and_lifted(site: Project) -> None:
    site.fab("-H", "prod", "freeze", "-m", "freeze for the fair")
    try:
        for command in (["deploy", "--force"], ["rollback"]):
            done = site.fab("-H", "prod", *command, status=1)
            assert re.search(r"deploys are frozen by \S+@\S+ since 20\S+Z: freeze for the fair", done.stderr)
        assert site.status()["freeze"]["why"] == "freeze for the fair"
        assert "freeze for the fair" in site.fab("-H", "prod", "status", status=None).stdout
    finally:
        site.fab("-H", "prod", "unfreeze")
    assert site.status()["freeze"] is None
    site.fab("-H", "prod", "deploy", "--force")
