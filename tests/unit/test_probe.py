"""Asking an application that may be hostile: the answer has an end, whatever it does, and is the right program's."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import probe, unix_http

ENDPOINT: probe.Endpoint = probe.Endpoint("", "example.net", "/", 200, 5)
SERVE = """\
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
if sys.argv[2] == "child" and os.fork():
    os.wait()
sock.listen()
print(flush=True)
while True:
    peer, _ = sock.accept()
    peer.recv(1000)
    peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    peer.close()
"""


@contextmanager
def answering(path: Path, answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of somebody who answers in a way of his own."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):  # at some time nobody listens any more
                answer(peer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"unix:{path}"


def trickle(peer: socket.socket, text: bytes) -> None:
    for number in text:
        peer.sendall(bytes([number]))
        time.sleep(0.05)


def endless_continue(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_status(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"HTTP/1.1 " + b"1" * 10000)


def endless_headers(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        peer.sendall(b"X-Header: " + b"y" * 60000 + b"\r\n")


def slow_continue(peer: socket.socket) -> None:
    while True:
        trickle(peer, b"HTTP/1.1 100 Continue\r\n\r\n")


def slow_headers(peer: socket.socket) -> None:
    trickle(peer, b"HTTP/1.1 200 OK\r\n" + b"X-Header: yes\r\n" * 50)


def slow_body(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    trickle(peer, b"z" * 1000)


def negative_chunk(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
    while True:
        peer.sendall(b"y" * 60000)


def no_answer(peer: socket.socket) -> None:
    while peer.recv(1 << 16):
        pass


HOSTILE = [
    endless_continue,
    endless_status,
    endless_headers,
    slow_continue,
    slow_headers,
    slow_body,
    negative_chunk,
    no_answer,
]


@pytest.mark.parametrize("answer", HOSTILE)
def test_an_answer_has_an_end(tmp_path: Path, answer: Callable[[socket.socket], object]) -> None:
    with answering(tmp_path / "sock", answer) as address:
        began = time.monotonic()
        found = probe.ask(ENDPOINT.at(address), None, 0.5)
    assert time.monotonic() - began < 20  # the quickest of them would take 35
    assert found["status"] is None
    assert found["error"]


def test_no_more_is_read_than_is_wanted(tmp_path: Path) -> None:
    sent = []

    def endless_body(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent.append(peer.send(b"line\n" * 1000))

    with answering(tmp_path / "sock", endless_body) as address:
        found = probe.ask(ENDPOINT.at(address), None, 5)
    assert (found["status"], found["body"]) == (200, ["line"] * probe.BODY_LINES)
    assert sum(sent) < 2_000_000  # what the kernel keeps


def test_the_reader_gives_up_when_nobody_wants_the_answer(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far:
        bounded = unix_http.Bounded(near, time.monotonic() + 60, 1000, lambda: True)
        with pytest.raises(TimeoutError):
            bounded.makefile("rb").read(1)


def answer_well(peer: socket.socket) -> None:
    peer.recv(1 << 16)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(("to_the_end", "status"), [(False, None), (True, 200)])
def test_what_is_live_already_is_asked_to_the_end_when_the_deployer_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_the_end: bool, status: int | None
) -> None:
    monkeypatch.setattr(probe.agent, "is_ending", lambda: True)
    with answering(tmp_path / "sock", answer_well) as address:
        assert probe.ask(ENDPOINT.at(address), None, 20, to_the_end=to_the_end)["status"] == status


@contextmanager
def listening(path: Path, who: str) -> Iterator[int]:
    """The pid of a program that listens at a path, itself or by a child."""
    argv = [sys.executable, "-c", SERVE, str(path), who]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout
        program.stdout.readline()
        try:
            yield program.pid
        finally:
            os.killpg(program.pid, 9)


@pytest.mark.parametrize("who", ["itself", "child"])
def test_the_program_that_listens_is_known_by_the_kernel(tmp_path: Path, who: str) -> None:
    path = tmp_path / "sock"
    with listening(path, who) as program:
        assert probe.ask(ENDPOINT.at(f"unix:{path}"), None, 5, program)["status"] == 200


def test_another_program_that_puts_its_socket_there_is_not_taken_for_it(tmp_path: Path) -> None:
    path, others = tmp_path / "sock", tmp_path / "other"
    with listening(path, "itself") as program, listening(others, "itself"):
        others.rename(path)
        found = probe.ask(ENDPOINT.at(f"unix:{path}"), None, 5, program)
        assert probe.ask(ENDPOINT.at(f"unix:{path}"), None, 5)["status"] == 200
        nobody = probe.ask(ENDPOINT.at(f"unix:{path}"), None, 5, 0)
    assert (found["status"], nobody["status"]) == (None, None)
    assert "another program" in found["error"]


def program_of_number(pid: int) -> subprocess.Popen[bytes]:
    """A program that gets the number of one that has ended."""
    for _ in range(1000):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        program = subprocess.Popen(["sleep", "60"])
        if program.pid == pid:
            return program
        program.kill()
        program.wait()
    raise AssertionError(f"others are always faster to get the number {pid}")


@pytest.mark.skipif(
    os.geteuid() != 0 or not hasattr(os, "pidfd_open"), reason="only root chooses the number of a process"
)
def test_who_has_ended_is_not_taken_for_the_program_that_has_its_number_now(tmp_path: Path) -> None:
    """An old release collects sockets of children that have ended, and has the new release's numbers among theirs."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        if (child := os.fork()) == 0:
            server.listen()
            os._exit(0)
        os.waitpid(child, 0)
        threading.Thread(target=lambda: answer_well(server.accept()[0]), daemon=True).start()
        with program_of_number(child) as program:
            try:
                found = probe.ask(ENDPOINT.at(f"unix:{tmp_path}/sock"), None, 5, program.pid)
            finally:
                program.kill()
    assert "another program" in found["error"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_the_rights_of_another_user_are_of_the_connection_and_not_of_the_process(tmp_path: Path) -> None:
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.add(os.geteuid())

    path = tmp_path / "sock"
    threading.Thread(target=watch, daemon=True).start()
    with listening(path, "itself"):
        path.chmod(0o700)
        refused = probe.ask(ENDPOINT.at(f"unix:{path}"), "nobody", 5)
        for place in (path, *tmp_path.parents[:-2], tmp_path):
            place.chmod(0o777)
        for _ in range(20):
            answered = probe.ask(ENDPOINT.at(f"unix:{path}"), "nobody", 5)
    done.set()
    assert (refused["status"], refused["error"]) == (None, "Permission denied")
    assert answered["status"] == 200
    assert seen == {0}


TELLS = """\
def application(environ, start_response):
    start_response("200 OK" if environ["HTTP_HOST"] == "example.net" else "400 Bad Request", [])
    return [f"{environ['PATH_INFO']} {environ['QUERY_STRING']} {environ['wsgi.url_scheme']}".encode()]
"""


def test_uwsgi_is_asked_in_its_own_protocol_and_known_by_its_master(tmp_path: Path) -> None:
    (tmp_path / "tells.py").write_text(TELLS)
    argv = ["--master", "--workers=2", "--socket=sock", "--module=tells", "--need-app"]
    program = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", *argv]
    endpoint = probe.Endpoint(f"unix:{tmp_path}/sock", "example.net", "/a%20b?c=d", 200, 5, speaks="uwsgi")
    with subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.DEVNULL) as uwsgi:
        try:
            end = time.monotonic() + 15
            while (found := probe.ask(endpoint, None, 5, uwsgi.pid))["status"] is None and time.monotonic() < end:
                time.sleep(0.05)
            nobody = probe.ask(endpoint, None, 5, 0)
        finally:
            uwsgi.kill()
    assert (found["status"], found["body"]) == (200, ["/a b c=d http"])
    assert nobody["status"] is None


@pytest.mark.parametrize("answer", HOSTILE)
def test_an_answer_in_uwsgi_s_protocol_has_an_end(tmp_path: Path, answer: Callable[[socket.socket], object]) -> None:
    with answering(tmp_path / "sock", answer) as address:
        began = time.monotonic()
        found = probe.ask(ENDPOINT.at(address, "uwsgi"), None, 0.5)
    assert time.monotonic() - began < 1.5
    assert found["status"] is None
