"""What is measured. Within a series the tools take turns, so that what else the machine does hits all alike."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from .application import Application
from .peers import Command, Ours, Peer
from .server import Access, Server

FOLDER = ".fabrelease/profile"
Samples = dict[str, list[float]]


def say(text: str) -> None:
    """Progress, for the person who waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def add(samples: Samples, name: str, seconds: float) -> None:
    """Keep one measurement."""
    samples.setdefault(name, []).append(seconds)


def deploy(peer: Peer, access: Access, answer: str) -> float:
    """One deploy of the repository's head, timed, and looked at afterwards."""
    peer.forget(access)
    seconds = peer.server.run(peer.deploy(access, peer.application.revision))
    peer.server.wait_for(peer.socket(), lambda said: said == answer)
    return seconds


def warm(peers: list[Peer], access: Access, runs: int) -> Samples:
    """Deploys of a change of one line with unchanged requirements; what is live already again; the way back."""
    samples: Samples = {}
    server, application = peers[0].server, peers[0].application
    for run in range(runs):
        say(f"warm deploys, {access.name}, run {run + 1} of {runs}")
        answer = application.change()
        server.publish(application)
        for peer in peers:
            add(samples, f"{peer.name} deploy", deploy(peer, access, answer))
        for peer in peers:
            if isinstance(peer, Ours):
                add(samples, "fabrelease nothing to do", deploy(peer, access, answer))
            if back := peer.rollback(access):
                add(samples, f"{peer.name} rollback", server.run(back))
                server.wait_for(peer.socket(), lambda said, answer=answer: said != answer)
        add(samples, "ssh true", server.run(Command([*access.ssh, "true"])))
    return samples


def beside(plain: Ours, secure: Ours, access: Access, runs: int) -> Samples:
    """Deploys of a change of one line, of a site without TLS and of one with it."""
    samples: Samples = {}
    for run in range(runs):
        say(f"deploys without and with TLS, {access.name}, run {run + 1} of {runs}")
        answer = plain.application.change()
        for ours in (plain, secure):
            add(samples, "with TLS" if ours.tls else "without TLS", deploy(ours, access, answer))
    return samples


def first(kinds: list[tuple[type[Peer], Path]], server: Server, application: Application, runs: int) -> Samples:
    """First deploys to directories that are prepared and empty: the virtualenv is made, nothing is cached."""
    samples: Samples = {}
    access = server.accesses[0]
    server.publish(application)
    for run in range(runs):
        say(f"first deploys, run {run + 1} of {runs}")
        for kind, programs in kinds:
            peer = kind(server, application, programs, f"-first{run}")
            server.forget_cache(peer.program)
            peer.prepare()
            add(samples, f"{peer.name} first", deploy(peer, access, str(application.changes)))
            server.shell("supervisorctl stop all >/dev/null")
    return samples


def start_up(ours: Ours, bare: Path, runs: int) -> Samples:
    """How long fab takes before it could connect to anything."""
    samples: Samples = {}
    fab = str(ours.programs / "fab")
    bare.mkdir()
    (bare / "fabfile.py").write_text('from fabric import task\n\n\n@task\ndef hello(c):\n    "Say hello."\n')
    for run in range(runs):
        say(f"start-up, run {run + 1} of {runs}")
        for _ in range(3):
            add(samples, "bare fab --list", ours.server.run(Command([fab, "--list"], bare)))
            add(samples, "fab --list", ours.server.run(Command([fab, "--list"], ours.project)))
            refused = Command([fab, "-H", "refused", "status"], ours.project)
            add(samples, "fab status", ours.server.run(refused, status=1))
    return samples


def wire(ours: Ours, access: Access, work: Path) -> dict[str, Any]:
    """What a warm deploy of one line costs on the line: bytes both ways, channels, round trips."""
    assert access.line is not None
    ours.application.change()
    access.line.reset()
    profile = profiled(ours, access, work / "wire", "deploy")
    change, turns = ours.application.git_bytes("diff", "HEAD~1"), access.line.traffic.turns
    up, down = access.line.traffic.up, access.line.traffic.down
    access.line.reset()
    ours.server.run(ours.command(access, "connect"))
    return {
        "up": up,
        "down": down,
        "change_compressed": len(gzip.compress(change)),
        "channels": profile["traffic"]["web"]["channels"],
        "round_trips": turns - access.line.traffic.turns,
        "connect_round_trips": access.line.traffic.turns,
        "connections": access.line.traffic.connections,
    }


def fewest_turns(ours: Ours, access: Access, work: Path, runs: int) -> int:
    """Round trips of a warm deploy: a heartbeat in the middle of one looks like one more."""
    return min(wire(ours, access, work)["round_trips"] for _ in range(runs))


def profiled(ours: Ours, access: Access, base: Path, *verb: str) -> dict[str, Any]:
    """Run fab with --profile, put what that saved at *base*, and give it."""
    saved = ours.project / FOLDER
    shutil.rmtree(saved, ignore_errors=True)
    ours.server.run(ours.command(access, *verb, "--profile"))
    for path in saved.iterdir():
        shutil.move(path, base.with_suffix(path.suffix))
    return dict(json.loads(base.with_suffix(".json").read_text()))
