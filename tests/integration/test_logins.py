"""Who logs in, and where: any login shell will do, and what does not is said with its cause."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fabrelease.tasks.engine import connecting
from tests.integration.support import sh
from tests.integration.terminal import typed
from tests.project import Project
from tests.target import Target

USER = """\
useradd --create-home --shell "$2" "$1"
echo "$1:secret" | chpasswd
install -d -m 700 -o "$1" "/home/$1/.ssh"
install -m 600 -o "$1" /home/deploy/.ssh/authorized_keys "/home/$1/.ssh/"
if [ "$3" = sudo ]; then echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"; fi
"""
WORDS = ("Traceback", "fault in fabrelease")


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose stage can be logged in to by others."""
    project = Project(tmp_path_factory.mktemp("logins") / "project", "tinysite")
    project.stage({"web1": shared_server})
    return project


def login(project: Project, server: Target, **entry: Any) -> None:
    """Write the stage `other`, whose host's entry differs."""
    project.stage({"web1": server}, "other")
    path = project.path / "hosts/other.yml"
    settings = yaml.safe_load(path.read_text())
    settings["hosts"]["web1"] |= entry
    path.write_text(yaml.safe_dump(settings))


def refused(project: Project, *arguments: str, status: int = 1) -> str:
    done = project.fab("-H", "other", *arguments, status=status)
    said = done.stdout + done.stderr
    assert not any(word in said for word in WORDS), said
    return said


def test_any_login_shell_will_do(site: Project, shared_server: Target) -> None:
    sh(shared_server, "apt-get update -qq && apt-get install -y -qq tcsh fish")
    for shell in ("tcsh", "fish"):
        sh(shared_server, USER, shell, f"/usr/bin/{shell}", "sudo")
        login(site, shared_server, user=shell)
        site.fab("-H", "other", "deploy", "--force")
    assert site.status()["ok"]


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_a_shell_that_lets_nobody_in_is_said(site: Project, shared_server: Target, shell: str) -> None:
    name = Path(shell).name
    sh(shared_server, USER, name, shell, "sudo")
    login(site, shared_server, user=name)
    assert f"the login shell of {name} ends at once with exit status 1" in refused(site, "releases")


def test_who_has_no_right_to_use_sudo_is_told_so(site: Project, shared_server: Target) -> None:
    sh(shared_server, USER, "guest", "/bin/bash", "no")
    login(site, shared_server, user="guest")
    status, shown = typed(site, ["-H", "other", "releases"], {"sudo password of guest: ": "secret"})
    assert status == 1
    assert "guest has no right to use sudo: guest is not in the sudoers file" in shown
    assert "a wrong password" not in shown


def test_a_key_that_is_not_there_is_wrong_use(site: Project, shared_server: Target) -> None:
    login(site, shared_server, key="keys/nowhere")
    said = refused(site, "releases", status=2)
    assert f"web1: key: there is no file {site.path}/keys/nowhere" in said


def test_a_port_that_does_not_speak_ssh_is_said(site: Project, shared_server: Target) -> None:
    login(site, shared_server, port=shared_server.http_port)
    assert "is reached, but does not speak SSH there" in refused(site, "releases")


@contextlib.contextmanager
def sshd(server: Target, setting: str) -> Iterator[None]:
    path = "/etc/ssh/sshd_config.d/test.conf"
    sh(server, 'echo "$1" >"$2"; systemctl reload ssh', setting, path)
    try:
        yield
    finally:
        sh(server, 'rm "$1"; systemctl reload ssh', path)


def test_a_server_that_allows_one_session_is_enough_but_for_run(site: Project, shared_server: Target) -> None:
    login(site, shared_server)
    site.fab("-H", "prod", "deploy", "--force")
    with sshd(shared_server, "MaxSessions 1"):
        site.fab("-H", "other", "deploy", "--force")
        said = refused(site, "run", "true")
        login(site, shared_server, user="asker")
        status, shown = typed(site, ["-H", "other", "status"], {"sudo password of asker: ": "asker-password"})
    assert "the server refuses a session on this connection" in said
    assert "MaxSessions" in said
    assert status == 0, shown


def test_a_login_that_is_not_answered_is_said(site: Project, shared_server: Target) -> None:
    """Such as where sshd asks a directory for keys which does not answer."""
    slow = "/usr/local/bin/keys"
    sh(shared_server, f"printf '#!/bin/sh\\nexec sleep 300\\n' >{slow}; chmod 755 {slow}; useradd --create-home slow")
    login(site, shared_server, user="slow")
    with sshd(shared_server, f"AuthorizedKeysCommand {slow}\nAuthorizedKeysCommandUser nobody"):
        said = refused(site, "releases")
    assert f"did not answer to the login within {connecting.LOGIN_SECONDS} seconds" in said


def test_a_repository_that_is_damaged_ends_the_push_with_gits_words(site: Project, shared_server: Target) -> None:
    repository = site.repository
    (repository.path / "lost").write_text("content that is lost\n")
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message=damaged")
    blob = repository.git("rev-parse", "HEAD:lost").strip()
    (repository.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    try:
        for verb in ("push", "deploy"):
            done = site.fab("-H", "prod", verb, status=1, timeout=200)
            assert blob in done.stderr
            assert "git fsck" in done.stderr
    finally:
        repository.git("reset", "--quiet", "--soft", "HEAD~1")
    assert site.status()["lock"] is None
