"""``fab releases``: what was deployed, and what can be gone back to."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, terminal
from .engine.hosts import Host
from .engine.remote import releases as remote
from .engine.verb import verb

RELEASE_KEYS = ("id", "state", "revision", "ref", "subject", "who", "made", "served", "reason")


@verb(help={"json": "for programs: see docs/json.md"})
def releases(c: Context, json: bool = False) -> None:
    """Look: the releases on each host: good, bad, current, and where a rollback would go."""
    targets = hosts.everywhere(c)
    listings = hosts.each(targets, lambda host: host.call(remote.listing, host.settings.root), "looking")
    if json:
        terminal.show_json(
            {
                "version": 1,
                "hosts": [_plain(host, found) for host, found in zip(targets, listings, strict=True)],
            }
        )
        return
    for host, found in zip(targets, listings, strict=True):
        terminal.show(_table(host, found))


def _plain(host: Host, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "host": host.name,
        "stage": host.settings.stage,
        "app": host.settings.app,
        "roles": host.settings.host.roles,
        "current": found["current"],
        "next": found["next"],
        "rollback": found["rollback"],
        "releases": [{key: release.get(key) for key in RELEASE_KEYS} for release in found["releases"]],
    }


def _table(host: Host, found: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "release",
        "state",
        "",
        "revision",
        "who",
        title=f"{host.name} ({', '.join([host.settings.stage, *hosts.roles(host)])})",
        title_justify="left",
    )
    for release in reversed(found["releases"]):
        marks = [
            word
            for word, key in (("current", "current"), ("next", "next"), ("rollback", "rollback"))
            if found[key] == release["id"]
        ]
        style = {"good": "green", "bad": "red"}.get(release["state"], "yellow")
        what = release.get("reason") if release["state"] == "bad" else release.get("subject")
        table.add_row(
            release["id"],
            Text(release["state"], style),
            " ".join(marks),
            Text(str(what or "")),
            Text(str(release.get("who") or "")),
        )
    return table
