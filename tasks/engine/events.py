"""What programs are told: what happens, a JSON object a line, and errors with their codes; see docs/json.md."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone

from . import terminal
from .errors import Error

LEVELS = {"green": "good", "yellow": "warning", "red": "bad"}


class Events:
    """A voice for programs: what is told to people as a line is an object on standard output."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, host: str, step: str, text: str, style: str, facts: dict[str, object]) -> None:
        self.tell("step", host=host or None, step=step, level=LEVELS.get(style, "info"), text=text, **facts)

    def output(self, host: str, line: str) -> None:
        self.tell("output", host=host, text=line)

    def working(self, what: str) -> contextlib.AbstractContextManager[None]:
        self.tell("working", text=what)
        return contextlib.nullcontext()

    def tell(self, event: str, **facts: object) -> None:
        """Write one event."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._lock:  # hosts are worked on side by side
            terminal.show_json({"event": event, "time": now, **facts}, indent=None)


@contextlib.contextmanager
def telling(command: str) -> Iterator[None]:
    """Tell programs what a command does, from its begin to its end."""
    events, began, status = Events(), time.monotonic(), 1
    events.tell("begin", version=1, command=command)
    try:
        with terminal.told_by(events):
            yield
        status = 0
    except Error as error:
        status = error.exit_status
        for one in error.plain():
            events.tell("error", **one)
        raise
    finally:
        events.tell("end", exit_status=status, seconds=round(time.monotonic() - began, 1))


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Tell programs why a command that answers with JSON has no answer."""
    try:
        yield
    except Error as error:
        if error.text:  # otherwise the answer says it
            terminal.show_json({"version": 1, "errors": error.plain()}, indent=None)
        raise
