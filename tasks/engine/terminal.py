"""What the person sees: a line for what happened on a host, progress while it lasts, nothing twice.

Everything goes to standard error where a command's result is JSON on standard output; rich knows terminals,
CI logs and NO_COLOR.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 1.0  # seconds until something that runs is said to be running


@functools.cache
def console() -> Console:
    """Where people read."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(host: str, step: str, text: str, style: str = "") -> None:
    """One line: which host, which step, what happened."""
    from rich.text import Text

    first, *more = text.split("\n")
    line = Text.assemble((f"{host:<12} ", "bold"), (f"{step:<10} ", "cyan"), (first, style))
    for other in more:
        line.append("\n" + other, style)
    console().print(line)


def output(host: str, line: str) -> None:
    """One line that a program on the host wrote."""
    from rich.text import Text

    console().print(Text.assemble((f"{host:<12} ", "bold"), ("           | ", "dim"), (line, "dim")))


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something runs: a spinner on a terminal; elsewhere one line, when it takes more than a second."""
    if sys.stderr.isatty():
        from rich.markup import escape

        with console().status(escape(what), spinner="dots"):
            yield
        return
    timer = threading.Timer(PATIENCE, lambda: console().print(f"... {what}", markup=False))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def show(*things: Any) -> None:
    """Print a command's result for people on standard output."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160).print(
        *things
    )


def show_json(value: Any) -> None:
    """Print a command's result for programs on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def size(count: float) -> str:
    """A number of bytes, as people say it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def age(seconds: float) -> str:
    """How long ago, as people say it."""
    for limit, unit in ((60, "s"), (3600, "min"), (86400, "h")):
        if seconds < limit:
            return f"{int(seconds // {'s': 1, 'min': 60, 'h': 3600}[unit])} {unit}"
    return f"{int(seconds // 86400)} d"
