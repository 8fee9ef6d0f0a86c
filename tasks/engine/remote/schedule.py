"""The timers of the live release's jobs: a timer and a service of systemd's for each, whoever keeps the server up.

A job's service has the same name in every release, so two of it never run at once; and it goes into the release that
``current`` points to when it begins, so a timer never starts another release's. Only when it runs is in a file that
does not change by the rename: follow() makes the files those of the live release, whatever died before.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable

from . import jobs, kinds, process, releases, unitfiles
from .application import Application
from .failure import Failed
from .jobs import Job, in_use, unit
from .resources import UNITS, File
from .unitfiles import SERVICE, TIMER, Shown

__all__ = ["check", "drift", "follow", "in_use", "removable", "stop", "temporary"]
STAMPS = "/var/lib/systemd/timers"  # when a timer came to its time last, which outlives a boot
NEVER = re.compile(r"\s*Next elapse: never")


def check(application: Application, release: str) -> None:
    """Have systemd read the times and the units of a release's jobs.

    :raises Failed: it does not understand them, or a time never comes.
    """
    root, files = application.root, _files(application, release)
    current = releases.linked(root, "current")
    inside = [path.partition("/config/")[2] for path in files.values()]
    if not files or (current and releases.same_files(root, current, release, inside)):
        return
    for job in jobs.of_release(releases.read(root, release)):
        if job.at:
            _check_time(job)
    about = (release, unit(application, ""))
    unitfiles.verify(application, files, about, "Look at your templates/systemd/, and at manager.settings.")


def _check_time(job: Job) -> None:
    done = process.run(["systemd-analyze", "calendar", "--", job.at], timeout=unitfiles.SECONDS)
    is_past = any(map(NEVER.match, done.lines))
    if done.status != 0 or is_past:
        why = "does not come any more" if is_past else "is not understood by systemd on this host"
        raise Failed(
            kinds.JOB_TIME,
            f"schedule.{job.name}.at: {job.at!r} {why}; nothing live was touched{process.quote(done.lines)}",
            f"Try it on the host: systemd-analyze calendar '{job.at}'; see docs/schedule.md",
        )


def follow(application: Application) -> list[str]:
    """Have systemd's timers be those of the live release; jobs that run go on.

    Whatever ends it in the middle, the next call puts the rest right: a timer is stopped before its file goes or
    changes. One that is new or changed makes up for no time that was before it.

    :returns: what was changed, in words.
    :raises Failed: systemd does not do it.
    """
    there, wanted = _installed(application), _wanted(application)
    changed = _changed(there, wanted)
    if not changed and _are_set(wanted):
        return []
    if stopped := [name for name in changed if name in there and name.endswith(TIMER)]:
        process.systemctl("disable", "--now", "--no-reload", *stopped)
    for name in changed:
        _put(name, wanted.get(name))
    process.systemctl("daemon-reload")
    if timers := [name for name in wanted if name.endswith(TIMER)]:
        process.systemctl("enable", "--now", "--no-reload", *timers)
    return [f"timer {name}" for name in _names(application, changed)] or ["timers that did not run"]


def drift(application: Application) -> list[str]:
    """What follow() would put right, in words."""
    there, wanted = _installed(application), _wanted(application)
    changed = _changed(there, wanted)
    said = [f"the units of the job {name} are not the live release's" for name in _names(application, changed)]
    if not changed and not _are_set(wanted):
        said = ["not all timers of the live release's jobs run"]
    return [f"{words}; the next deploy mends it" for words in said]


def removable(application: Application) -> list[str]:
    """What stop() would take away, in words."""
    return [f"timer {name}" for name in _names(application, _installed(application))]


def stop(application: Application) -> None:
    """Take the timers away, and end the jobs that run: no release is live any more.

    :raises Failed: systemd does not do it.
    """
    follow(application)
    if services := sorted(jobs.services(application)):
        process.systemctl("stop", *services)
        process.run(["systemctl", "reset-failed", *services], timeout=process.SYSTEMCTL_SECONDS)


def temporary(application: Application) -> str:
    """The beginning of the paths of files that are written outside the application's root."""
    return f"{UNITS}/fabrelease-{application.name}"


def _put(name: str, text: str | None) -> None:
    """Write a unit's file, or remove it, and forget when it was triggered last."""
    releases.unlink(f"{STAMPS}/stamp-{name}")
    file = File(f"{UNITS}/{name}", text or "")
    if text is None:
        file.remove()
    else:
        file.apply()


Units = dict[str, str]


def _changed(there: Units, wanted: Units) -> list[str]:
    return sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))


def _names(application: Application, units: Iterable[str]) -> list[str]:
    """The names of the jobs that units are of."""
    return sorted({name[len(unit(application, "")) :].rpartition(".")[0] for name in units})


def _files(application: Application, release: str) -> Units:
    """The names of the units of a release's jobs, each with its file's path."""
    folder = f"{releases.directory(application.root, release)}/config/schedule"
    names = [job.name for job in jobs.of_release(releases.read(application.root, release))]
    return {unit(application, name) + kind: f"{folder}/{name}{kind}" for name in names for kind in (SERVICE, TIMER)}


def _wanted(application: Application) -> Units:
    """The units of the live release, by their names, with their text; none where nothing is live."""
    current = releases.linked(application.root, "current")
    files = _files(application, current) if current else {}
    return {name: _read(path) for name, path in files.items()}


def _installed(application: Application) -> Units:
    """The units that are there, by their names, with their text."""
    paths = [path for kind in (SERVICE, TIMER) for path in glob.glob(f"{UNITS}/{unit(application, '*')}{kind}")]
    return {os.path.basename(path): _read(path) for path in paths}


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _are_set(wanted: Units) -> bool:
    """Whether systemd knows units as they are, and their timers run and start with the machine."""
    shown = jobs.show(list(wanted))
    return all(_is_set(shown[name], name.endswith(TIMER)) for name in wanted)


def _is_set(shown: Shown, is_timer: bool) -> bool:
    runs = (shown.get("ActiveState"), shown.get("UnitFileState")) == ("active", "enabled")
    return shown.get("NeedDaemonReload") == "no" and (runs or not is_timer)
