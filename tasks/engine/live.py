"""``fab status --watch``: what runs, drawn anew each second, until q or Ctrl-C."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from . import hosts, planning, terminal
from .errors import Error, UsageError
from .hosts import Host
from .remote import kinds, watching

SECONDS = 1.0


def watch(targets: list[Host]) -> None:
    """Show the programs of every host until the person has seen enough.

    :raises UsageError: standard input or output is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            kinds.NO_TERMINAL, "--watch needs a terminal: elsewhere take fab status, or fab status --json"
        )
    from rich.live import Live

    before: dict[str, watching.Look] = {}
    looks = hosts.each(targets, _look, "connecting")  # before the screen is taken: sudo may ask for a password
    with _keys() as is_pressed, Live(console=terminal.screen(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_table(targets, looks, before), refresh=True)
            before = {
                host.name: look for host, look in zip(targets, looks, strict=True) if not isinstance(look, str)
            }
            if is_pressed("q", SECONDS):
                return
            looks = hosts.each(targets, _look)


def _look(host: Host) -> watching.Look | str:
    """What a host says; the reason where it cannot be asked."""
    try:
        return host.call(watching.look, planning.application(host.settings))
    except Error as error:
        host.close()  # the next look is by a new session
        return str(error).removeprefix(f"{host.name}: ").split("\n")[0]


@contextlib.contextmanager
def _keys() -> Iterator[Any]:
    """Waits for a key without Return: a function of the key and of the seconds to wait at most."""
    import select
    import termios  # there is none on Windows
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)

    def is_pressed(key: str, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and select.select([handle], [], [], left)[0]:
            text = sys.stdin.buffer.raw.read(64) or b""  # type: ignore[union-attr]
            if not text or key.encode() in text.lower():
                return True
        return False

    try:
        tty.setcbreak(handle)
        yield is_pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _table(targets: list[Host], looks: list[watching.Look | str], before: dict[str, watching.Look]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("host", "release", "program", "state", box=None, caption="q quits", caption_justify="left")
    for column in ("pid", "processes", "cpu", "memory", "up"):
        table.add_column(column, justify="right")
    for host, look in zip(targets, looks, strict=True):
        name: Any = Text(host.name, "bold")
        if isinstance(look, str):
            table.add_row(name, Text(look, "red"))
            continue
        for use in look["uses"]:
            is_live = use["release"] == look["current"]
            table.add_row(
                name,
                Text(use["release"], "" if is_live else "dim"),
                Text(use["role"]),
                Text(use["state"], "" if use["pid"] else "red"),
                str(use["pid"] or "-"),
                str(use["processes"]),
                _percent(look, before.get(host.name), use),
                terminal.size(use["memory"]),
                terminal.age(max(look["now"] - use["since"], 0)) if use["pid"] else "-",
            )
            name = Text()
        if not look["uses"]:
            table.add_row(name, Text("nothing runs", "dim"))
    return table


def _percent(look: watching.Look, before: watching.Look | None, use: watching.Use) -> str:
    """What a program used of one processor since the look before."""
    earlier = [one for one in before["uses"] if one["pid"] == use["pid"]] if before else []
    if not before or not earlier or not use["pid"]:
        return "-"
    used = max(use["cpu"] - earlier[0]["cpu"], 0)
    return f"{100 * used / max(look['at'] - before['at'], 0.01):.0f} %"
