"""The application's user runs what it likes: neither the lock, nor the probe, nor the terminal is its."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.support import current, revision, running, settle, sh, unharmed, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
# Takes every lock that it can open, and says which.
TAKE = """\
for lock in $(find /run/fabrelease -name '*.lock' 2>&-); do
    flock --nonblock "$lock" sh -c 'echo "$0"; exec sleep 600' "$lock" &
done
touch /tmp/tried
wait
exec sleep 600
"""
# Waits for the socket of a release that is not live, and puts its own in the place.
REPLACE = """\
import glob, os, socket, sys, time
root = sys.argv[1]
sockets = lambda: set(glob.glob(root + "/rel*/*/run/web.sock"))
before = sockets()
live = os.path.realpath(root + "/current")
mine = live + "/run/mine"
server = socket.socket(socket.AF_UNIX)
server.bind(mine)
os.chmod(mine, 0o777)
server.listen(100)
while True:
    new = sockets() - before
    if new:
        break
    time.sleep(0.001)
os.rename(mine, new.pop())
while True:
    peer, _ = server.accept()
    peer.recv(10000)
    peer.sendall(b"HTTP/1.1 418 I am not it\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    peer.close()
"""
ENDLESS = {
    "continue": 'socket.sendall(b"HTTP/1.1 100 Continue\\r\\n\\r\\n" * 100)',
    "trickle": 'socket.sendall(b"HTTP/1.1 100 Continue\\r\\n\\r\\n"); time.sleep(0.3)',
    "chunk": 'socket.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n-1\\r\\n" + b"y" * 10000)',
}
APPLICATION = """\
import time
def application(environ, start_response):
    socket = environ["gunicorn.socket"]
    while True:
        %s
"""
ESCAPES = r"printf '\033]0;owned\007\033[2J\233A \033[31mred\033[0m\n'"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live."""
    project = Project(tmp_path_factory.mktemp("attacks") / "project", "tinysite")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    return project


@contextmanager
def as_application(server: Target, *argv: str) -> Iterator[None]:
    """A program that the application's user has left running."""
    with running(server, "--uid=tinysite", *argv):
        yield


def test_nobody_but_root_takes_the_lock(site: Project, shared_server: Target) -> None:
    with as_application(shared_server, "sh", "-c", TAKE):
        wait_for(lambda: "tried" in sh(shared_server, "ls /tmp").split())
        assert site.status()["lock"] is None
        site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    assert sh(shared_server, "stat -c '%U %a' /run/fabrelease /run/fabrelease/locks") == "root 700\nroot 700\n"


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_application_that_answers_without_an_end_is_unhealthy_in_time(
    site: Project, shared_server: Target, kind: str
) -> None:
    site.also({"web1": shared_server}, "endless", health={"timeout": 8})
    (site.repository.path / "tinysite.py").write_text(APPLICATION % ENDLESS[kind])
    site.repository.git("commit", "--quiet", "--all", "--message=endless")
    try:
        with unharmed(shared_server, site.app):
            said = site.fab("-H", "endless", "deploy", "--ref", "HEAD", status=1, timeout=120).stderr
    finally:
        site.repository.git("reset", "--quiet", "--hard", "HEAD~1")
    assert "did not become healthy within 8 seconds" in said


def test_an_old_release_does_not_pass_for_the_new_one(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, "replaced", health={"status": 418, "timeout": 15})
    live = current(shared_server, ROOT)
    with as_application(shared_server, "python3", "-c", REPLACE, ROOT):
        assert wait_for(lambda: sh(shared_server, f"ls {ROOT}/releases/{live}/run | grep mine || true"))
        said = site.fab("-H", "replaced", "deploy", "--ref", "two", status=1).stderr
    assert "another program has taken the release's place there" in said
    assert (revision(shared_server), current(shared_server, ROOT)) == ("one", live)


def test_nothing_that_a_host_says_commands_the_terminal(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, "escapes", hooks={"build": [ESCAPES, f"{ESCAPES}; false"]})
    done = site.fab("-H", "escapes", "deploy", "--ref", "two", status=1)
    assert r"\x1b]0;owned\x07\x1b[2J" in done.stderr
    assert done.stderr.count(" red\n") == 3  # twice as it came, and once more in what failed
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.stderr)
    listed = site.fab("-H", "prod", "releases", "--json").stdout
    assert json.loads(listed)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", listed)


def test_what_was_done_and_what_failed_is_in_a_log_of_ours(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, "fails", hooks={"build": ["false"]})
    site.fab("-H", "fails", "deploy", "--ref", "two", status=1)
    log = sh(shared_server, f"cat {ROOT}/logs/fabrelease.log")
    assert re.search(r"^20\S+Z \S+@\S+: begin: deploy of [0-9a-f]{7}$", log, re.MULTILINE)
    assert re.search(r": failed: the build command failed: false: it ended with exit status 1", log)
    assert sh(shared_server, f"stat -c '%U %a' {ROOT}/logs/fabrelease.log") == "root 640\n"
    assert "failed: the build command failed" in site.fab("-H", "prod", "logs", "--which", "fabrelease").stderr
