"""``fab``, with the time of each step written to a file: python timed.py FILE fab-arguments...

The file holds ``channels``, the number of SSH channels that were opened, and ``spans``, each with ``name``, ``kind``,
``thread``, and ``start`` and ``end`` in seconds since the process was started.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

spans: list[dict[str, Any]] = []
channels: list[str] = []


def process_start() -> float:
    """When the kernel started this process, by the clock of time.monotonic()."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return ticks / os.sysconf("SC_CLK_TCK")


def now() -> float:
    """Seconds since this process was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def note(name: str, kind: str, start: float) -> None:
    """Write down that something was done from *start* until now."""
    thread = threading.current_thread().name
    spans.append({"name": name, "kind": kind, "start": start, "end": now(), "thread": thread})


def timed(kind: str, name: Callable[..., str]) -> Callable[[Any], Any]:
    """Note each call of a function."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = now()
            try:
                return function(*args, **kwargs)
            finally:
                note(name(*args, **kwargs), kind, start)

        return wrapper

    return decorate


def patch() -> None:
    """Put a clock on what is waited for: the connection, the session, every call into the host, every git."""
    from paramiko import Transport

    from fabrelease.tasks.engine import configuration, connecting, git, hosts, stages
    from fabrelease.tasks.engine.rendering import Renderer
    from fabrelease.tasks.engine.session import Session

    stages.select = timed("local", lambda *_: "read the stage")(stages.select)
    configuration.digest = timed("local", lambda *_: "digest the settings")(configuration.digest)
    hosts.open_connection = timed("connect", lambda *_: "connect, log in")(connecting.open_connection)
    Session._start = timed("session", lambda *_: "start the session")(Session._start)
    git._ask = timed("git", lambda path, problem, *argv, **_: f"git {argv[0]}")(git._ask)
    Renderer.__init__ = timed("local", lambda *_: "read templates")(Renderer.__init__)
    Renderer.render = timed("local", lambda _, name, **__: f"render {name}")(Renderer.render)
    open_channel = Transport.open_channel

    def counted(self: Transport, kind: str, *args: Any, **kwargs: Any) -> Any:
        channels.append(kind)
        return open_channel(self, kind, *args, **kwargs)

    Transport.open_channel = counted  # type: ignore[method-assign]
    send = Session.send

    def timed_send(self: Session, function: Any, data: Any, /) -> Any:
        label = f"{function.__module__.rsplit('.', 1)[1]}.{function.__name__}"
        return timed("call", lambda *_, **__: label)(send(self, function, data))

    Session.send = timed_send  # type: ignore[method-assign]


def main(file: str, *arguments: str) -> None:
    """Run fab and write the spans, whatever its exit status."""
    note("start Python", "local", 0)
    start = now()
    from fabric.main import program

    note("import fabric", "local", start)
    start = now()
    import fabrelease.tasks  # noqa: F401

    note("import fabrelease", "local", start)
    start = now()
    patch()
    note("import settings and git", "local", start)
    try:
        program.run(["fab", *arguments])
    finally:
        note("fab", "whole", 0)
        in_order = sorted(spans, key=lambda span: span["start"])
        Path(file).write_text(json.dumps({"channels": len(channels), "spans": in_order}, indent=1))


began = process_start()
if __name__ == "__main__":
    main(*sys.argv[1:])
