"""What the next command makes of a cutover that did not come to its end, whatever ended it.

The release that ``current`` points to is the live one: it is brought up where it is down, and every program, process,
link and directory that belongs to another is left over.
"""

from __future__ import annotations

import os

from . import cutover, prepare, probe, releases, schedule, system, times, unitfiles
from .application import Application
from .failure import Failed
from .machine import HOST, Machine, Programs, managers_of
from .probe import Endpoint


def clear(application: Application, site: Endpoint | None, machine: Machine = HOST) -> list[str]:
    """Clear away what an interrupted cutover left.

    :param site: what to ask the proxy, where a cutover is found that was cut off after its rename; None where
        there is none.
    :returns: what was cleared away, in words.
    """
    root = application.root
    managers = [machine.manager(name) for name in managers_of(application)]
    cleared = machine.proxy.ensure_running() if site else []
    cleared += [line for manager in managers for line in manager.ensure_running(application)]
    current = releases.linked(root, "current")
    if strangers := cutover.stop_others(application, current, machine):
        cleared.append(f"stopped {', '.join(strangers)}")
    cutover.forget_next(application, machine)
    cleared += [f"killed left-over process {pid}" for pid in cutover.end_orphans(application, current, machine)]
    own = [path for manager in managers for path in manager.temporary(application)]
    own += [unitfiles.temporary(application), schedule.temporary(application)]
    own += [f"{os.path.dirname(path)}/{application.name}" for path in system.here().site(application.name) if path]
    own.append(prepare.rotation(application.name))
    cleared += [f"removed {path}" for path in releases.clear_temporary(root, *own)]
    cleared += [f"removed the unfinished release {name}" for name in releases.clear_unfinished(root)]
    cleared += _bring_up(application, current, site, machine) if current else []
    cleared += [f"put right: {what}" for what in machine.schedule.follow(application)]
    if current is not None and releases.linked(root, "next") == current:
        releases.unlink(f"{root}/next")
    return cleared


def _bring_up(application: Application, release: str, site: Endpoint | None, machine: Machine) -> list[str]:
    """Start what is down of the live release, and finish a cutover to it that was cut off after its rename."""
    root = application.root
    cleared = [f"started {name}" for name in Programs(machine, application, release).start_down()]
    if releases.is_remembered(root, release):
        return cleared
    try:
        if visited := probe.site_of(releases.read(root, release), site):
            machine.proxy.reload()
            cutover.ask_site(application, visited, machine)
    except Failed as failed:
        return [*cleared, f"{release} went live in a cutover that was cut off, and {failed.message}"]
    releases.update(root, release, state="good", served=times.utc())
    releases.remember(root, release, what="found live after a cutover that was cut off")
    return [*cleared, f"finished the cutover to {release}, which had been cut off"]
