"""The load and the faults on a server of somebody's own, which is only reached by SSH and HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.target import Target
from tests.target.staging import Staging

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(server: Target) -> list[str]:
    where = f"{server.user}@{server.host}:{server.ssh_port}"
    files = ["--key", str(server.key_path), "--known-hosts", str(server.known_hosts)]
    return ["--server", where, *files, "--http-port", str(server.http_port)]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    env = {**os.environ, "DOCKER_HOST": "unix:///nowhere"}  # no container can be had, nor looked into
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_the_load_can_be_put_on_it(options: list[str], tmp_path: Path) -> None:
    table = tmp_path / "load.md"
    chosen = ["--only", "uvicorn, supervisor"]  # another project than the one that set the server up
    done = run("tests.load", *options, *chosen, "--requests", "400", "--cutovers", "2", "--output", str(table))
    assert done.returncode == 0, done.stdout + done.stderr
    for keepalive in ("on", "off"):
        assert f"| uvicorn, supervisor, upstream keepalive {keepalive} |" in table.read_text()


def test_it_can_be_broken(options: list[str], tmp_path: Path) -> None:
    table = tmp_path / "faults.md"
    chosen = ["--scenario", "deploy", "--fault", "connection cut", "--point", "cutover.switch", "--sample", "1"]
    done = run("tests.faults", *options, *chosen, "--output", str(table))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 points, 1 runs, 0 with violations" in table.read_text()


def test_a_server_whose_key_nobody_knows_is_refused(server: Target, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log in once by hand"):
        Staging(f"deploy@{server.host}:1", server.key_path, server.known_hosts, 80, tmp_path)
    with pytest.raises(ValueError, match="expected USER@HOST"):
        Staging("example.net", server.key_path, server.known_hosts, 80, tmp_path)
