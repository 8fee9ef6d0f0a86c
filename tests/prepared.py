"""The image of a server that setup has run on: what most tests start from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from fabrelease.tasks.engine.remote import bytecode
from tests.project import SETTINGS, Project, forget_owner
from tests.target import Server, Target
from tests.target.image import machine_lock

ROOT = Path(__file__).resolve().parents[1]
INPUTS = (
    "tests/prepared.py",
    "tasks/setup.py",
    "tasks/engine/remote/builder.py",
    "tasks/engine/remote/prepare.py",
    "tasks/engine/remote/provision.py",
    "tasks/engine/remote/resources.py",
    "tasks/engine/remote/system.py",
    "tasks/engine/remote/welcome.py",
    "tasks/managers/supervisor.py",
    "tasks/engine/remote/nginx.py",
    "tasks/engine/remote/domains.py",
)

# As a first deploy leaves them, once it is over.
COMPILE = f'for env in "$1"/*; do python3 -m compileall -q "$env/lib"; touch "$env/{bytecode.MARK}"; done'


def ensure_prepared_image(image: str, directory: Path) -> str:
    """The image, made by `fab setup` and a first deploy of each application's environment where it is not there."""
    content = hashlib.sha256(f"{image} {list(SETTINGS)}".encode())
    for name in INPUTS:
        content.update((ROOT / name).read_bytes())
    digest = content.hexdigest()[:12]
    tag = f"fabrelease-prepared:{digest}"
    if not is_there(tag):
        with machine_lock(f"prepared-{digest}"):  # another checkout's image need not be waited for
            if not is_there(tag):  # nobody else has made it meanwhile
                make(image, tag, directory)
    return tag


def is_there(tag: str) -> bool:
    """Whether there is such an image."""
    try:
        docker.from_env().images.get(tag)
    except ImageNotFound:
        return False
    return True


def make(image: str, tag: str, directory: Path) -> None:
    """Prepare a server for both applications, with their packages in uv's cache, and keep its disk."""
    with Target.start(image) as server:
        for app in SETTINGS:
            project = Project(directory / app, app)
            project.stage({"web1": server})
            project.fab("-H", "prod", "setup", "push", "venv")
            forget_owner(server, app)
            server.exec(["sh", "-c", f"rm -rf /srv/{app}/releases/* /srv/{app}/next /srv/{app}/repo.git"])
            server.exec(["sh", "-c", COMPILE, "sh", f"/srv/{app}/envs"])
        server.commit(tag)


def set_up(server: Server, directory: Path) -> None:
    """Run setup on a server of somebody's own, for the smallest application."""
    project = Project(directory, "tinysite")
    project.stage({"web1": server})
    project.fab("-H", "prod", "setup")
