"""A person at a terminal who runs fab and answers what it asks."""

from __future__ import annotations

import os
import pty
import select
import signal
import time

from tests.project import FAB, Project


def typed(project: Project, arguments: list[str], answers: dict[str, str], timeout: float = 60) -> tuple[int, str]:
    """Run fab on a terminal of its own and answer each question once.

    :param answers: the end of a question to what is typed then.
    :returns: the exit status and all that the terminal showed.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.path)
        os.execvp(FAB[0], [*FAB, *arguments])
    shown, left, end = "", dict(answers), time.monotonic() + timeout
    try:
        while time.monotonic() < end and (piece := read(terminal)) is not None:
            shown += piece
            for question in [question for question in left if question in shown]:
                os.write(terminal, left.pop(question).encode() + b"\n")
        if time.monotonic() > end:
            raise TimeoutError(f"fab still runs after {timeout:.0f} seconds; it showed:\n{shown}")
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown


def read(terminal: int) -> str | None:
    """What is shown now, perhaps nothing; None when the program has closed the terminal."""
    if not select.select([terminal], [], [], 0.2)[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace") or None
    except OSError:
        return None
