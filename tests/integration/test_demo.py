"""The parts of `tox -e demo` before fab takes over, and its taking away."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import yaml

from tests.target import HOST, Target, demo, free_port


@pytest.fixture
def server_name(engine: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A demo of this test's own beside a real one."""
    name = f"fabrelease-demo-{os.getpid()}"
    monkeypatch.setattr(demo, "NAME", name)
    monkeypatch.setattr(demo, "DIRECTORY", tmp_path / ".demo")
    return name


def test_the_server_is_found_again_booted_again_and_taken_away(server_name: str) -> None:
    port = free_port()
    assert demo.running_server(server_name, port) is None
    server = demo.start_server(server_name, port)
    try:
        demo.write_files(demo.DIRECTORY, server)
        server.kill()
        again = demo.running_server(server_name, port)
        assert again is not None
        assert again.container.id == server.container.id
        assert again.connection().run("id -un", hide=True).stdout == "deploy\n"
    finally:
        demo.down()
    assert Target.find(server_name) is None
    assert not demo.DIRECTORY.exists()
    assert demo.down() == 0


def test_a_server_on_another_port_than_the_stage_file_says_is_replaced(server_name: str) -> None:
    server = demo.start_server(server_name, free_port())
    try:
        assert demo.running_server(server_name, free_port()) is None
        assert Target.find(server_name) is None
    finally:
        server.remove()


def test_the_files_are_those_that_the_stage_file_names(bare_server: Target, tmp_path: Path) -> None:
    stage = yaml.safe_load((demo.ROOT / "hosts/demo.yml").read_text())
    demo.write_files(tmp_path, bare_server)
    secret = (tmp_path / "secrets.env").read_text()
    demo.write_files(tmp_path, bare_server)
    host = stage["hosts"]["demo1"]
    named = [stage["source"]["path"], stage["secrets"], host["key"], host["known_hosts"]]
    assert sorted(named) == sorted(f".demo/{path.name}" for path in tmp_path.iterdir())
    assert (tmp_path / "secrets.env").read_text() == secret
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("secrets.env", "id_ed25519")} == {0o600}
    assert (tmp_path / "app/djangosite/revision.py").read_text() == 'REVISION = "two"\n'


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} of 127.0.0.1 is taken: put a free one into hosts/"):
            demo.start_server("fabrelease-demo-never", port)
