"""``fab backups``: the backups of the database that are kept on each host."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, terminal
from .engine.hosts import Host
from .engine.remote import backups as remote
from .engine.verb import verb

NONE = "there are none yet: a deploy makes one before it migrates, where backup: is set (docs/databases.md)"
KEYS = ("id", "made", "why", "who", "release", "tool", "bytes", "seconds")


@verb(help={"json": "for programs: see docs/json.md"})
def backups(c: Context, json: bool = False) -> None:
    """Look: the backups of the database on each host, made before it was migrated."""
    targets = hosts.everywhere(c)
    listings = hosts.each(targets, lambda host: host.call(remote.listing, host.settings.root), "looking")
    if json:
        found = [_plain(host, there) for host, there in zip(targets, listings, strict=True)]
        terminal.show_json({"version": 1, "hosts": found})
        return
    for host, there in zip(targets, listings, strict=True):
        terminal.show(_table(host, there))


def _plain(host: Host, there: list[remote.Backup]) -> dict[str, Any]:
    folder = f"{host.settings.root}/{remote.FOLDER}"
    return {
        "host": host.name,
        "stage": host.settings.stage,
        "app": host.settings.app,
        "backups": [
            {**{key: one.get(key) for key in KEYS}, "path": f"{folder}/{one['id']}/{remote.DUMP}"} for one in there
        ],
    }


def _table(host: Host, there: list[remote.Backup]) -> Any:
    from rich.table import Table
    from rich.text import Text

    folder = f"{host.settings.root}/{remote.FOLDER}"
    caption = f"restore one: fab restore --backup ID; they are in {folder}" if there else NONE
    table = Table("backup", "size", "by", "before", "who", title=f"{host.name} ({host.settings.stage})")
    table.title_justify = table.caption_justify = "left"
    table.caption = Text(caption)
    for one in reversed(there):
        table.add_row(one["id"], terminal.size(one["bytes"]), Text(one["tool"]), Text(one["why"]), Text(one["who"]))
    return table
