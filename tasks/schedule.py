"""``fab schedule``: the timed jobs, how their last runs ended, when the next ones are."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, planning, terminal
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import jobs, kinds
from .engine.verb import verb

NONE = "no live release has timed jobs: name them in schedule:, and deploy (docs/schedule.md)"
HINT = "See them: fab schedule; a new one is there once it is in schedule: and deployed (docs/schedule.md)."
Found = dict[Host, list[jobs.State]]


@verb(help={"start": "name of a job that is started now, unless it runs", "json": "for programs: see docs/json.md"})
def schedule(c: Context, start: str = "", json: bool = False) -> None:
    """Look: the timed jobs, how the last run of each ended, when the next one is; or start one now."""
    targets = hosts.of(c)
    found = dict(zip(targets, hosts.each(targets, _states, "looking"), strict=True))
    if start:
        _start(found, start)
    elif json:
        terminal.show_json({"version": 1, "hosts": [_plain(*of) for of in found.items()]})
    else:
        terminal.show(_table(found) if any(found.values()) else NONE)


def _start(found: Found, name: str) -> None:
    """Start a job where it is.

    :raises UsageError: it is nowhere.
    """
    able = [host for host, states in found.items() if name in [job["name"] for job in states]]
    if not able:
        known = ", ".join(job["name"] for states in found.values() for job in states) or "none"
        what = f"--start: no live release has a job called {name!r}. There are: {known}"
        raise UsageError(kinds.ARGUMENT, f"{what}\n  {HINT}")
    for host in able:
        host.call(jobs.start, planning.application(host.settings), name)
        host.say("schedule", f"{name} runs; see what it says: fab logs --which {name} --follow", "green")


def _states(host: Host) -> list[jobs.State]:
    return host.call(jobs.states, planning.application(host.settings))


def _plain(host: Host, states: list[jobs.State]) -> dict[str, Any]:
    return {"host": host.name, "stage": host.settings.stage, "app": host.settings.app, "schedule": states}


def _table(found: Found) -> Any:
    from rich.table import Table

    table = Table("host", "job", "when", "last run", "result", "next run", box=None, header_style="bold")
    for host, states in found.items():
        for job in states:
            started, coming = job["started"] or "-", job["next"] or "-"
            table.add_row(host.name, job["name"], job["when"], started, _result(job), coming)
    return table


def _result(job: jobs.State) -> str:
    """For people."""
    if job["started"] is None:
        return "-"
    return job["why"] or job["result"] or "running"
