"""``fab status``: what is live, at a glance, everywhere."""

from __future__ import annotations

import time
from typing import Any

from invoke.context import Context

from .engine import hosts, level, live, planning, terminal
from .engine.errors import Error
from .engine.hosts import Host
from .engine.remote import kinds, report, times
from .engine.verb import verb

RELEASE_KEYS = ("id", "state", "revision", "ref", "subject", "who", "made", "served")


@verb(
    help={
        "json": "for programs: see docs/json.md",
        "watch": "what runs, with processor and memory, anew each second, until q",
    }
)
def status(c: Context, json: bool = False, watch: bool = False) -> None:
    """Look: release, processes and the site's own answer on each host; without -H of every stage."""
    targets = hosts.everywhere(c)
    if watch:
        live.watch(targets)
    else:
        _show(targets, json)


def _show(targets: list[Host], json: bool) -> None:
    states = hosts.each(targets, _state, "looking")
    _compare(targets, states)
    if json:
        terminal.show_json(
            {
                "version": 1,
                "ok": _is_well(states),
                "hosts": [_plain(h, s) for h, s in zip(targets, states, strict=True)],
            }
        )
    else:
        terminal.show(_table(targets, states))
        for host, state in zip(targets, states, strict=True):
            for problem in state["problems"]:
                terminal.show(f"[red]{host.name}[/]: ", _text(problem))
    if not _is_well(states):
        raise Unwell


class Unwell(Error):
    """Something is not well; what, is said already."""

    def __init__(self) -> None:
        super().__init__(kinds.UNWELL, "")


def _state(host: Host) -> dict[str, Any]:
    try:
        return host.call(report.status, planning.application(host.settings), planning.site(host.settings))
    except Error as error:
        return {
            "set_up": None,
            "current": None,
            "next": None,
            "programs": [],
            "site": None,
            "problems": [error.coded.removeprefix(f"{host.name}: ")],
        }


def _compare(targets: list[Host], states: list[dict[str, Any]]) -> None:
    """Add to the problems of the hosts that are behind others of their stage; one that cannot be asked is no news."""
    for stage in {host.settings.stage for host in targets}:
        of_stage = {
            host.name: state
            for host, state in zip(targets, states, strict=True)
            if host.settings.stage == stage and state["set_up"] is not None
        }
        live = {name: state["current"] for name, state in of_stage.items()}
        for name, sentence in level.behind(live, stage).items():
            of_stage[name]["problems"].append(sentence)


def _is_well(states: list[dict[str, Any]]) -> bool:
    return not any(state["problems"] for state in states)


def _plain(host: Host, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "host": host.name,
        "stage": host.settings.stage,
        "app": host.settings.app,
        "ok": not state["problems"],
        "roles": host.settings.host.roles,
        "set_up": state["set_up"],
        "current": _release(state["current"]),
        "next": _release(state["next"]),
        "rollback": state.get("rollback"),
        "scale": state.get("scale"),
        "schedule": state.get("schedule", []),
        "programs": state["programs"],
        "site": state["site"],
        "certificates": state.get("certificates", []),
        "lock": state.get("lock"),
        "freeze": state.get("freeze"),
        "maintenance": state.get("maintenance"),
        "problems": state["problems"],
    }


def _release(release: dict[str, Any] | None) -> dict[str, Any] | None:
    return release and {key: release.get(key) for key in RELEASE_KEYS}


def _table(targets: list[Host], states: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table("", "host", "release", "revision", "age", "who", "processes", "site", box=None, header_style="bold")
    for host, state in zip(targets, states, strict=True):
        table.add_row(*_row(host, state))
    return table


def _row(host: Host, state: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    current = state["current"] or {}
    mark = Text("✓", "green") if not state["problems"] else Text("✗", "red")
    revision = f"{str(current.get('commit', ''))[:7]} {current.get('subject') or ''}".strip()
    programs = [_text(_program(program)) for program in state["programs"]]
    programs += [_text(_job(job)) for job in state.get("schedule", [])]
    notes = [f"next: {state['next']['id']}"] if state["next"] else []
    notes += [_lock(state["lock"])] if state.get("lock") else []
    notes += [_scale(state["scale"])] if state.get("scale") else []
    notes += [f"FROZEN by {state['freeze']['who']}: {state['freeze']['why']}"] if state.get("freeze") else []
    closed = state.get("maintenance")
    notes += [f"MAINTENANCE by {closed['who']}: {closed['why']}"] if closed else []
    return [
        mark,
        Text("\n".join([_name(host), *hosts.roles(host)])),
        Text("\n".join([current.get("id", "-"), *notes])),
        Text(revision if len(revision) <= 40 else revision[:39] + "…"),
        _age(current.get("served") or current.get("made")),
        Text(str(current.get("who") or "")),
        Text("\n").join(programs),
        _site(state["site"], state.get("certificates", [])),
    ]


def _name(host: Host) -> str:
    return f"{host.settings.stage}/{host.name}" if host.settings.stage != host.name else host.name


def _lock(lock: dict[str, Any]) -> str:
    if lock.get("finishing"):
        return "the release before is being stopped"
    return f"locked by {lock['who']}: {lock['what']}"


def _scale(scale: dict[str, Any]) -> str:
    return f"scaled to {scale['workers']} workers by {scale['who']}"


def _program(program: dict[str, Any]) -> str:
    if not program["pid"]:
        return f"{program['role']} {program['state']}"
    workers = f", {program['workers']} workers" if program["role"] == "web" else ""
    uptime = terminal.age(program["uptime"])
    return f"{program['role']} {program['state']} {uptime}{workers} (pid {program['pid']}, {program['user']})"


def _job(job: dict[str, Any]) -> str:
    if job["started"] is None:
        return f"{job['name']} not run yet, next at {job['next'] or '-'}"
    if job["result"] is None:
        return f"{job['name']} runs since {job['started']}"
    return f"{job['name']} {job['why'] or job['result']} at {job['ended']}, next at {job['next'] or '-'}"


def _site(site: dict[str, Any] | None, certificates: list[dict[str, Any]]) -> Any:
    if site is None:
        return _text("-")
    ends = f"\nTLS for {min(found['days'] for found in certificates)} more days" if certificates else ""
    return _text(f"{site['status'] or site['error']} in {site['seconds'] * 1000:.0f} ms{ends}")


def _age(stamp: str | None) -> str:
    if not stamp:
        return "-"
    return terminal.age(max(0, time.time() - times.seconds(stamp)))


def _text(text: str) -> Any:
    from rich.text import Text

    return Text(text)
