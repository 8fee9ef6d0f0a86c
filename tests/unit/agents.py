"""The far end of a session, as a process of this machine: the real agent, spoken to in frames."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fabrelease.tasks.engine.remote import wire

# A session that gives up sooner than one over a network, and calls to try it with.
START = """\
import sys
sys.path.insert(0, sys.argv[1])
from fabrelease.tasks.engine.remote import agent, wire
wire.SILENCE_SECONDS = float(sys.argv[2])
agent.main()
"""


class Agent:
    """One agent.

    :param process: with its frames on standard input and output.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout
        self.process, self.input, self.output = process, process.stdin, process.stdout

    def send(self, kind: bytes, payload: Any = b"") -> None:
        self.input.write(wire.pack(kind, payload))
        self.input.flush()

    def call(self, *functions: tuple[Any, ...], data: bool = False) -> None:
        """Ask for calls; each is ``module:name`` and its arguments."""
        calls = [{"function": name, "args": list(arguments), "kwargs": {}} for name, *arguments in functions]
        self.send(wire.CALL, {"calls": calls, "data": data})

    def frame(self) -> tuple[bytes, Any]:
        """The next frame; the payload is None for a heartbeat, and the kind empty where the agent ended."""
        kind, body = wire.read(self.output) or (b"", b"")
        return kind, json.loads(body) if body else None


@contextmanager
def agent(directory: Path, silence: float = 15) -> Iterator[Agent]:
    """An agent that can call the functions of ``calls.py`` in a directory, too."""
    argv = [sys.executable, "-c", START, str(directory), str(silence)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Agent(process)
        finally:
            process.kill()
