"""``fab doctor``: everything that is known to go wrong, looked at from here and on each host."""

from __future__ import annotations

from typing import Any

from invoke.context import Context

from .engine import hosts, terminal
from .engine.hosts import Host
from .engine.verb import verb
from .status import Unwell


@verb(help={"json": "for programs: see docs/json.md"})
def doctor(c: Context, json: bool = False) -> None:
    """Look: all that is known to go wrong, from SSH to the site's answer, and what to type; without -H everywhere."""
    targets = hosts.everywhere(c)
    found = hosts.each(targets, _examine, "examining")
    is_well = all(one["ok"] for one in found)
    if json:
        terminal.show_json({"version": 1, "ok": is_well, "hosts": found})
    else:
        for one in found:
            _show(one)
    if not is_well:
        raise Unwell


def _examine(host: Host) -> dict[str, Any]:
    from .engine import examination  # no other command needs it

    checks, findings = examination.examine(host)
    settings = host.settings
    known = {"host": host.name, "stage": settings.stage, "app": settings.app}
    return {**known, "ok": not findings, "checks": checks, "findings": findings}


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    name = f"{found['stage']}/{found['host']}"
    if found["ok"]:
        terminal.show(Text(f"✓ {name}: all is well ({', '.join(found['checks'])})", "green"))
        return
    terminal.show(Text(f"✗ {name}", "bold red"))
    for one in found["findings"]:
        terminal.show(Text.assemble((f"  {one['check']}: ", "red"), one["what"]))
        terminal.show(Text(f"      {one['why']}", "dim"))
        terminal.show(Text(f"      {one['mend']}"))
