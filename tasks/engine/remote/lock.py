"""One deploy at a time: a lock that goes when its holder goes, and a freeze that stays until it is lifted."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from . import agent, kinds, releases, times
from .failure import Failed
from .unix import fcntl

FOLDER = "/run/fabrelease/locks"  # root's alone: whoever may read a file may lock it
FINISHING_SECONDS = 300
GLANCE_SECONDS = 0.2  # who only looks at the lock has it for an instant; a new holder writes down who it is
SOMEBODY = {"who": "somebody", "what": "a step", "since": "a moment ago", "finishing": False}
_held: dict[str, int] = {}


def _path(app: str) -> str:
    return f"{FOLDER}/{app}.lock"


def take(app: str, root: str, who: str, what: str) -> None:
    """Take the deploy lock for the life of this session.

    :param who: the person and machine that deploys.
    :param what: what for, such as "deploy of 1a2b3c4".
    :raises Failed: somebody else holds it, or the application is frozen.
    """
    if frozen := freeze(root):
        raise Failed(
            kinds.FROZEN,
            f"deploys are frozen by {frozen['who']} since {frozen['since']}: {frozen['why']}",
            "Lift it when you know why it is there: fab unfreeze",
        )
    if app not in _held:
        _held[app] = _wait_for(app)
    _write(app, {"who": who, "what": what, "since": times.utc(), "finishing": False})


def _wait_for(app: str) -> int:
    os.makedirs(FOLDER, mode=0o700, exist_ok=True)
    while True:
        handle = os.open(_path(app), os.O_RDWR | os.O_CREAT, 0o600)
        _wait_until_free(app, handle)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(_path(app)), os.fstat(handle)):
                return handle
        os.close(handle)  # its holder has removed the application, and the lock with it


def _wait_until_free(app: str, handle: int) -> None:
    began = time.monotonic()
    while not is_free(handle):
        holder = _holder(app)
        if time.monotonic() - began > (FINISHING_SECONDS if holder["finishing"] else GLANCE_SECONDS):
            os.close(handle)
            raise Failed(
                kinds.LOCKED,
                f"{holder['who']} has the deploy lock since {holder['since']}, for: {holder['what']}",
                "Wait until it is done; the lock goes by itself when its holder ends, is cut off or sleeps.",
            )
        time.sleep(0.02)


def finishing(app: str) -> None:
    """Say that the new release is live, and but for stopping the old one and the like all is done: who comes waits.

    It is so until this session is asked for something else.
    """
    _write(app, {**_holder(app), "finishing": True})
    agent.before_next(lambda: _write(app, {**_holder(app), "finishing": False}))


def is_free(handle: int) -> bool:
    """Take an open file's lock, where nobody has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(app: str, holder: dict[str, Any]) -> None:
    content = json.dumps({**holder, "pid": os.getpid()}, ensure_ascii=False).encode()
    os.pwrite(_held[app], content + b" " * max(0, 400 - len(content)), 0)
    os.ftruncate(_held[app], max(400, len(content)))


def forget(app: str) -> None:
    """Remove the lock of an application that is removed; it is held until this session ends."""
    releases.unlink(_path(app))


def state(app: str, root: str) -> dict[str, Any]:
    """Who holds the lock and who froze the application, each None where nobody does."""
    return {"lock": None if app in _held or not _is_held(app) else _holder(app), "freeze": freeze(root)}


def _is_held(app: str) -> bool:
    try:
        handle = os.open(_path(app), os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _holder(app: str) -> dict[str, Any]:
    """Who has the lock, as far as it is known: what a dead process has written down is of no use any more."""
    with contextlib.suppress(OSError, ValueError), open(_path(app), encoding="utf-8") as file:
        holder = dict(json.load(file))
        if os.path.exists(f"/proc/{holder.pop('pid')}"):
            return holder
    return SOMEBODY


def freeze(root: str) -> dict[str, Any] | None:
    """The freeze a person put on the application."""
    with contextlib.suppress(OSError, ValueError), open(f"{root}/frozen", encoding="utf-8") as file:
        return dict(json.load(file))
    return None


def put_freeze(root: str, who: str, why: str) -> None:
    """Refuse every deploy and rollback until somebody lifts it."""
    content = json.dumps({"who": who, "why": why, "since": times.utc()}, ensure_ascii=False).encode()
    releases.write_atomically(f"{root}/frozen", content)


def lift_freeze(root: str) -> bool:
    """Lift the freeze; whether there was one."""
    return releases.unlink(f"{root}/frozen")
