"""Programs of the application that do not end, do not let go, or pass for somebody else's."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.support import current, programs, revision, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

# Waits until the deploy that started it is done, which would end the orphan already.
ROGUE = """\
import os, signal, time
supervisord = os.getppid()
while not os.path.exists("data/go"):
    time.sleep(0.05)
if os.fork() == 0:
    os.setpgid(0, supervisord)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    open("data/group", "w").write(str(os.getpgid(0)))
    os.execvp("sleep", ["sleep", "3000"])
signal.pause()
"""
RESTLESS = """\
import os, time
while True:
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.003)
        os._exit(0)
    os.wait()
    time.sleep(0.001)
"""


@pytest.fixture
def site(tmp_path: Path, shared_server: Target) -> Iterator[Project]:
    """The smallest application; every test deploys revisions of its own of it."""
    project = Project(tmp_path / "project", "tinysite")
    project.repository.git("checkout", "--quiet", "two")
    project.stage({"web1": shared_server})
    yield project
    settle(shared_server)


def commit(site: Project, **files: str) -> None:
    """A new revision, with these files: name without .py to content."""
    for name, content in files.items():
        (site.path / f"app/{name}.py").write_text(content)
    tag = f"r{len(site.repository.revisions)}"
    (site.path / "app/tag.txt").write_text(tag)
    site.repository.commit(tag)


def deploy(site: Project, status: int = 0, **options: float) -> subprocess.CompletedProcess[str]:
    return site.fab("-H", "prod", "deploy", "--ref", list(site.repository.revisions)[-1], status=status, **options)


def main_pid(server: Target, unit: str) -> str:
    return sh(server, 'systemctl show --property=MainPID --value "$1"', unit).strip()


def running_as(server: Target, *argv: str) -> list[str]:
    """The processes with exactly this command line."""
    code = 'for p in /proc/[0-9]*; do [ "$(tr "\\0" " " <$p/cmdline 2>/dev/null)" != "$1 " ] || echo ${p#/proc/}; done'
    return sh(server, code, " ".join(argv)).split()


def test_an_orphan_in_supervisord_s_process_group_is_ended_and_supervisord_is_not(site: Project, shared_server: Target) -> None:
    supervisord = main_pid(shared_server, "supervisor")
    site.stage({"web1": shared_server}, processes={"rogue": "python rogue.py"})
    commit(site, rogue=ROGUE)
    deploy(site)
    settle(shared_server)
    sh(shared_server, "touch /srv/tinysite/shared/data/go")
    assert wait_for(lambda: running_as(shared_server, "sleep", "3000"))
    site.stage({"web1": shared_server})
    commit(site)
    deploy(site)
    settle(shared_server)
    assert main_pid(shared_server, "supervisor") == supervisord
    assert sh(shared_server, "cat /srv/tinysite/shared/data/group").strip() == supervisord
    assert running_as(shared_server, "sleep", "3000") == []
    assert site.status()["problems"] == []


def test_orphans_that_come_and_go_do_not_stop_a_deploy(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, processes={"restless": "python restless.py"})
    commit(site, restless=RESTLESS)
    for _ in range(2):
        deploy(site)
        settle(shared_server)
        commit(site)
    site.stage({"web1": shared_server})
    deploy(site)
    assert site.status()["problems"] == []


@pytest.mark.parametrize("left", ["setsid sleep 3001 &", "setsid setsid sh -c 'setsid sleep 3001 &' &"])
def test_a_hook_ends_with_its_command_and_what_it_left_is_ended(site: Project, shared_server: Target, left: str) -> None:
    site.stage({"web1": shared_server}, hooks={"before_switch": [f"{left} echo left it"]})
    commit(site)
    said = deploy(site, timeout=200)
    assert "left it" in said.stdout + said.stderr
    assert running_as(shared_server, "sleep", "3001") == []


def test_a_hook_that_takes_too_long_is_ended_with_all_it_started(site: Project, shared_server: Target) -> None:
    command = "setsid sh -c 'setsid sleep 3002 & exec sleep 3003' & exec sleep 3004"
    site.stage({"web1": shared_server}, hooks={"before_switch": [{"run": command, "timeout": 2}]})
    commit(site)
    assert "it was ended after 2 seconds" in deploy(site, status=1, timeout=200).stderr
    assert [running_as(shared_server, "sleep", number) for number in ("3002", "3003", "3004")] == [[], [], []]


def test_a_line_without_an_end_is_cut_in_hooks_and_in_logs(site: Project, shared_server: Target) -> None:
    endless = "head -c 30000000 /dev/zero | tr '\\0' x"
    site.stage({"web1": shared_server}, hooks={"before_switch": [f"{endless}; echo; echo and more"]})
    commit(site)
    said = deploy(site)
    told = said.stdout + said.stderr
    assert "and more" in told, told
    assert "(cut: a line of more than 8192 bytes)" in told, told[:3000] + told[-3000:]
    assert len(told) < 100_000
    sh(shared_server, f"{endless} >/srv/tinysite/logs/endless.log; echo >>/srv/tinysite/logs/endless.log")
    told = site.fab("-H", "prod", "logs", "--which", "app")
    sh(shared_server, "rm /srv/tinysite/logs/endless.log")
    assert "(cut: a line of more than 8192 bytes)" in told.stdout + told.stderr
    assert len(told.stdout + told.stderr) < 100_000


def test_nobody_but_root_makes_names_in_the_directory_of_logs(site: Project, shared_server: Target) -> None:
    """supervisord opens them as root."""
    commit(site)
    deploy(site)
    attempt = "ln -s /etc/shadow /srv/tinysite/logs/other.log || rm -f /srv/tinysite/logs/web.log"
    assert shared_server.exec(["sh", "-c", attempt], user="tinysite", check=False).returncode != 0
    assert sh(shared_server, "stat -c '%U %F' /srv/tinysite/logs/web.log").strip() == "root regular file"


def test_a_worker_that_takes_long_to_stop_is_waited_for_as_long_as_supervisor_does(site: Project, shared_server: Target) -> None:
    """It takes longer than gunicorn's own graceful_timeout and 10 seconds."""
    web = {"settings": {"graceful_timeout": 1}}
    site.stage({"web1": shared_server}, web=web, processes={"stubborn": "python stubborn.py 14"})
    commit(site)
    deploy(site)
    commit(site)
    deploy(site)
    settle(shared_server)
    assert wait_for(lambda: states(site) == {"web": "RUNNING", "stubborn": "RUNNING"})  # STARTING for a second
    assert site.status()["problems"] == []
    site.stage({"web1": shared_server})
    commit(site)
    deploy(site)


def states(site: Project) -> dict[str, str]:
    return {program["role"]: program["state"] for program in site.status()["programs"]}


@contextmanager
def without_restarts(server: Target) -> Iterator[None]:
    """supervisord is not started again while this lasts; afterwards it is."""
    folder = "/run/systemd/system/supervisor.service.d"
    sh(server, f"mkdir -p {folder}; printf '[Service]\\nRestart=no\\n' >{folder}/zz-test.conf; systemctl daemon-reload")
    try:
        yield
    finally:
        sh(server, f"rm -r {folder}; systemctl daemon-reload; systemctl start supervisor")


def test_when_what_was_stopped_cannot_be_started_again_a_person_is_told_what_to_type(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, processes={"stubborn": "python stubborn.py 8"})
    commit(site)
    deploy(site)
    settle(shared_server)
    old = current(shared_server, "/srv/tinysite")
    commit(site)
    tag = list(site.repository.revisions)[-1]
    with without_restarts(shared_server), site.fab_running("-H", "prod", "deploy", "--ref", tag) as fab:
        name = f"tinysite-{old}-stubborn"
        assert wait_for(lambda: programs(shared_server)[name][0] == "STOPPING")
        sh(shared_server, "systemctl kill --kill-who=main --signal=KILL supervisor")
        said, _ = fab.communicate(timeout=120)
    assert fab.returncode == 3
    assert f"sudo supervisorctl start tinysite-{old} {name}" in said
    assert current(shared_server, "/srv/tinysite") == old
    site.stage({"web1": shared_server})
    deploy(site)
    assert site.status()["problems"] == []


@contextmanager
def changed(server: Target, path: str, script: str, unit: str) -> Iterator[None]:
    """A file changed by sed, and its service started anew; afterwards as before."""
    sh(server, 'cp "$1" /root/kept && sed -i "$2" "$1" && systemctl daemon-reload && systemctl restart "$3"', path, script, unit)
    try:
        yield
    finally:
        sh(server, 'cp /root/kept "$1" && systemctl daemon-reload && systemctl restart "$2"', path, unit)


@pytest.mark.parametrize("password", ["s3cret%%x", "{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d"])
def test_a_supervisord_that_asks_for_a_password_is_given_it(site: Project, shared_server: Target, password: str) -> None:
    """Where it is kept as a hash, supervisorctl's own has it as it is."""
    lines = f"s|^file=.*|&\\nusername=me\\npassword={password}|; s|^serverurl=.*|&\\nusername=me\\npassword=thepassword|"
    with changed(shared_server, "/etc/supervisor/supervisord.conf", lines, "supervisor"):
        commit(site)
        deploy(site)
        assert site.status()["problems"] == []
        settle(shared_server)


@contextmanager
def file_of_somebody_else(server: Target, path: str) -> Iterator[None]:
    """One that nginx cannot read as its configuration."""
    sh(server, 'echo "nonsense;" >"$1"', path)
    try:
        yield
    finally:
        sh(server, 'rm "$1"', path)


@pytest.mark.parametrize("path", ["/etc/nginx/conf.d/old.conf.disabled", "/etc/nginx/sites-enabled/.other.swp"])
def test_files_that_nginx_does_not_read_are_not_checked(site: Project, shared_server: Target, path: str) -> None:
    commit(site)
    with file_of_somebody_else(shared_server, path):
        said = deploy(site)
    assert "demo.example.net/: checked" in said.stdout + said.stderr


@pytest.mark.parametrize("path", ["/etc/nginx/conf.d/other.conf", "/etc/nginx/sites-enabled/other~"])
def test_a_file_of_somebody_else_s_that_breaks_nginx_is_named_and_the_release_is_not_blamed(
    site: Project, shared_server: Target, path: str
) -> None:
    commit(site)
    with file_of_somebody_else(shared_server, path):
        said = deploy(site, status=1).stderr
    assert f"{path}, which is not of this release, breaks nginx's configuration; nothing was touched" in said
    assert "unknown directive" in said
    assert "templates/nginx" not in said


@contextmanager
def pid_file_elsewhere(server: Target) -> Iterator[None]:
    """nginx and its unit have their pid file in another place than Debian's."""
    unit = "/run/systemd/system/nginx.service"
    move = 'systemctl stop nginx; sed -i "s|/run/$1.pid|/run/$2.pid|" /etc/nginx/nginx.conf'
    sh(server, f"{move}; sed 's|/run/nginx.pid|/run/web.pid|' /lib/systemd/system/nginx.service >{unit}", "nginx", "web")
    sh(server, "systemctl daemon-reload; systemctl start nginx")
    try:
        yield
    finally:
        sh(server, f"{move}; rm {unit}; systemctl daemon-reload; systemctl start nginx", "web", "nginx")


def test_nginx_is_not_started_anew_where_its_pid_file_is_elsewhere(site: Project, shared_server: Target) -> None:
    with pid_file_elsewhere(shared_server):
        before = main_pid(shared_server, "nginx")
        assert sh(shared_server, "cat /run/web.pid").strip() == before
        commit(site)
        assert "started nginx" not in deploy(site).stderr
        assert main_pid(shared_server, "nginx") == before


def connect(server: Target, path: str) -> http.client.HTTPConnection:
    """A request to the site that is sent, and whose answer nobody waits for."""
    connection = http.client.HTTPConnection(server.host, server.http_port)
    connection.request("GET", path, headers={"Host": "demo.example.net"})
    return connection


def test_all_requests_that_are_cut_are_counted(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, web={"settings": {"graceful_timeout": 3, "threads": 20}})
    commit(site)
    deploy(site)
    askers = [connect(shared_server, "/slow?seconds=60") for _ in range(30)]
    socket = f"/srv/tinysite/releases/{current(shared_server, '/srv/tinysite')}/run/web.sock"
    assert wait_for(lambda: sh(shared_server, 'grep -c "$1" /proc/net/unix || true', socket).strip() == "31")
    commit(site)
    said = deploy(site)
    for asker in askers:
        asker.close()
    ends = "30 connections still open, which it ends within 3 s (graceful_timeout)"
    assert ends in " ".join((said.stdout + said.stderr).split())
    assert revision(shared_server) == "two"
