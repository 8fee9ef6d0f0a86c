"""``fab schedule``: the timed jobs, how their last runs ended, when the next ones are."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, planning, terminal
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import jobs, kinds
from .engine.verb import verb


@verb(
    help={"start": "the name of a job that is started now, unless it runs", "json": "for programs: see docs/json.md"},
    together=True,
)
def schedule(c: Context, start: str = "", json: bool = False) -> None:
    """Look: the timed jobs, how the last run of each ended, when the next one is; or start one now."""
    targets = _with_schedule(hosts.together(c))
    if start:
        hosts.each(targets, lambda host: _start(host, start), f"starting {start}")
    else:
        _show(targets, hosts.each(targets, _states, "looking"), json)


def _with_schedule(targets: list[Host]) -> list[Host]:
    """Those of the hosts that have timed jobs.

    :raises UsageError: none has.
    """
    found = [host for host in targets if planning.has_schedule(host.settings)]
    if not found:
        names, stage = ", ".join(host.name for host in targets), targets[0].settings.stage
        where = f"the timed jobs of {stage} run on another host: fab -H {stage} schedule"
        raise UsageError(kinds.ARGUMENT, f"{names}: {where}")
    return found


def _start(host: Host, name: str) -> None:
    host.call(jobs.start, planning.application(host.settings), name)
    host.say("schedule", f"{name} runs; see what it says: fab logs --which {name} --follow", "green")


def _states(host: Host) -> list[jobs.State]:
    return host.call(jobs.states, planning.application(host.settings))


def _show(targets: list[Host], found: list[list[jobs.State]], json: bool) -> None:
    if json:
        terminal.show_json({"version": 1, "hosts": [_plain(*of) for of in zip(targets, found, strict=True)]})
        return
    for host, states in zip(targets, found, strict=True):
        if not states:
            host.say("schedule", "the live release has no timed jobs")
    terminal.show(_table(targets, found))


def _plain(host: Host, states: list[jobs.State]) -> dict[str, Any]:
    return {"host": host.name, "stage": host.settings.stage, "app": host.settings.app, "schedule": states}


def _table(targets: list[Host], found: list[list[jobs.State]]) -> Any:
    from rich.table import Table

    table = Table("host", "job", "when", "last run", "result", "next run", box=None, header_style="bold")
    for host, states in zip(targets, found, strict=True):
        for job in states:
            started, coming = job["started"] or "-", job["next"] or "-"
            table.add_row(host.name, job["name"], job["when"], started, _result(job), coming)
    return table


def _result(job: jobs.State) -> str:
    """For people."""
    if job["started"] is None:
        return "-"
    return job["why"] or job["result"] or "running"
