"""One remote process a connection, and typed calls into it.

A session is an SSH channel with a Python process of root's at its far end (remote/agent.py). A step is one
call, one round trip, whatever it does there; functions of ``remote``, ``managers`` and ``servers`` are named
by the function object itself, so a type checker sees both ends. Nothing passes through a shell.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import getpass
import hashlib
import json
import re
import shlex
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import paramiko
from fabric import Connection

from . import profiling
from .errors import Error, HostError, NoPython
from .remote import drivers, kinds, wire

P = ParamSpec("P")
T = TypeVar("T")

PACKAGE = Path(__file__).parents[1]
SHIPPED = ("engine/remote", "managers", "servers")
BOOTSTRAP = PACKAGE / "engine/remote/bootstrap.py"
ASK = b"fabrelease: sudo password: "
HAVE, NEED, OLD = b"fabrelease: have\n", b"fabrelease: need\n", b"fabrelease: old "
PIECE = 1 << 18
START_SECONDS = 60.0  # for a host to start a session: PAM and sudo may look up a name elsewhere
FREE_SECONDS, PAUSE = 5.0, 0.05  # for a server to notice that a session has ended
GREETING_BYTES = 1 << 16  # a login shell may say something of its own first


def reference(function: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> wire.Call:
    """A call of a function on the host."""
    return {
        "function": f"{function.__module__}:{function.__qualname__}",
        "args": wire.encode(list(args)),
        "kwargs": wire.encode(kwargs),
    }


@dataclass(frozen=True)
class RemoteCall:
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
            self.run([RemoteCall(reference(function, *args, **kwargs), results.append, data)])
            return results[0]

        return call

    def run(self, steps: Sequence[RemoteCall]) -> None:
        """Run steps one after another in one round trip; each one's ``then`` is called as soon as it is done.

        :param steps: only the first may have data.
        :raises HostError: one failed; those after it were not run.
        """
        data = steps[0].data
        with self._calling:
            began = profiling.now()
            request = {"calls": [step.call for step in steps], "data": data is not None}
            self._write(self._pack(wire.CALL, request))
            if data is not None:
                self._send_data(data)
            for step in steps:
                answer = self._answer()
                began = profiling.step(_label(step.call), self.name, began, answer["seconds"])
                step.then(answer["value"])

    def _send_data(self, data: Iterable[bytes]) -> None:
        try:
            for piece in data:
                self._write(self._pack(wire.DATA, piece))
        except Error:  # what makes the data failed, and says why: the call must not wait for the rest
            self._write(wire.pack(wire.ABORT))
            with contextlib.suppress(HostError):
                self._answer()
            raise
        self._write(wire.pack(wire.END))

    def _pack(self, kind: bytes, payload: Any) -> bytes:
        try:
            return wire.pack(kind, payload)
        except wire.TooLarge as error:
            raise HostError(
                kinds.TOO_LARGE,
                self.name,
                f"the step would be sent as {error}",
                "Make the files of shared.files smaller, or put them on the host by other means.",
            ) from None

    def close(self) -> None:
        """End the session; the host drops the lock and everything that runs for it."""
        self._closed.set()
        self._channel.close()

    def lost(self) -> HostError:
        """Give the session up for lost; what to tell the person."""
        self._closed.set()
        return HostError(
            kinds.CONNECTION_LOST,
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
        try:
            return self._begin()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise no_channel(self.name, error) from error

    def _begin(self) -> paramiko.Channel:
        channel = self._execute("sudo -n")
        said, answer = _reads_until(channel, HAVE, NEED, OLD)
        if answer is None:
            said += channel.recv_stderr(GREETING_BYTES)
            channel.status_event.wait(START_SECONDS if len(said) < GREETING_BYTES else 0)
            if b"password is required" not in said:
                raise self._no_session(_text(said)[-2000:], channel.exit_status)
            channel.close()
            channel, answer = self._with_password()
        if answer == OLD:
            version = _text(_reads_until(channel, b"\n")[0])
            raise HostError(
                kinds.NO_PYTHON,
                self.name,
                f"python3 is {version} there, and 3.9 is the oldest that will do",
                "Install a newer one as python3, or take a newer release of the system.",
            )
        if answer == NEED:
            sources = zlib.compress(shipped_sources(), 9)
            channel.sendall(b"%d\n%s" % (len(sources), sources))
        return channel

    def _execute(self, sudo: str, combine: bool = False, patience: float = 0) -> paramiko.Channel:
        channel = self._open(time.monotonic() + patience)
        channel.set_combine_stderr(combine)
        channel.settimeout(START_SECONDS)
        timer = threading.Timer(START_SECONDS, channel.close)  # paramiko waits for this answer without an end
        timer.start()
        try:
            channel.exec_command(_command(sudo).encode())
        finally:
            timer.cancel()
        return channel

    def _open(self, end: float) -> paramiko.Channel:
        """A channel; a server that allows few may take until *end* to notice that one was closed."""
        transport = self.connection.transport
        assert transport is not None  # noqa: S101
        while True:
            try:
                channel: paramiko.Channel = transport.open_session(timeout=START_SECONDS)
            except paramiko.ChannelException:
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE)
            else:
                return channel

    def _with_password(self) -> tuple[paramiko.Channel, bytes]:
        user = self.connection.user
        password = self.connection.config.sudo.password or _ask_password(self.name, user)
        channel = self._execute(f'sudo -S -p "{ASK.decode()}"', combine=True, patience=FREE_SECONDS)
        _reads_until(channel, ASK)
        channel.sendall(password.encode() + b"\n")
        said, answer = _reads_until(channel, HAVE, NEED, OLD, ASK)
        if answer is None or answer == ASK:
            channel.close()
            raise self._refused(user, _text(said))
        self.connection.config.sudo.password = password  # for what runs beside the session
        return channel, answer

    def _refused(self, user: str, said: str) -> HostError:
        if "not in the sudoers" in said or "not allowed to" in said or "may not run sudo" in said:
            return HostError(
                kinds.SUDO,
                self.name,
                f"{user} has no right to use sudo: {said.splitlines()[-1]}",
                "Log in as somebody who has, by `user:` in the host's entry; or let root allow it: sudo visudo",
            )
        return HostError(
            kinds.SUDO,
            self.name,
            f"sudo refused {user}: a wrong password",
            "Run the command again with the right password, or look at sudo -l on the host.",
        )

    def _no_session(self, said: str, status: int) -> HostError:
        if re.search(r"python3: (command )?not found", said):
            return NoPython(kinds.NO_PYTHON, self.name, "there is no python3", "It is installed by: fab setup")
        if re.search(r"sudo: (command )?not found", said):
            return HostError(
                kinds.SUDO, self.name, "there is no sudo", "Log in as root, or install it: apt-get install sudo"
            )
        if said and "account is currently not available" not in said:
            return HostError(kinds.LOGIN_SHELL, self.name, f"no session could be started: {said}")
        return HostError(
            kinds.LOGIN_SHELL,
            self.name,
            f"the login shell of {self.connection.user} ends at once with exit status {status}"
            + (f": {said}" if said else ", without a word"),
            "It may be nologin or false. Look at it: getent passwd, or log in as another `user:`",
        )

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
            except wire.TooLarge as error:
                self.close()
                raise HostError(
                    kinds.TOO_LARGE, self.name, f"the host sends {error}: the session was given up"
                ) from None
            if frame is None:
                raise self.lost()
            kind, body = frame
            if kind == wire.RESULT:
                return json.loads(body)
            if kind == wire.OUTPUT:
                self.on_output(json.loads(body)["line"])
            elif kind == wire.FAILURE:
                failed = json.loads(body)
                known = kinds.BY_CODE[failed["code"]]
                raise HostError(known, self.name, failed["message"], failed["hint"], failed["needs_person"])
            elif kind == wire.CRASH:
                raise HostError(
                    kinds.FAULT,
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
    """The modules of the remote side by their paths, as JSON."""
    sources = {
        f"fabrelease/tasks/{folder}/{path.name}": path.read_text()
        for folder in SHIPPED
        for path in sorted((PACKAGE / folder).glob("*.py"))
    }
    for kind in drivers.KINDS:  # other packages' drivers have their place beside ours there
        for name, module in drivers.outside(kind).items():
            sources[f"fabrelease/tasks/{kind}/{name}.py"] = drivers.file_of(module).read_text()
    return json.dumps(sources).encode()


@functools.cache
def _command(sudo: str) -> str:
    """The command that runs the far end of a session as root.

    One line, and nothing in it that a login shell could take for its own, be it sh, fish or tcsh. No site module is
    imported by that Python: who could write one would be root by it.

    :param sudo: what makes root of us where we are not.
    """
    name = "agent-" + hashlib.sha256(shipped_sources()).hexdigest()[:16]
    names = f"NAME, HAVE, NEED, OLD = {name!r}, {HAVE!r}, {NEED!r}, {OLD!r}\n"
    code = names + BOOTSTRAP.read_text().split('"""', 2)[2]
    packed = base64.b64encode(zlib.compress(code.encode(), 9)).decode()
    start = "import sys, zlib, base64; exec(zlib.decompress(base64.b64decode(sys.argv[1])))"
    python = f'python3 -I -S -X utf8 -c "{start}" {packed}'
    script = f'set -- {python}; test "$(id -u)" = 0 || set -- {sudo} "$@"; exec "$@"'
    return f"/bin/sh -c {shlex.quote(script)}"


def no_channel(name: str, error: Exception) -> HostError:
    """What to tell the person where a channel on an open connection could not be had or used."""
    if isinstance(error, paramiko.ChannelException):
        return HostError(
            kinds.SESSION_REFUSED,
            name,
            f"the server refuses a session on this connection: {error.args[-1]}",
            "Look at MaxSessions in its sshd_config: fab needs one session, and fab run a second.",
        )
    if isinstance(error, TimeoutError):
        return HostError(
            kinds.LOGIN_SLOW,
            name,
            f"the server let us in, and started no session within {START_SECONDS:.0f} seconds",
            "Look at what its login does: sshd, PAM, sudo, the shell's own files.",
        )
    return HostError(
        kinds.SESSION_REFUSED,
        name,
        f"the connection ended before a session was started: {error or type(error).__name__}",
        "Look at the server's log: journalctl -u ssh",
    )


def _label(call: wire.Call) -> str:
    """A call's name for people: cutover.switch."""
    return call["function"].rpartition(".")[2].replace(":", ".")


def _receive(channel: paramiko.Channel, size: int) -> bytes:
    pieces = []
    while size and (piece := channel.recv(min(size, PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _reads_until(channel: paramiko.Channel, *marks: bytes) -> tuple[bytes, bytes | None]:
    """Read up to and with the first of the marks; None where the program ended before, or says too much."""
    read = b""
    while len(read) < GREETING_BYTES and (piece := channel.recv(1)):
        read += piece
        for mark in marks:
            if read.endswith(mark):
                return read, mark
    return read, None


def _text(said: bytes) -> str:
    return said.decode(errors="replace").strip()


@functools.cache
def _password_of(user: str) -> str:
    return getpass.getpass(f"sudo password of {user}: ")


def _ask_password(name: str, user: str) -> str:
    """Ask once a run, however many hosts want it."""
    if not sys.stdin.isatty():
        raise HostError(
            kinds.SUDO,
            name,
            "sudo asks for a password, and there is no terminal to ask you on",
            "Run fab with --prompt-for-sudo-password, or allow the login user sudo without one.",
        )
    with _asking:
        return _password_of(user)


_asking = threading.Lock()
