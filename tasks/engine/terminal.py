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
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

PATIENCE = 1.0  # seconds until something that runs is said to be running
NARROWEST = 20  # columns, for what stands beside the names of host and step
WARNINGS = ("yellow", "red")
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


class Voice(Protocol):
    """How what happens is told while a command runs."""

    def say(self, host: str, step: str, text: str, style: str, facts: dict[str, object]) -> None:
        """What happened on a host; see say()."""

    def output(self, host: str, line: str) -> None:
        """What a program on the host wrote."""

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        """That something runs."""


class Lines:
    """To people, a line for each thing that happened."""

    def say(self, host: str, step: str, text: str, style: str, facts: dict[str, object]) -> None:
        from rich.text import Text

        _print_beside(Text.assemble((f"{host:<12} ", "bold"), (f"{step:<10} ", "cyan")), Text(text, style))

    def output(self, host: str, line: str) -> None:
        from rich.text import Text

        _print_beside(Text.assemble((f"{host:<12} ", "bold"), ("           | ", "dim")), Text(line, "dim"))

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        return self._shown(what)

    @contextlib.contextmanager
    def _shown(self, what: str) -> Iterator[None]:
        """A spinner on a terminal; elsewhere one line, when it takes more than a second."""
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


class Quiet(Lines):
    """To people who want to know only what is not as it should be."""

    def say(self, host: str, step: str, text: str, style: str, facts: dict[str, object]) -> None:
        if style in WARNINGS:
            super().say(host, step, text, style, facts)

    def output(self, host: str, line: str) -> None:
        pass

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


_voice: Voice = Lines()


@contextlib.contextmanager
def told_by(voice: Voice) -> Iterator[None]:
    """Meanwhile, tell what happens in another way."""
    global _voice
    before, _voice = _voice, voice
    try:
        yield
    finally:
        _voice = before


def say(host: str, step: str, text: str, style: str = "", **facts: object) -> None:
    """One line: which host, which step, what happened.

    :param style: green where something is done, yellow or red where it is not as it should be.
    :param facts: what programs are told beside the text.
    """
    _keep(host, step, text, style)
    _voice.say(host, step, text, style, facts)


def output(host: str, line: str) -> None:
    """One line that a program on the host wrote."""
    _keep(host, "", line)
    _voice.output(host, line)


def working(what: str) -> contextlib.AbstractContextManager[None]:
    """Show that something runs.

    :param what: nothing is shown where it is empty.
    """
    return _voice.working(what) if what else contextlib.nullcontext()


def _print_beside(head: Text, body: Text) -> None:
    """Print one text beside another; on a terminal, what is too long goes on below its own beginning."""
    if console().is_terminal:
        left = head.cell_len
        lines = body.wrap(console(), max(console().width - left, NARROWEST), overflow="fold")
        body = type(body)("\n" + " " * left).join(lines)
    console().print(head + body)


def folded(text: str) -> str:
    """A text for standard error whose lines, where that is a terminal, are broken between words."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(_fold(line, width) for line in text.split("\n"))


def _fold(line: str, width: int) -> str:
    said = line.lstrip(" |")  # as process.quote() sets off what programs say
    before = line[: len(line) - len(said)]
    return textwrap.fill(
        said,
        width,
        initial_indent=before,
        subsequent_indent=" " * (len(before) or 2),
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


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
