"""The configuration of the next release: its files written, and checked by the programs themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

from . import agent, drivers, files, kinds, releases, schedule, source, wire
from .application import Application
from .failure import Failed
from .resources import Common


class Configured(TypedDict):
    """The paths of the files that changed, and what is known about the release now."""

    changed: list[str]
    release: releases.Release


def apply(
    root: str, name: str, entries: list[files.File], notes: dict[str, Any], checks: list[wire.Call]
) -> Configured:
    """Write a release's files, note facts about it, and run the checks side by side.

    :param checks: calls of functions that raise Failed where a program refuses its files.
    :raises Failed: the first check's failure, in their order.
    """
    changed = files.install_in(root, name, entries)
    known = releases.read(root, name)
    if {**known, **notes} != known:
        releases.update(root, name, **notes)
    with ThreadPoolExecutor(max(1, len(checks))) as pool:
        for future in [pool.submit(agent.run, check) for check in checks]:
            future.result()
    return {"changed": changed, "release": releases.read(root, name)}


def check_server(name: str, application: Application, launch: drivers.Launch, whole: bool) -> None:
    """Have a server check a release; see Server.check."""
    drivers.server(name).check(application, launch, whole)


def check_manager(name: str, application: Application, release: str) -> None:
    """Have a manager check a release, and systemd its jobs; see Manager.check.

    :raises Failed: it refuses the release, or setup has not made what it needs for the application.
    """
    manager = drivers.manager(name)
    own = (needed for needed in manager.resources(application) if not isinstance(needed, Common))
    missing = [needed.drift() for needed in own if not needed.removable()]
    if missing:
        raise Failed(
            kinds.NOT_SET_UP,
            f"setup was not run here for {name}: {missing[0]}; nothing live was touched",
            "Prepare the host for it: fab setup",
        )
    source.give_run(application, release)
    if releases.read(application.root, release)["units"]:  # a host may have nothing but timed jobs
        manager.check(application, release)
    schedule.check(application, release)
