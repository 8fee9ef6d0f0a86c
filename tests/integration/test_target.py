"""The server the other tests deploy to is what they take it for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import docker
import paramiko
import pytest

from tests.target import ASKER_PASSWORD, Target


def test_who_is_not_root_and_has_no_engine_is_told_what_to_do() -> None:
    nobody = 65534 if os.getuid() == 0 else os.getuid()
    asked = subprocess.run(
        ["sh", "-s"],
        input=(Path(__file__).parents[1] / "target/engine.sh").read_bytes(),
        env={"PATH": os.environ["PATH"], "DOCKER_HOST": "unix:///nowhere.sock"},
        user=nobody,
        cwd="/",
        capture_output=True,
        check=False,
    )
    assert asked.returncode == 2
    assert b"sudo systemctl start docker" in asked.stderr


def test_systemd_is_the_first_process_and_has_booted(shared_bare_server: Target) -> None:
    state = shared_bare_server.exec(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip()
    assert state in (b"running", b"degraded")
    assert shared_bare_server.exec(["cat", "/proc/1/comm"]).stdout == b"systemd\n"


def test_deploy_logs_in_with_the_key_and_uses_sudo_without_a_password(shared_bare_server: Target) -> None:
    with shared_bare_server.connection() as connection:
        assert connection.run("id -un", hide=True).stdout == "deploy\n"
        assert connection.run("sudo -n id -un", hide=True).stdout == "root\n"


def test_root_logs_in_with_the_key(shared_bare_server: Target) -> None:
    with shared_bare_server.connection("root") as connection:
        assert connection.run("id -un", hide=True).stdout == "root\n"


def test_sudo_asks_asker_for_the_password(shared_bare_server: Target) -> None:
    with shared_bare_server.connection("asker") as connection:
        refused = connection.run("sudo -n id -un", hide=True, warn=True)
        assert refused.failed
        assert "a password is required" in refused.stderr
        assert connection.sudo("id -un", password=ASKER_PASSWORD, hide=True).stdout == "root\n"


def test_fabric_runs_under_pytest_without_any_setting(shared_bare_server: Target) -> None:
    with shared_bare_server.connection() as connection:
        connection.config.run.in_stream = None
        assert connection.run("cat; echo end", hide=True).stdout == "end\n"


def test_only_what_a_bare_server_has_is_there(shared_bare_server: Target) -> None:
    command = "for p in sshd sudo python3 ss nginx supervisord git uv; do command -v $p; done; true"
    assert shared_bare_server.exec(["sh", "-c", command]).stdout.decode().split() == [
        "/usr/sbin/sshd",
        "/usr/bin/sudo",
        "/usr/bin/python3",
        "/usr/bin/ss",
    ]


def test_apt_and_pip_reach_their_packages_also_through_sudo(bare_server: Target) -> None:
    with bare_server.connection() as connection:
        connection.run("sudo apt-get update -qq", hide=True)
        connection.run("sudo apt-get install -qq -y hello python3-venv", hide=True)
        assert connection.run("hello", hide=True).stdout == "Hello, world!\n"
        connection.run("python3 -m venv /tmp/env && /tmp/env/bin/pip install -q six", hide=True)
        connection.run("sudo python3 -m venv /root/env && sudo /root/env/bin/pip install -q six uv", hide=True)
        connection.run("sudo /root/env/bin/uv venv -q /root/uv", hide=True)
        connection.run("sudo /root/env/bin/uv pip install -q --python /root/uv/bin/python six", hide=True)
        for python in ("/tmp/env", "/root/env", "/root/uv"):
            connection.run(f"sudo {python}/bin/python -c 'import six'", hide=True)


def test_a_killed_server_boots_with_the_same_ports_files_and_host_key(bare_server: Target) -> None:
    ports, key = (bare_server.ssh_port, bare_server.http_port), bare_server.known_hosts.read_text()
    with bare_server.connection() as connection:
        connection.run("echo kept > /home/deploy/file")
        bare_server.kill()
        with pytest.raises(OSError):
            bare_server.read_banner()
    bare_server.boot()
    bare_server.container.reload()
    again = Target(bare_server.container)
    assert (again.ssh_port, again.http_port) == ports
    assert again.known_hosts.read_text() == key
    with again.connection() as connection:
        assert connection.run("cat /home/deploy/file", hide=True).stdout == "kept\n"


def test_a_server_from_a_commit_has_the_files_and_a_host_key_of_its_own(bare_server: Target) -> None:
    bare_server.exec(["tee", "/etc/prepared"], input=b"yes\n")
    with Target.start(bare_server.commit()) as other:
        assert other.exec(["cat", "/etc/prepared"]).stdout == b"yes\n"
        assert other.known_hosts.read_text().split()[2] != bare_server.known_hosts.read_text().split()[2]
        other.known_hosts.write_text(f"[{other.host}]:{other.ssh_port} {key_of(bare_server)}\n")
        with pytest.raises(paramiko.BadHostKeyException):
            other.connection().open()


def key_of(server: Target) -> str:
    return server.known_hosts.read_text().split(maxsplit=1)[1].strip()


def test_the_http_port_is_the_servers_port_80(bare_server: Target) -> None:
    bare_server.exec(["sh", "-c", "echo hi > /srv/index.html"])
    bare_server.exec(["systemd-run", "--quiet", "python3", "-m", "http.server", "80", "-d", "/srv"])
    bare_server.exec(["sh", "-c", "until ss -Htln sport = :80 | grep -q .; do sleep 0.1; done"])
    with socket.create_connection((bare_server.host, bare_server.http_port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().endswith(b"hi\n")


def test_a_small_file_system_fills_up(image: str) -> None:
    with Target.start(image, tmpfs={"/srv": "size=1m"}) as server:
        filled = server.exec(["sh", "-c", "head -c 2000000 /dev/zero > /srv/file"], check=False)
    assert b"No space left on device" in filled.stderr


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_has_is_not(bare_server: Target) -> None:
    program = """if True:
        import os
        from tests.target import Target
        print(Target.start().container.id, flush=True)
        os._exit(1)
    """
    command = [sys.executable, "-c", program]
    dead = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    client = docker.from_env()
    left = dead.stdout.strip()
    assert client.containers.get(left).status == "running"
    with Target.start():
        with pytest.raises(docker.errors.NotFound):
            client.containers.get(left)
        assert client.containers.get(bare_server.container.id).labels["fabrelease-test"] == str(os.getpid())
