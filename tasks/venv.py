"""``fab venv``: give the next release its virtualenv, and run the build hook in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from invoke.context import Context

from .engine import configuration, hosts, local, planning
from .engine.hosts import Host
from .engine.remote import environment, files, hooks, installing
from .engine.session import RemoteCall, reference
from .engine.verb import verb


@verb(help={"fresh": "make it anew, from empty caches, even where there is one"})
def venv(c: Context, fresh: bool = False) -> None:
    """Step 2: give the next release its virtualenv, by what it requires, and run the build hook."""
    hosts.each(hosts.of(c), lambda host: _venv(host, fresh), "making the environment")


def _venv(host: Host, fresh: bool) -> None:
    host.begin("venv")
    host.run(calls(host, fresh))


def calls(host: Host, fresh: bool) -> list[RemoteCall]:
    """What is to be done on a host to give its next release an environment.

    :param fresh: make it anew, from empty caches, even where there is one.
    """
    settings, building = host.settings, configuration.Building(host)
    python, package = settings.python, settings.source.package
    wheel = local.wheel_of(settings)
    spec: installing.Spec = {
        "python": python.version,
        "requirements": python.requirements,
        "installer": python.installer,
        "wheelhouse": _send_wheels(host, python.wheelhouse),
        "package": None if wheel else package,
        "wheel": _send_wheels(host, wheel),
        "packages": [*python.packages, *planning.server_of(settings).requires(settings.web.settings)],
    }
    build = [hook.model_dump() for hook in settings.hooks.build]

    def tell(made: dict[str, Any]) -> None:
        how = "reused" if made["reused"] else f"made with {made['installer']}"
        origin = made["source"] or package or "no file of requirements"
        host.say("venv", f"environment {made['name'][:7]} {how} ({made['packages']} packages, {origin})")

    def built(release: dict[str, Any]) -> None:
        host.next = release

    root, user, name = settings.root, settings.user, building.id
    return [
        RemoteCall(reference(environment.ensure, root, user, name, spec, fresh), tell),
        RemoteCall(reference(files.install_in, root, name, building.environment_files())),
        RemoteCall(reference(hooks.build, root, name, user, build), built),
    ]


def _send_wheels(host: Host, place: str | None) -> str | None:
    """Put a local wheel, or a directory of them, on the host, once for the same content.

    :returns: the digest that names them there.
    """
    if place is None:
        return None
    wheels = local.wheels(host.settings, place)
    content = hashlib.sha256()
    for wheel in wheels:
        content.update(wheel.name.encode() + b"\0" + hashlib.sha256(wheel.read_bytes()).digest())
    digest = content.hexdigest()[:16]
    if not host.call(environment.has_wheels, host.settings.root, digest):
        host.send(environment.receive_wheels, _archive(wheels))(host.settings.root, digest)
        host.say("venv", f"{len(wheels)} wheels sent from {place}")
    return digest


def _archive(wheels: list[Path]) -> Iterator[bytes]:
    import tarfile  # here: most commands send no wheels

    for wheel in wheels:
        member = tarfile.TarInfo(wheel.name)
        member.size = wheel.stat().st_size
        yield member.tobuf()
        with wheel.open("rb") as file:
            while piece := file.read(1 << 18):
                yield piece
        yield b"\0" * (-member.size % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
