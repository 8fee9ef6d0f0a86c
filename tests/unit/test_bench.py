"""The parts of the benchmark that a wrong figure could come from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import latency, programs, report
from bench.application import Application


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    while piece := connection.recv(1 << 16):
                        connection.sendall(piece)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def ask(connection: socket.socket, question: bytes) -> bytes:
    connection.sendall(question)
    answer = b""
    while len(answer) < len(question):
        answer += connection.recv(1 << 16)
    return answer


def test_an_answer_takes_the_round_trip_it_was_told_to_take(echo: int) -> None:
    with latency.line(echo, 0.2) as line, socket.create_connection(("127.0.0.1", line.port)) as client:
        ask(client, b"one")
        began = time.monotonic()
        assert ask(client, b"two") == b"two"
        assert time.monotonic() - began >= 0.2


def test_what_is_on_its_way_does_not_wait_for_what_went_before(echo: int) -> None:
    pieces = [b"%04d" % number for number in range(50)]
    with latency.line(echo, 0.2) as line, socket.create_connection(("127.0.0.1", line.port)) as client:
        ask(client, b"warm")
        began = time.monotonic()
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.002)
        answer = b""
        while len(answer) < 200:
            answer += client.recv(1 << 16)
        assert answer == b"".join(pieces)
        assert time.monotonic() - began < 50 * 0.2 / 2  # each in its turn would take ten seconds


def test_bytes_connections_and_turns_are_counted(echo: int) -> None:
    with latency.line(echo, 0) as line, socket.create_connection(("127.0.0.1", line.port)) as client:
        for question in (b"a", b"bb", b"ccc"):
            ask(client, question)
        traffic = line.traffic
    assert (traffic.connections, traffic.up, traffic.down, traffic.turns) == (1, 6, 6, 2)


def test_ours_is_held_against_the_fastest_of_the_others() -> None:
    samples = {"fabrelease deploy": [1.0, 9.0, 1.0], "slow deploy": [5.0], "fast deploy": [4.0], "fast back": [0.1]}
    figure = report.against_peers("deploy", samples, "deploy", 0.3)
    assert figure == report.Figure("deploy", "1.00 s", "4.00 s (fast deploy)", 0.25, 0.3)
    assert figure.is_met


def test_there_is_no_figure_without_somebody_to_compare_with() -> None:
    assert report.against_peers("deploy", {"fabrelease deploy": [1.0]}, "deploy", 0.3) is None


def test_a_missed_goal_is_said() -> None:
    about = {"machine": report.machine(), "load_after": (0.0, 0.0, 0.0), "versions": {}}
    table = report.markdown([report.Figure("work", "2", "1", 2.0, 1.0)], {"series": {"one": [1.0, 3.0, 2.0]}}, about)
    assert "| work | 2 | 1 | 2.00 | at most 1.00 | MISSED |" in table
    assert "| series | one | 2.00 s | 1.00 s | 3.00 s | 3 |" in table


def test_a_change_is_one_line_of_one_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    application = Application(tmp_path_factory.mktemp("bench") / "app", files=3)
    answer = application.change()
    assert answer == "1"
    assert application.git("diff", "--numstat", "HEAD~1") == "1\t1\tshop/revision.py\n"


def test_peers_that_are_missing_are_named_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where nothing is, apt neither
    missing = programs.missing(["fabrelease", "script", "pyinfra", "capistrano"])
    assert missing == ["openssh-client", "capistrano"]
    with pytest.raises(SystemExit, match="sudo apt-get install openssh-client capistrano"):
        programs.install(missing)
