"""The faults: each is done while a session is stopped at a point, and undone, where it must be, afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tests.faults import breakpoints
from tests.faults.world import MANAGERS, ROOT, World
from tests.target import Target

Fab = "subprocess.Popen[str]"
FAB_SECONDS = 150  # within which a fab must have come to its end, however its server fell


@dataclass(frozen=True)
class Fault:
    """Something that breaks.

    :ivar doing: a context: breaks at its beginning, mends at its end what no deploy could mend.
    :ivar may_miss: requests may stay unanswered for a moment.
    :ivar anywhere: it can be done to any server, not only to a container.
    """

    name: str
    doing: Callable[[World, subprocess.Popen[str]], AbstractContextManager[None]]
    may_miss: bool = False
    anywhere: bool = True


@contextmanager
def deployer_killed(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    fab.kill()
    fab.wait()
    world.wait_until_left()
    world.go()
    yield


@contextmanager
def connection_cut(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    world.proxy.cut()
    world.wait_until_left()
    world.go()
    fab.wait(FAB_SECONDS)
    yield


@contextmanager
def connection_stalled(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    """The deployer lives on, and finds out by itself that it hears nothing any more."""
    world.proxy.stall()
    world.go()
    fab.wait(FAB_SECONDS)
    yield


@contextmanager
def target_killed(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    world.server.kill()
    world.server.boot()
    fab.wait(FAB_SECONDS)
    yield


@contextmanager
def manager_killed(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    world.sh(MANAGERS[world.manager].kill)
    world.go()
    fab.wait(FAB_SECONDS)
    yield


@contextmanager
def nginx_killed(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    world.sh("pkill -KILL -x nginx")
    world.go()
    fab.wait(FAB_SECONDS)
    yield


@contextmanager
def disk_full(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    """The root lies on a small file system (see `small_disk`), and that is filled to its last byte."""
    filler = f"{ROOT}/../filler"
    world.sh(f"cat /dev/zero >{filler} 2>/dev/null || true")
    try:
        world.go()
        fab.wait(FAB_SECONDS)
        yield
    finally:
        world.sh(f"rm -f {filler}")


def small_disk(world: World) -> None:
    """Put /srv on a file system of its own, so small that it can be filled; it is gone with the power."""
    if world.sh("mountpoint -q /srv && echo yes || true"):
        return
    world.sh(
        "mkdir -p /run/keep && cp -a /srv/. /run/keep/ && "
        "mount -t tmpfs -o size=$(( $(du -sm /run/keep | cut -f1) + 40 ))m,mode=755 tmpfs /srv && "
        "cp -a /run/keep/. /srv/ && rm -rf /run/keep"
    )


@contextmanager
def no_more_processes(world: World, fab: subprocess.Popen[str]) -> Iterator[None]:
    """No process and no thread can be started in the whole server any more."""
    # Nothing can be started there once the limit is on, so what lets it go on runs already.
    assert isinstance(world.server, Target)
    identity = str(world.server.container.id)
    command = ["docker", "exec", "--interactive", identity, "sh", "-c", f"echo; read x; : >{breakpoints.GO}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as later:
        assert later.stdin and later.stdout
        later.stdout.readline()
        limit(identity, 1)
        try:
            later.stdin.write(b"\n")
            later.stdin.close()
            fab.wait(FAB_SECONDS)
        finally:
            limit(identity, -1)
    yield


def limit(identity: str, number: int) -> None:
    """Limit the number of processes of a container; -1 lifts it."""
    command = ["docker", "update", "--pids-limit", str(number), identity]
    subprocess.run(command, check=True, capture_output=True)


FAULTS = [
    Fault("deployer killed", deployer_killed),
    Fault("connection cut", connection_cut),
    Fault("connection stalled", connection_stalled),
    Fault("target killed, booted", target_killed, may_miss=True),
    Fault("manager killed", manager_killed, may_miss=True),
    Fault("nginx killed", nginx_killed, may_miss=True),
    Fault("disk full", disk_full, anywhere=False),
    Fault("no more processes", no_more_processes, anywhere=False),
]
