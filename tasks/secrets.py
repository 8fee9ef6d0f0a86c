"""``fab secrets``: the names of the secrets and where they come from, never their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.context import Context

from .engine import hosts, passwords, secretsource, terminal
from .engine.hosts import Host
from .engine.remote import times
from .engine.verb import verb

if TYPE_CHECKING:
    from .engine.settings import Secrets, Settings


@verb(help={"json": "for programs: see docs/json.md"})
def secrets(c: Context, json: bool = False) -> None:
    """Look: the names of the secrets and where they come from, never their values; nothing is connected to."""
    found = [_plain(host) for host in hosts.of(c)]
    if json:
        terminal.show_json({"version": 1, "hosts": found})
    else:
        for plain in found:
            _show(plain)


def _plain(host: Host) -> dict[str, Any]:
    settings, source = host.settings, host.settings.secrets
    names = _names(settings)  # first: what cannot be read is said
    return {
        "host": host.name,
        "stage": settings.stage,
        "app": settings.app,
        "source": source and secretsource.kind(source),
        "from": source and (source.file or source.command),
        "changed": source and _changed(settings, source),
        "secrets": names,
    }


def _changed(settings: Settings, source: Secrets) -> str | None:
    """When a file was written last; of the others nobody knows."""
    if source.file is None:
        return None
    return times.utc(settings.local(source.file).stat().st_mtime)


def _names(settings: Settings) -> list[dict[str, str]]:
    users = {
        **dict.fromkeys(passwords.variables(settings), "nginx"),
        **dict.fromkeys(secretsource.of_webhooks(settings), "notify"),
    }
    names = sorted(secretsource.read(settings))
    return [{"name": name, "used_by": users.get(name, "application")} for name in names]


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    terminal.show(Text(f"{found['stage']}/{found['host']}: {_origin(found)}", "bold"))
    for secret in found["secrets"]:
        other = "" if secret["used_by"] == "application" else f" ({secret['used_by']})"
        terminal.show(Text(f"  {secret['name']}{other}"))


def _origin(found: dict[str, Any]) -> str:
    if found["source"] == "file":
        return f"{found['from']}, changed {found['changed']}"
    if found["source"] == "command":
        return f"read now from `{found['from']}`"
    return "read now from the environment" if found["source"] else "no secrets"
