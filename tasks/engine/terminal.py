"""What the person sees: a line for what happened on a host, progress while it lasts, nothing twice.

Everything goes to standard error where a command's result is JSON on standard output; rich knows terminals,
CI logs and NO_COLOR. What a host says may come from a hostile application: no control character of it reaches a
terminal.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

PATIENCE = 1.0  # seconds until something that runs is said to be running
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# What a terminal obeys instead of showing it: controls but for tab and new line, what turns the direction of
# writing, and halves of characters.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text without colours, and with its control characters written out: ``\\x1b``."""
    return CONTROL.sub(_written_out, COLOUR.sub("", text))


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


@dataclass(frozen=True)
class _Visible:
    """Something to print, whose text is made visible; the colours are our own."""

    thing: Any

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for text, style, control in console.render(self.thing, options):
            yield Segment(text if control else visible(text), style, control)


@functools.cache
def console() -> Console:
    """Where people read."""
    return _console(sys.stderr, soft_wrap=True)


def _console(stream: TextIO, **options: Any) -> Console:
    from rich.console import Console, RenderHook

    class AllVisible(RenderHook):
        def process_renderables(self, renderables: list[Any]) -> list[Any]:
            return [_Visible(thing) for thing in renderables]

    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows ? where it has no ✓
    made = Console(stderr=stream is sys.stderr, highlight=False, **options)
    made.push_render_hook(AllVisible())
    return made


@dataclass(frozen=True)
class Line:
    """What was said, and when.

    :ivar at: seconds since 1970.
    :ivar step: nothing where a program on the host said it.
    """

    at: float
    host: str
    step: str
    text: str
    style: str


_lines: list[Line] | None = None


@contextlib.contextmanager
def keeping() -> Iterator[list[Line]]:
    """Keep what is said as long as this lasts."""
    global _lines
    outer, _lines = _lines, []
    try:
        yield _lines
    finally:
        _lines = outer


def _keep(host: str, step: str, text: str, style: str = "") -> None:
    if _lines is not None:
        _lines.append(Line(time.time(), visible(host), step, visible(text), style))


def say(host: str, step: str, text: str, style: str = "") -> None:
    """One line: which host, which step, what happened."""
    from rich.text import Text

    _keep(host, step, text, style)
    first, *more = text.split("\n")
    line = Text.assemble((f"{host:<12} ", "bold"), (f"{step:<10} ", "cyan"), (first, style))
    for other in more:
        line.append("\n" + other, style)
    console().print(line)


def output(host: str, line: str) -> None:
    """One line that a program on the host wrote."""
    from rich.text import Text

    _keep(host, "", line)
    console().print(Text.assemble((f"{host:<12} ", "bold"), ("           | ", "dim"), (line, "dim")))


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something runs: a spinner on a terminal; elsewhere one line, when it takes more than a second.

    :param what: nothing is shown where it is empty.
    """
    if not what:
        yield
        return
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


def screen() -> Console:
    """Standard output as a terminal, for what is drawn anew."""
    return _console(sys.stdout)


def show(*things: Any) -> None:
    """Print a command's result for people on standard output."""
    is_terminal = sys.stdout.isatty()
    _console(sys.stdout, soft_wrap=not is_terminal, width=None if is_terminal else 160).print(*things)


def show_json(value: Any, indent: int | None = 2) -> None:
    """Print a command's result for programs on standard output.

    :param indent: None for one line.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=(sys.stdout.encoding or "utf-8").lower() != "utf-8")
    sys.stdout.write(CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")


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
