"""``fab schedule``: the timed jobs, how their last runs ended, when the next ones are."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, planning, terminal
from .engine.hosts import Host
from .engine.remote import jobs
from .engine.verb import verb


@verb(help={"start": "the name of a job that is started now, unless it runs"})
def schedule(c: Context, start: str = "") -> None:
    """Look: the timed jobs, how the last run of each ended, when the next one is; or start one now."""
    targets = [host for host in hosts.of(c) if planning.has_schedule(host.settings)]
    if start:
        hosts.each(targets, lambda host: _start(host, start), f"starting {start}")
    else:
        terminal.show(_table(targets, hosts.each(targets, _states, "looking")))


def _states(host: Host) -> list[jobs.State]:
    return host.call(jobs.states, planning.application(host.settings))


def _start(host: Host, name: str) -> None:
    host.call(jobs.start, planning.application(host.settings), name)
    host.say("schedule", f"{name} runs; see what it says: fab logs --which {name} --follow", "green")


def _table(targets: list[Host], found: list[list[jobs.State]]) -> Any:
    from rich.table import Table

    table = Table("host", "job", "when", "last run", "result", "next run", box=None, header_style="bold")
    for host, states in zip(targets, found, strict=True):
        for job in states:
            table.add_row(host.name, job["name"], job["when"], *told(job))
    return table


def told(job: jobs.State) -> tuple[str, str, str]:
    """A job's last run, its result and its next run, for people."""
    runs = job["started"] is not None and job["result"] is None
    return job["started"] or "-", "running" if runs else job["why"] or job["result"] or "-", job["next"] or "-"
