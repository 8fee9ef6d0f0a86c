"""Programs run on the host: argument lists, never shell text.

A program's end is the end of its process. What a program of the application's user leaves running is ended with it.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import cgroup, killing, kinds
from .failure import Failed
from .unix import pwd

SECONDS = 600.0  # that a program gets unless somebody says otherwise
SYSTEMCTL_SECONDS = 90.0
KILL_SECONDS = 5
TAIL_LINES = 20
LINE_BYTES = 8192
CUT = f" … (cut: a line of more than {LINE_BYTES} bytes)"
PIPE_BYTES = 1 << 20  # the most that a pipe of a user's may hold
Taker = Callable[[bytes], object]


class Completed:
    """What a program left behind.

    :ivar status: exit status; negative for a signal, None where it was ended because its time was up.
    :ivar lines: the last lines it wrote (standard output and error together).
    """

    def __init__(self, status: int | None, lines: list[str]) -> None:
        self.status = status
        self.lines = lines

    @property
    def text(self) -> str:
        """The last lines as one text."""
        return "\n".join(self.lines)


def kill_all() -> None:
    """End every program that is still running, with what it has started."""
    for running in list(_running):
        running.kill()


def run(
    argv: Sequence[str],
    *,
    user: str | None = None,
    confined: bool = False,
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    stdin: Iterable[bytes] | None = None,
    timeout: float | None = SECONDS,
    on_line: Callable[[str], None] | None = None,
    keep: int | None = TAIL_LINES,
    into: Taker | None = None,
) -> Completed:
    """Run a program to its end.

    A line of its output that is longer than LINE_BYTES is cut, and said to be.

    :param argv: program and arguments.
    :param user: run as this user, and end what the program leaves running; as root by default.
    :param env: variables beside PATH, LANG and HOME, which are always set.
    :param stdin: what the program reads; nothing by default.
    :param confined: as that user, it gains no other rights by set-user-ID programs.
    :param timeout: seconds, after which it is ended with all it has started; None for as long as the session.
    :param on_line: called with each line while it runs.
    :param keep: how many of the last lines are kept; None for all of them.
    :param into: takes its standard output, piece by piece as it is: then the lines are those of its standard error.
        Where it raises something, the program is ended.
    """
    lines = _Lines(keep, on_line)
    deadline = None if timeout is None else time.monotonic() + timeout
    given = {**environment(user), **(env or {})}
    with _Running(argv, user, confined, cwd, given, stdin, into is not None) as running:
        expired = running.read(into or lines.feed, lines.feed, deadline)
    return Completed(None if expired else running.process.returncode, lines.finish())


class _Running:
    """A program that runs, and what it has started.

    What it started is known by the control group; where none can be made, by the session, which a program can leave.
    """

    def __init__(
        self,
        argv: Sequence[str],
        user: str | None,
        confined: bool,
        cwd: str,
        env: Mapping[str, str],
        stdin: Iterable[bytes] | None,
        is_apart: bool,
    ) -> None:
        other = pwd.getpwnam(user) if user else None
        self.is_contained = other is not None and other.pw_uid != os.geteuid()
        self.group = cgroup.make() if self.is_contained else None
        into = cgroup.entering(self.group) if self.group else []
        becoming = _becoming(other, confined) if other and self.is_contained else []
        try:
            self.process = subprocess.Popen(
                [*into, *becoming, *argv],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if is_apart else subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError:
            if self.group:
                cgroup.clear(self.group)
            raise
        self.handle = os.pidfd_open(self.process.pid)
        if stdin is not None:
            threading.Thread(target=_feed, args=(self.process, stdin), daemon=True).start()

    def __enter__(self) -> _Running:
        _running.add(self)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Reap the process last: until then its number is nobody else's."""
        if kind is not None:
            self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # killed, and the kernel does not let it go
            self.process.wait(KILL_SECONDS)
        _running.discard(self)
        os.close(self.handle)

    def read(self, out: Taker, error: Taker, deadline: float | None) -> bool:
        """Take what it writes until it ends, or end it at the deadline; whether that was needed.

        :param out: takes its standard output, with the errors where those are not apart.
        """
        with contextlib.ExitStack() as streams:
            takers = {
                streams.enter_context(stream).fileno(): take
                for stream, take in ((self.process.stdout, out), (self.process.stderr, error))
                if stream is not None
            }
            expired = not self._read(takers, deadline)
            if expired:
                self.kill()
            if self.is_contained:
                self.clear()
            for handle, take in takers.items():
                _empty(handle, take)
        return expired

    def _read(self, takers: Mapping[int, Taker], deadline: float | None) -> bool:
        """Whether it ended before the deadline."""
        waiting = select.poll()
        for handle in (*takers, self.handle):
            waiting.register(handle, select.POLLIN)
        while deadline is None or time.monotonic() < deadline:
            ready = dict(waiting.poll(None if deadline is None else max(deadline - time.monotonic(), 0) * 1000))
            if self.handle in ready:
                return True
            for handle in ready:
                if piece := os.read(handle, PIPE_BYTES):
                    takers[handle](piece)
                else:
                    waiting.unregister(handle)
        return False

    def kill(self) -> None:
        """End it with all it has started."""
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)
        self.clear()

    def clear(self) -> None:
        """End what it has started."""
        if self.group:
            cgroup.clear(self.group)
            return
        leader = self.process.pid
        killing.end(
            killing.in_session(leader), lambda pid: pid in killing.in_session(leader), signal.SIGKILL, KILL_SECONDS
        )


_running: set[_Running] = set()


def _empty(handle: int, take: Taker) -> None:
    """Take what a pipe still holds, and no more: who is left with its other end may go on filling it."""
    os.set_blocking(handle, False)
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while taken < PIPE_BYTES and (piece := os.read(handle, PIPE_BYTES)):
            take(piece)
            taken += len(piece)


class _Lines:
    """Output taken piece by piece and given on line by line, in bounded space."""

    def __init__(self, keep: int | None, on_line: Callable[[str], None] | None) -> None:
        self.last: collections.deque[str] = collections.deque(maxlen=keep)
        self.on_line = on_line
        self.line, self.is_cut = b"", False

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            self._add(part)
            self._end()
        self._add(rest)

    def finish(self) -> list[str]:
        """The last lines, a last one without an end among them."""
        if self.line:
            self._end()
        return list(self.last)

    def _add(self, part: bytes) -> None:
        room = LINE_BYTES - len(self.line)
        self.line += part[:room]
        self.is_cut |= len(part) > room

    def _end(self) -> None:
        line = self.line.decode(errors="replace").rstrip("\r") + CUT * self.is_cut
        self.line, self.is_cut = b"", False
        self.last.append(line)
        if self.on_line:
            self.on_line(line)


def _becoming(entry: pwd.struct_passwd, confined: bool) -> list[str]:
    """The beginning of a command line that gives the rest of it a user's rights and groups and nobody else's."""
    groups = ",".join(map(str, os.getgrouplist(entry.pw_name, entry.pw_gid)))
    for_ever = ["--no-new-privs"] if confined else []
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", f"--groups={groups}", *for_ever, "--"]


def check(argv: Sequence[str], what: str, hint: str = "", **options: Any) -> str:
    """Run a program that has to succeed.

    :param what: the sentence to fail with, such as "the packages could not be installed".
    :returns: its last lines.
    :raises Failed: with the exit status and the last lines.
    """
    done = run(argv, **options)
    if done.status != 0:
        raise Failed(
            kinds.PROGRAM_FAILED,
            f"{what}: {ending(done, argv[0], options.get('timeout', SECONDS))}{quote(done.lines)}",
            hint,
        )
    return done.text


def systemctl(*argv: str) -> None:
    """Have systemd do something that has to succeed.

    :param argv: a verb, its options and the units.
    :raises Failed: it did not.
    """
    hint = f"Look at it on the host: systemctl status {argv[-1]}"
    check(["systemctl", *argv], f"systemctl {argv[0]} did not do it", hint, timeout=SYSTEMCTL_SECONDS)


def ending(done: Completed, name: str, timeout: float | None) -> str:
    """How a program ended, in words."""
    if done.status is None:
        return f"{name} was ended after {timeout:g} seconds"
    if done.status < 0:
        return f"{name} was killed by {signal.Signals(-done.status).name}"
    return f"{name} ended with exit status {done.status}"


def listeners(port: int) -> list[str]:
    """The names of the programs that listen on a TCP port."""
    found = run(["ss", "-Hltnp", "sport", "=", f":{port}"], keep=None).lines
    return sorted({name for line in found for name in re.findall(r'"([^"]+)",pid=\d+', line)})


def quote(lines: Iterable[str]) -> str:
    """Lines of another program's output, set off from our own words."""
    return "".join(f"\n    | {line}" for line in lines)


def environment(user: str | None) -> dict[str, str]:
    """The few variables a program gets: what sudo or the login shell exported is not its business."""
    entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    kept = {name: os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT") if name in os.environ}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": entry.pw_dir, "USER": entry.pw_name, **kept}


def _feed(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101
    try:
        for piece in pieces:
            process.stdin.write(piece)
        process.stdin.close()
    except BrokenPipeError:  # it ended before it had read everything: its status and output say why
        pass
