"""A server's settings as options of its command line, checked by itself; for servers that are told all there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import kinds, process
from .application import Application
from .drivers import Launch
from .failure import Failed

CHECK_SECONDS = 120
USAGE = 2  # what a program made with click exits with where it does not understand its command line


def words(settings: Mapping[str, Any], with_value: frozenset[str], without_no: frozenset[str]) -> list[str]:
    """Settings as options: ``--name=value``; ``--name`` or ``--no-name``; a list is one option several times.

    :param with_value: names of those that are told true or false in a word.
    :param without_no: names of those that are there or not.
    """
    return [
        word
        for name, value in settings.items()
        for word in _option(f"--{name.replace('_', '-')}", value, name in with_value, name not in without_no)
    ]


def _option(option: str, value: object, has_value: bool, has_no: bool) -> Iterator[str]:
    if isinstance(value, bool) and not has_value:
        if value or has_no:
            yield option if value else f"--no-{option[2:]}"
    elif isinstance(value, list):
        yield from (f"{option}={item}" for item in value)
    elif value is not None:
        yield f"{option}={value}"


def check(application: Application, launch: Launch, server: str, code: str, argv: Sequence[str], more: str) -> None:
    """Have a server read its options and import the application.

    :param code: runs in the release's virtualenv, with web.settings as JSON and *argv* behind it.
    :param more: where the server's settings are described.
    :raises Failed: with the server's or the application's own words.
    """
    command = ["/bin/sh", launch.launcher, launch.python, "-c", code, json.dumps(launch.settings), *argv]
    done = process.run(command, user=application.user, timeout=CHECK_SECONDS)
    if done.status == 0:
        return
    last = done.lines[-1] if done.lines else ""
    if done.status == USAGE or last.startswith("web.settings: "):
        why = last[len("web.settings: ") :] if last.startswith("web.settings: ") else last.partition("Error: ")[2]
        raise Failed(kinds.SERVER_SETTINGS, f"web.settings: {why}", f"See {server}'s settings: {more}")
    problem = process.ending(done, f"{server}, loading the application,", CHECK_SECONDS)
    raise Failed(
        kinds.APP_NOT_LOADED,
        f"the application cannot be loaded by {server}; nothing live was touched: {problem}"
        f"{process.quote(done.lines)}",
        "The last lines say why; mend it, commit, and deploy again.",
    )
