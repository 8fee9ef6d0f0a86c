"""``fab venv``: give the next release its virtualenv, and run the build hook in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from .engine import configuration, hosts, local, planning, secretsource
from .engine.hosts import Host
from .engine.remote import environment, files, hooks, installing
from .engine.session import RemoteCall, reference
from .engine.verb import verb

if TYPE_CHECKING:
    from .engine.settings import Settings


@verb(help={"fresh": "make it anew, from empty caches, even where there is one"})
def venv(c: Context, fresh: bool = False) -> None:
    """Step 2: give the next release its virtualenv, by what it requires, and run the build hook."""
    targets = hosts.of(c)
    for host in targets:
        secretsource.read(host.settings)  # before anything is connected to
    chosen = [host for host in targets if host.settings.has_code]
    hosts.each(chosen, lambda host: _venv(host, fresh), "making the environment")


def _venv(host: Host, fresh: bool) -> None:
    host.begin("venv")
    host.run(calls(host, fresh))


def calls(host: Host, fresh: bool) -> list[RemoteCall]:
    """What is to be done on a host to give its next release an environment.

    :param fresh: make it anew, from empty caches, even where there is one.
    """
    settings, building = host.settings, configuration.Building(host)
    package = settings.source.package
    spec = specify(settings, lambda place: _send_wheels(host, place))
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


def specify(settings: Settings, wheels: Callable[[str], str]) -> installing.Spec:
    """What goes into an environment.

    :param wheels: gives the digest that names a local wheel, or a directory of them, on the host.
    """
    python, wheel = settings.python, local.wheel_of(settings)
    return {
        "python": python.version,
        "requirements": python.requirements,
        "installer": python.installer,
        "wheelhouse": wheels(python.wheelhouse) if python.wheelhouse else None,
        "package": None if wheel else settings.source.package,
        "wheel": wheels(wheel) if wheel else None,
        "packages": [*python.packages, *planning.server_of(settings).requires(settings.web.settings)],
    }


def digest_of(wheels: list[Path]) -> str:
    """What names some wheels on a host."""
    content = hashlib.sha256()
    for wheel in wheels:
        content.update(wheel.name.encode() + b"\0" + hashlib.sha256(wheel.read_bytes()).digest())
    return content.hexdigest()[:16]


def _send_wheels(host: Host, place: str) -> str:
    """Put a local wheel, or a directory of them, on the host, once for the same content.

    :returns: the digest that names them there.
    """
    wheels = local.wheels(host.settings, place)
    digest = digest_of(wheels)
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
