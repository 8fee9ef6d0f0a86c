"""Units of systemd: having their files read before they are used, and what systemd shows of those it knows."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence

from . import kinds, process, releases
from .application import Application
from .failure import Failed

SERVICE, SOCKET, TIMER = ".service", ".socket", ".timer"
CHECKED = "/run/fabrelease"  # root's alone
SECONDS = 30.0  # for systemd to answer
Shown = dict[str, str]


def verify(application: Application, files: Mapping[str, str], about: Collection[str], hint: str) -> None:
    """Have systemd read units that it is not told of yet.

    :param files: the names of the units, each with its file's path.
    :param about: what is in the lines that are about these; others are about what the host has besides.
    :raises Failed: it does not understand them all, which it only says.
    """
    prefix, suffix = f"{application.name}.", releases.TEMPORARY
    with tempfile.TemporaryDirectory(prefix=prefix, suffix=suffix, dir=CHECKED) as folder:
        for name, path in files.items():
            os.symlink(path, f"{folder}/{name}")
        paths = [f"{folder}/{name}" for name in files]
        done = process.run(["systemd-analyze", "verify", "--man=no", *paths], timeout=SECONDS, keep=None)
    if lines := [line for line in done.lines if any(word in line for word in about)]:
        raise Failed(
            kinds.MANAGER_SETTINGS,
            f"systemd does not understand all of the units; nothing live was touched{process.quote(lines)}",
            hint,
        )


def temporary(application: Application) -> str:
    """The beginning of the paths that units are checked in."""
    return f"{CHECKED}/{application.name}"


def show(patterns: Sequence[str], properties: Sequence[str], env: Mapping[str, str] | None = None) -> list[Shown]:
    """What systemd shows of the units that it has in memory.

    :param patterns: of their names.
    :param env: variables for systemctl.
    :raises Failed: it does not answer.
    """
    command = ["systemctl", "show", f"--property={','.join(properties)}", *patterns]
    done = process.run(command, timeout=SECONDS, keep=None, env=env)
    if done.status != 0:
        hint = "Look at it on the host: systemctl status"
        raise Failed(kinds.MANAGER_DOWN, f"systemd does not answer: {done.text}", hint)
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in done.text.split("\n\n") if block]
