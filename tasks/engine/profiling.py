"""Where a command's time went: recorded with ``--profile`` only, printed, and saved as JSON and as a picture.

A span is one thing that was waited for. The time of a step on a host is told by the host itself; what is left of
its round trip was spent on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import terminal

FOLDER = Path(".fabrelease/profile")
KINDS = {
    "start": "start-up",
    "local": "computed here",
    "git": "git here",
    "connect": "connecting",
    "way": "there and back",
    "host": "on the host",
}
SHORT = 0.03  # seconds; what is shorter is shown together with what follows on itself


@dataclasses.dataclass
class Span:
    """One thing that was waited for.

    :ivar host: the host's short name, or nothing for what was done here.
    :ivar kind: one of KINDS.
    :ivar start: seconds since the command was typed, like ``end``.
    """

    host: str
    kind: str
    name: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclasses.dataclass
class Traffic:
    """What went over the connections to one host.

    :ivar up: bytes sent, encrypted as they are, like ``down``.
    :ivar turns: how often an answer was waited for: round trips, those of the SSH handshake too.
    """

    channels: int = 0
    turns: int = 0
    up: int = 0
    down: int = 0


_traffic: dict[str, Traffic] = defaultdict(Traffic)
_spans: list[Span] | None = None
_lock = threading.Lock()


def traffic(host: str) -> Traffic:
    """The counters of a host, which whoever talks to it keeps up to date."""
    return _traffic[host]


@contextlib.contextmanager
def span(kind: str, name: str, host: str = "") -> Iterator[None]:
    """Record how long something takes."""
    if _spans is None:
        yield
        return
    start = now()
    try:
        yield
    finally:
        note(Span(host, kind, name, start, now()))


def step(name: str, host: str, start: float, on_host: float) -> float:
    """Record one step of a round trip, which ends now; gives the time of now.

    :param start: when it was sent, or when the step before it ended.
    :param on_host: the seconds that it took there.
    """
    end = now()
    arrived = max(start, end - on_host)
    if arrived - start >= 0.001:
        note(Span(host, "way", "", start, arrived))
    note(Span(host, "host", name, arrived, end))
    return end


def note(one: Span) -> None:
    """Keep a span, where somebody wants to know."""
    if _spans is not None:
        with _lock:
            _spans.append(one)


def now() -> float:
    """Seconds since this process was started."""
    return time.monotonic() - _process_start


def _age() -> float:
    """How long ago this process was started; where the system does not tell as Linux does, it starts now."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    except OSError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


_process_start = time.monotonic() - _age()


@contextlib.contextmanager
def collecting(command: str) -> Iterator[Profile]:
    """Record all there is while a command runs; the profile is whole at the end, however the command ended."""
    global _spans
    outer, profile = _spans, Profile(command, [], {}, 0.0)
    if outer is None:
        _spans = [] if _traffic else [Span("", "start", "start Python, import", 0.0, now())]
    try:
        yield profile
    finally:
        profile.spans = sorted(_spans or [], key=lambda one: (one.start, one.end))
        profile.traffic = {name: dataclasses.replace(seen) for name, seen in _traffic.items()}
        profile.seconds = now()
        _spans = outer


@contextlib.contextmanager
def recording(command: str) -> Iterator[None]:
    """Record all there is while a command runs, then print it and save it, however the command ended."""
    if _spans is not None:  # a command that another one calls
        yield
        return
    try:
        with collecting(command) as profile:
            yield
    finally:
        terminal.console().print(*profile.lines(), sep="\n", markup=False)
        for path in profile.save(Path.cwd() / FOLDER):
            terminal.say("", "profile", f"saved in {path}")


@dataclasses.dataclass
class Profile:
    """What was recorded of one command.

    :ivar seconds: the whole time.
    """

    command: str
    spans: list[Span]
    traffic: dict[str, Traffic]
    seconds: float

    def lines(self) -> list[str]:
        """For people: every step with its time, then the sums of each host."""
        width = max([0, *map(len, self.traffic)])
        rows = [
            f"{one.start:8.3f} s {one.seconds * 1000:7.0f} ms  {one.host:{width}}  {one.name or KINDS[one.kind]}"
            for one in merged(self.spans)
        ]
        return [f"{self.command} took {self.seconds:.2f} s", *rows, *self._sums()]

    def _sums(self) -> Iterator[str]:
        for host in ["", *self.traffic]:
            sums = {kind: sum(s.seconds for s in self.spans if (s.host, s.kind) == (host, kind)) for kind in KINDS}
            if not host:
                sums["local"] += self.seconds - covered(self.spans)
            told = ", ".join(f"{KINDS[kind]} {seconds:.2f} s" for kind, seconds in sums.items() if seconds)
            yield f"{host or 'this machine'}: {told}"
            if host:
                seen = self.traffic[host]
                yield (
                    f"{' ' * len(host)}  {seen.channels} SSH channel{'' if seen.channels == 1 else 's'},"
                    f" {seen.turns} round trips,"
                    f" {terminal.size(seen.up)} sent, {terminal.size(seen.down)} received"
                )

    def plain(self) -> dict[str, Any]:
        """For programs; see docs/profile.md."""
        return {"version": 1, **dataclasses.asdict(self)}

    def save(self, folder: Path) -> list[Path]:
        """Write the JSON and the picture; gives their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / ".gitignore").write_text("*\n")
        base = folder / f"{self.command}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
        data, picture = base.with_suffix(".json"), base.with_suffix(".svg")
        data.write_text(json.dumps(self.plain(), indent=1) + "\n")
        picture.write_text(self.picture())
        return [data, picture]

    def picture(self) -> str:
        """A waterfall, as SVG."""
        return drawn("profile.svg.j2", profile=self, rows=merged(self.spans), kinds=KINDS, label=_label)


def drawn(template: str, **values: Any) -> str:
    """A picture or a page from a template beside this module; every value is escaped, for HTML and SVG."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    return environment.get_template(template).render(values)


def covered(spans: list[Span]) -> float:
    """The seconds in which at least one of the spans was running."""
    seconds = end = 0.0
    for one in sorted(spans, key=lambda one: one.start):
        seconds += max(0.0, one.end - max(end, one.start))
        end = max(end, one.end)
    return seconds


def _label(one: Span) -> str:
    return " ".join(word for word in (one.host, one.name or KINDS[one.kind]) if word)


def merged(spans: list[Span]) -> list[Span]:
    """One span for what follows on itself, such as eleven times git."""
    rows: list[tuple[Span, int]] = []
    for one in spans:
        last, count = rows[-1] if rows else (one, 0)
        if count and _belongs(last, one):
            name = f"{last.name.split(' and ')[0]} and {count} more"
            rows[-1] = (dataclasses.replace(last, name=name, end=max(last.end, one.end)), count + 1)
        else:
            rows.append((one, 1))
    return [one for one, _ in rows]


def _belongs(last: Span, one: Span) -> bool:
    same = (last.host, last.kind) == (one.host, one.kind) and one.kind in ("git", "local")
    return same and one.start - last.end < SHORT and one.seconds < SHORT and last.seconds < 4 * SHORT
