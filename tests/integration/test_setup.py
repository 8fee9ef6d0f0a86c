"""Setup on a bare server, and what it waits for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.support import revision, running, sh, tree, wait_for
from tests.project import Project
from tests.target import Target

HOLD = """
import fcntl, time
with open("/var/lib/dpkg/lock-frontend", "w") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    open("/run/holding", "w").close()
    time.sleep({seconds})
"""


@contextmanager
def apt_held(server: Target, seconds: int) -> Iterator[None]:
    """Another process holds apt's lock, as unattended-upgrades does."""
    sh(server, "rm -f /run/holding")
    with running(server, "python3", "-c", HOLD.format(seconds=seconds)):
        assert wait_for(lambda: server.exec(["test", "-e", "/run/holding"], check=False).returncode == 0)
        yield


# seed 1.6
def test_a_bare_server_is_prepared_once_and_apt_is_waited_for(project: Project, bare_server: Target) -> None:
    project.stage({"web1": bare_server})
    with apt_held(bare_server, 600):
        said = project.fab("-H", "prod", "setup", "--apt-timeout", "2", status=1).stderr
    assert re.search(r"apt is held by python3 \(pid \d+\) for more than 2 seconds", said)
    with apt_held(bare_server, 5):
        said = project.fab("-H", "prod", "setup").stderr
    assert "apt is held by python3" in said
    assert "waiting up to 300 seconds" in said
    for name in ("nginx", "supervisor", "git"):
        assert f"package {name}" in said
        assert sh(bare_server, 'dpkg-query -Wf "$1" "$2"', "${db:Status-Status}", name) == "installed"
    for service in ("nginx", "supervisor"):
        assert sh(bare_server, 'systemctl is-enabled "$1"; systemctl is-active "$1"', service).split() == [
            "enabled",
            "active",
        ]
    assert sh(bare_server, "getent passwd djangosite").strip().endswith("/usr/sbin/nologin")
    owners = sh(
        bare_server, 'cd "$1"; stat -c "%n %U %a" releases envs shared logs home build', "/srv/djangosite"
    ).splitlines()
    roots = ["releases root 755", "envs root 755", "shared root 755", "logs root 750"]
    assert owners == [*roots, "home djangosite 750", "build djangosite-build 700"]
    assert sh(bare_server, "id -Gn djangosite-build").split() == ["djangosite-build", "djangosite"]
    places = ("/etc", "/srv", "/opt")
    before = tree(bare_server, *places)
    said = project.fab("-H", "prod", "setup").stderr
    assert "nothing to do: the server is ready" in said
    assert tree(bare_server, *places) == before


def test_a_user_who_has_no_group_of_its_own_name_will_do(tmp_path: Path, server: Target) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": server})
    project.fab("-H", "prod", "setup")
    sh(server, "usermod --gid users tinysite; ! getent group tinysite || groupdel tinysite")
    project.fab("-H", "prod", "setup", "deploy")
    assert revision(server) == "two"
    assert project.status()["problems"] == []
