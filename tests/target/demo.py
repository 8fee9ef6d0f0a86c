"""The demo of the README: a server in a container, a site deployed to it, and what to try next.

    python -m tests.target.demo up
    python -m tests.target.demo down

The server listens where hosts/demo.yml says; what that file names below .demo/ is made here.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import yaml
from docker.errors import DockerException

from tests.apps import make_repository

from . import HOST, Target, ensure_engine, free_port

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / ".demo"
NAME = "fabrelease-demo"
CURRENT = "/srv/djangosite/current"
HTTP_PORT = 8080  # another one when it is taken


def up() -> int:
    """Starts the server, or the one that is there already, and deploys to it; gives fab's exit status."""
    ensure_engine()
    server = running_server(NAME, ssh_port()) or start_server(NAME, ssh_port())
    write_files(DIRECTORY, server)
    # Two releases the first time, so that there is something to go back to.
    first = server.exec(["test", "-e", CURRENT], check=False).returncode != 0
    deploys = [["setup", "deploy", "--ref", "one"], ["deploy"]] if first else [["setup", "deploy"]]
    for verbs in deploys:
        say(f"fab -H demo {' '.join(verbs)}")
        status = subprocess.run([sys.executable, "-m", "fabric", "-H", "demo", *verbs], cwd=ROOT).returncode
        if status:
            say("that failed; the server is still up to look at")
            return status
    print(what_next(server))
    return 0


def down() -> int:
    """Takes the server and .demo/ away."""
    try:
        server = Target.find(NAME)
    except DockerException:
        say("no Docker engine answers, so no server runs")
    else:
        if server:
            server.remove()
            say("removed the server")
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    return 0


def ssh_port() -> int:
    """The port that hosts/demo.yml gives the server."""
    stage = yaml.safe_load((ROOT / "hosts/demo.yml").read_text())
    return int(stage["hosts"]["demo1"]["port"])


def running_server(name: str, ssh: int) -> Target | None:
    """The server of an earlier `up`, booted where it was down; on another port than wanted it is removed."""
    server = Target.find(name)
    if server is None:
        return None
    if server.ssh_port != ssh:
        server.remove()
        return None
    if server.container.status != "running":
        server.boot()
    return server


def start_server(name: str, ssh: int) -> Target:
    """Raises SystemExit with a message when the port is taken."""
    if not is_free(ssh):
        sys.exit(
            f"demo: port {ssh} of {HOST} is taken: put a free one into hosts/demo.yml and run this again"
        )
    say("starting the server")
    http = HTTP_PORT if is_free(HTTP_PORT) else free_port()
    return Target.start(name=name, ports=(ssh, http), temporary=False)


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        # A port that an ended connection still lingers on can be listened on again.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def write_files(directory: Path, server: Target) -> None:
    """What hosts/demo.yml names; the application and its secret stay when they are there."""
    directory.mkdir(exist_ok=True)
    shutil.copy(server.known_hosts, directory / "known_hosts")
    write_private(directory / "id_ed25519", server.key_path.read_text())
    if not (directory / "secrets.env").exists():
        write_private(directory / "secrets.env", f"SECRET_KEY={secrets.token_urlsafe(40)}\n")
    if not (directory / "app").exists():
        make_repository("djangosite", directory / "app", ("one", "two"))


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def what_next(server: Target) -> str:
    fab = Path(sys.executable).with_name("fab")
    if fab.is_relative_to(Path.cwd()):
        fab = fab.relative_to(Path.cwd())
    return f"""
The site is up: http://localhost:{server.http_port}/

Try next, in {ROOT}:
    {fab} -H demo status
    {fab} -H demo rollback       back to revision one; look at the site again
    {fab} -H demo releases
    {fab} -H demo deploy         forward to revision two
Or change something in .demo/app, commit it there, and deploy.
`tox -e demo-down` takes it all away.
"""


def say(what: str) -> None:
    print(f"demo: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    verbs = {"up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    sys.exit(verbs[sys.argv[1]]())
