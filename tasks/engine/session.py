"""One remote process a connection, and typed calls into it.

A session is an SSH channel with a Python process of root's at its far end (remote/agent.py). A step is one
call, one round trip, whatever it does there; functions of ``remote``, ``managers`` and ``servers`` are named
by the function object itself, so a type checker sees both ends. Nothing passes through a shell.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import json
import shlex
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import paramiko
from fabric import Connection

from . import profiling
from .errors import HostError, NoPython
from .remote import wire

P = ParamSpec("P")
T = TypeVar("T")

PACKAGE = Path(__file__).parents[1]
SHIPPED = ("engine/remote", "managers", "servers")
BOOTSTRAP = PACKAGE / "engine/remote/bootstrap.py"
ASK = b"fabrelease: sudo password: "
HAVE, NEED = b"fabrelease: have\n", b"fabrelease: need\n"
PIECE = 1 << 18


def reference(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> wire.Call:
    """A call of a function on the host."""
    return {
        "function": f"{function.__module__}:{function.__qualname__}",
        "args": list(args),
        "kwargs": dict(kwargs),
    }


@dataclass(frozen=True)
class Step:
    """A call on a host, and what is done here with its result.

    :ivar data: bytes that the call reads from its ``incoming()``.
    """

    call: wire.Call
    then: Callable[[Any], object] = lambda result: None
    data: Iterable[bytes] | None = None


class Session:
    """A conversation with one host.

    :param name: the host's short name, for messages.
    :param connection: an open connection.
    :param on_output: called with each line a step says while it runs.
    :raises HostError: Python or sudo is missing there, or sudo refused.
    """

    def __init__(self, name: str, connection: Connection, on_output: Callable[[str], None]) -> None:
        self.name = name
        self.connection = connection
        self.on_output = on_output
        self._sending = threading.Lock()
        self._calling = threading.Lock()
        self._closed = threading.Event()
        self._channel = self._start()
        threading.Thread(target=self._beat, daemon=True).start()

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function on the host and return what it returns.

        :raises HostError: it failed there, or the connection did.
        """
        return self.send(function, None)(*args, **kwargs)

    def send(self, function: Callable[P, T], data: Iterable[bytes] | None, /) -> Callable[P, T]:
        """Like call, with data that the function reads from its ``incoming()``."""

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            results: list[T] = []
            self.run([Step(reference(function, *args, **kwargs), results.append, data)])
            return results[0]

        return call

    def run(self, steps: Sequence[Step]) -> None:
        """Run steps one after another in one round trip; each one's ``then`` is called as soon as it is done.

        :param steps: only the first may have data.
        :raises HostError: one failed; those after it were not run.
        """
        data = steps[0].data
        with self._calling:
            began = profiling.now()
            request = {"calls": [step.call for step in steps], "data": data is not None}
            self._write(wire.pack(wire.CALL, request))
            if data is not None:
                for piece in data:
                    self._write(wire.pack(wire.DATA, piece))
                self._write(wire.pack(wire.END))
            for step in steps:
                answer = self._answer()
                began = profiling.step(_label(step.call), self.name, began, answer["seconds"])
                step.then(answer["value"])

    def close(self) -> None:
        """End the session; the host drops the lock and everything that runs for it."""
        self._closed.set()
        self._channel.close()

    def lost(self) -> HostError:
        """Give the session up for lost; what to tell the person."""
        self._closed.set()
        return HostError(
            self.name,
            "the connection was lost while a step ran; the host ends the step and drops the lock by itself",
            "See what is live: fab status; then run the command again: it clears away what was left.",
        )

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return not self._closed.is_set() and not self._channel.closed

    def _start(self) -> paramiko.Channel:
        with profiling.span("connect", "start the session", self.name):
            return self._start_agent()

    def _start_agent(self) -> paramiko.Channel:
        channel = self._execute(f"sudo -n {_python()}")
        answer = _reads_until(channel, HAVE, NEED)
        if answer is None:
            said = channel.recv_stderr(4096).decode(errors="replace").strip()
            if "password is required" not in said:
                raise self._no_session(said, channel.recv_exit_status())
            channel, answer = self._with_password()
        if answer == NEED:
            sources = shipped_sources()
            channel.sendall(b"%d\n%s" % (len(sources), sources))
        return channel

    def _execute(self, python: str, combine: bool = False) -> paramiko.Channel:
        transport = self.connection.transport
        assert transport is not None  # noqa: S101
        channel: paramiko.Channel = transport.open_session()
        channel.set_combine_stderr(combine)
        channel.settimeout(wire.SILENCE_SECONDS * 2)
        script = f'if [ "$(id -u)" -eq 0 ]; then exec {_python()}; else exec {python}; fi'
        channel.exec_command(f"/bin/sh -c {shlex.quote(script)}".encode())
        return channel

    def _with_password(self) -> tuple[paramiko.Channel, bytes]:
        password = self.connection.config.sudo.password or _ask_password(self.name, self.connection.user)
        channel = self._execute(f"sudo -S -p {shlex.quote(ASK.decode())} {_python()}", combine=True)
        _reads_until(channel, ASK)
        channel.sendall(password.encode() + b"\n")
        answer = _reads_until(channel, HAVE, NEED, ASK)
        if answer is None or answer == ASK:
            channel.close()
            raise HostError(
                self.name,
                f"sudo refused {self.connection.user}: a wrong password, or no right to use sudo",
                "Run the command again with the right password, or look at sudo -l on the host.",
            )
        self.connection.config.sudo.password = password  # for what runs beside the session
        return channel, answer

    def _no_session(self, said: str, status: int) -> HostError:
        if "python3" in said and "not found" in said:
            return NoPython(self.name, "there is no python3", "It is installed by: fab setup")
        if "sudo" in said and "not found" in said:
            return HostError(self.name, "there is no sudo", "Log in as root, or install it: apt-get install sudo")
        return HostError(self.name, f"no session could be started: {said or f'exit status {status}'}")

    def _write(self, data: bytes) -> None:
        try:
            with self._sending:
                for start in range(0, len(data), PIECE):
                    self._channel.sendall(data[start : start + PIECE])
        except (OSError, paramiko.SSHException) as error:
            raise self.lost() from error

    def _answer(self) -> Any:
        while True:
            try:
                frame = wire.read_by(functools.partial(_receive, self._channel))
            except (OSError, paramiko.SSHException) as error:
                raise self.lost() from error
            if frame is None:
                raise self.lost()
            kind, body = frame
            if kind == wire.RESULT:
                return json.loads(body)
            if kind == wire.OUTPUT:
                self.on_output(json.loads(body)["line"])
            elif kind == wire.FAILURE:
                failed = json.loads(body)
                raise HostError(self.name, failed["message"], failed["hint"], failed["needs_person"])
            elif kind == wire.CRASH:
                raise HostError(
                    self.name,
                    "this is a fault in fabrelease, nothing you did:\n" + json.loads(body)["traceback"],
                    "Please report it with the lines above.",
                )

    def _beat(self) -> None:
        while not self._closed.wait(wire.HEARTBEAT_SECONDS):
            try:
                self._write(wire.pack(wire.HEARTBEAT))
            except HostError:
                return


@functools.cache
def shipped_sources() -> bytes:
    """The modules of the remote side, compressed, by their paths."""
    sources = {
        f"fabrelease/tasks/{folder}/{path.name}": path.read_text()
        for folder in SHIPPED
        for path in sorted((PACKAGE / folder).glob("*.py"))
    }
    return zlib.compress(json.dumps(sources).encode(), 9)


@functools.cache
def _python() -> str:
    """The command that runs the far end of a session."""
    name = "agent-" + hashlib.sha256(shipped_sources()).hexdigest()[:16]
    code = f"NAME, HAVE, NEED = {name!r}, {HAVE!r}, {NEED!r}\n" + BOOTSTRAP.read_text().split('"""', 2)[2]
    return "python3 -I -X utf8 -c " + shlex.quote(code)


def _label(call: wire.Call) -> str:
    """A call's name for people: cutover.switch."""
    return call["function"].rpartition(".")[2].replace(":", ".")


def _receive(channel: paramiko.Channel, size: int) -> bytes:
    pieces = []
    while size and (piece := channel.recv(min(size, PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _reads_until(channel: paramiko.Channel, *marks: bytes) -> bytes | None:
    """Read up to and with the first of the marks; None where the program ended before."""
    read = b""
    while piece := channel.recv(1):
        read += piece
        for mark in marks:
            if read.endswith(mark):
                return mark
    return None


@functools.cache
def _password_of(user: str) -> str:
    return getpass.getpass(f"sudo password of {user}: ")


def _ask_password(name: str, user: str) -> str:
    """Ask once a run, however many hosts want it."""
    if not sys.stdin.isatty():
        raise HostError(
            name,
            "sudo asks for a password, and there is no terminal to ask you on",
            "Run fab with --prompt-for-sudo-password, or allow the login user sudo without one.",
        )
    with _asking:
        return _password_of(user)


_asking = threading.Lock()
