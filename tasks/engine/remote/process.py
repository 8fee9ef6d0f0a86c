"""Programs run on the host: argument lists, never shell text, each in a process group of its own."""

from __future__ import annotations

import collections
import contextlib
import os
import pwd
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .failure import Failed

_running: set[int] = set()
TAIL_LINES = 20


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
    """Kill every process group that is still running."""
    for group in list(_running):
        _kill(group, signal.SIGKILL)


def identity(user: str) -> dict[str, Any]:
    """The arguments of Popen that make a child run as *user* with that user's groups and nobody else's."""
    entry = pwd.getpwnam(user)
    if os.geteuid() == entry.pw_uid:
        return {}
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid)}


def run(
    argv: Sequence[str],
    *,
    user: str | None = None,
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    stdin: Iterable[bytes] | None = None,
    timeout: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Completed:
    """Run a program to its end.

    :param argv: program and arguments.
    :param user: run as this user; root by default.
    :param env: variables beside PATH, LANG and HOME, which are always set.
    :param stdin: what the program reads; nothing by default.
    :param timeout: seconds, after which its whole process group is ended.
    :param on_line: called with each line while it runs.
    """
    process = subprocess.Popen(
        list(argv),
        cwd=cwd,
        env={**environment(user), **(env or {})},
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **(identity(user) if user else {}),
    )
    _running.add(process.pid)
    expired = threading.Event()
    timer = threading.Timer(timeout or 0, _expire, [process.pid, expired])
    timer.daemon = True
    if timeout:
        timer.start()
    if stdin is not None:
        threading.Thread(target=_feed, args=(process, stdin), daemon=True).start()
    try:
        lines = _read_lines(process, on_line)
        status = process.wait()
    finally:
        timer.cancel()
        _kill(process.pid, signal.SIGKILL)  # what it left running in its group
        _running.discard(process.pid)
    return Completed(None if expired.is_set() else status, lines)


def check(argv: Sequence[str], what: str, hint: str = "", **options: Any) -> str:
    """Run a program that has to succeed.

    :param what: the sentence to fail with, such as "the packages could not be installed".
    :returns: its last lines.
    :raises Failed: with the exit status and the last lines.
    """
    done = run(argv, **options)
    if done.status != 0:
        raise Failed(f"{what}: {ending(done, argv[0], options.get('timeout'))}{quote(done.lines)}", hint)
    return done.text


def ending(done: Completed, name: str, timeout: float | None) -> str:
    """How a program ended, in words."""
    if done.status is None:
        return f"{name} was ended after {timeout:g} seconds"
    if done.status < 0:
        return f"{name} was killed by {signal.Signals(-done.status).name}"
    return f"{name} ended with exit status {done.status}"


def listeners(port: int) -> list[str]:
    """The names of the programs that listen on a TCP port."""
    found = run(["ss", "-Hltnp", "sport", "=", f":{port}"]).lines
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


def _read_lines(process: subprocess.Popen[bytes], on_line: Callable[[str], None] | None) -> list[str]:
    assert process.stdout is not None  # noqa: S101
    last: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
    for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip("\r\n")
        last.append(line)
        if on_line:
            on_line(line)
    return list(last)


def _feed(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101
    try:
        for piece in pieces:
            process.stdin.write(piece)
        process.stdin.close()
    except BrokenPipeError:  # it ended before it had read everything: its status and output say why
        pass


def _expire(group: int, expired: threading.Event) -> None:
    expired.set()
    _kill(group, signal.SIGKILL)


def _kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
