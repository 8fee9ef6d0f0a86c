"""Runs on the host inside the agent of a session: numbers the points it passes, and stops at one of them.

A point is before a call, after its answer, or during it: before each thing it does to the host. Loops that
wait pass the same point many times; only the first time counts.
"""

from __future__ import annotations

import functools
import os
import re
import time
from types import ModuleType
from typing import Any

WANTED = "/run/fabrelease-wanted"  # holds the name of the point to stop at
TRACE = "/run/fabrelease-points"
REACHED = "/run/fabrelease-reached"
GO = "/run/fabrelease-go"
LEFT = "/run/fabrelease-left"  # the agent knows that its deployer is gone
PATIENCE = 120  # seconds that a stopped agent waits for GO
VARYING = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9.]+|\b[0-9a-f]{16,}\b|\b\d{3,}(\.\d+)*\b")

_passed: set[str] = set()
_wanted = ""
_call = ""
_is_finishing = False


def install(agent: ModuleType) -> None:
    """Watch an agent."""
    global _wanted
    if os.path.exists(WANTED):
        with open(WANTED, encoding="utf-8") as file:
            _wanted = file.read()
    agent.run = _around_call(agent.run)  # type: ignore[attr-defined]
    agent.end = _without_stop(agent.end)  # type: ignore[attr-defined]
    agent.afterwards = _finishing(agent.afterwards)  # type: ignore[attr-defined]
    from fabrelease.tasks.engine.remote import nginx, process, releases
    from fabrelease.tasks.managers import supervisor

    for module, names in (
        (releases, ("replace_link", "unlink", "write_atomically", "remember")),
        (process, ("run",)),
        (nginx, ("reload",)),
        (supervisor, ("_add", "_reread")),
        (supervisor.DRIVER, ("stop",)),
        (os, ("makedirs", "mkdir", "rename")),
    ):
        for name in names:
            action = getattr(module, name)
            setattr(module, name, _around_action(action, f"{action.__module__.rpartition('.')[2]}.{name}"))
    import shutil

    shutil.rmtree = _around_action(shutil.rmtree, "shutil.rmtree")  # type: ignore[assignment]


def _around_call(run: Any) -> Any:
    @functools.wraps(run)
    def watched(call: Any) -> Any:
        global _call
        _call = call["function"].removeprefix("fabrelease.tasks.").replace("engine.remote.", "").replace(":", ".")
        _pass(f"before {_call}")
        result = run(call)
        _pass(f"after {_call}")
        return result

    return watched


def _around_action(function: Any, name: str) -> Any:
    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if _call:
            _pass(f"in {_call}: {name} {_subject(args)}".rstrip())
        return function(*args, **kwargs)

    return watched


def _without_stop(end: Any) -> Any:
    """What an agent does when its deployer is gone is a reaction to a fault: no points are passed there.

    Unless the deployer has its answer and went away satisfied.
    """

    @functools.wraps(end)
    def watched() -> None:
        global _wanted
        if not os.path.exists(REACHED) and not _is_finishing:
            _wanted = ""
        _touch(LEFT)
        end()

    return watched


def _finishing(afterwards: Any) -> Any:
    @functools.wraps(afterwards)
    def watched(duty: Any) -> None:
        global _is_finishing
        _is_finishing = True
        afterwards(duty)

    return watched


def _subject(args: tuple[Any, ...]) -> str:
    """What an action is about, the same in each run."""
    first = next((arg for arg in args if isinstance(arg, (str, list, tuple))), "")
    if isinstance(first, (list, tuple)):
        first = " ".join(map(str, first[:3]))
    return VARYING.sub("*", str(first))[-60:]


def _pass(point: str) -> None:
    if point in _passed:
        return
    _passed.add(point)
    with open(TRACE, "a", encoding="utf-8") as file:
        file.write(f"{point}\n")
    if point == _wanted:
        _touch(REACHED)
        end = time.monotonic() + PATIENCE
        while not os.path.exists(GO) and time.monotonic() < end:
            time.sleep(0.01)


def _touch(path: str) -> None:
    with open(path, "w", encoding="ascii"):
        pass
