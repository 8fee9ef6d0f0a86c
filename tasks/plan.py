"""``fab plan``: what setup and deploy would change on each host, without changing anything."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit

from .deploy import is_live
from .engine import configuration, git, hosts, local, planning, terminal
from .engine.errors import Error
from .engine.hosts import Host
from .engine.verb import verb
from .push import Wanted, announce, new_id, revision
from .venv import digest_of, specify

TO_DO = 2  # the exit status where there is something to do, as terraform has it


@verb(
    help={
        "ref": "branch, tag or commit; by default source.ref of the settings",
        "migrations": "and which migrations would run: the application is asked, which looks into its database",
        "json": "for programs: see docs/json.md",
        "detailed-exitcode": "end with 0 where there is nothing to do, 2 where there is, and 1 for every error",
    }
)
def plan(
    c: Context,
    ref: str | None = None,
    migrations: bool = False,
    json: bool = False,
    detailed_exitcode: bool = False,
) -> None:
    """Look: what setup and deploy would change on each host; nothing is changed, and no lock is taken."""
    try:
        plans = _plans(c, ref, migrations)
    except Error as error:
        if detailed_exitcode:
            error.exit_status = 1  # elsewhere 2 is a mistake in the settings
        raise
    if json:
        terminal.show_json({"version": 1, "hosts": plans})
    else:
        for found in plans:
            _show(found)
    if detailed_exitcode and any(found["setup"] or found["next"] or not found["set_up"] for found in plans):
        raise Exit(code=TO_DO)


def _plans(c: Context, ref: str | None, migrations: bool) -> list[dict[str, Any]]:
    targets = hosts.of(c)
    for host in targets:
        local.check(host.settings)
    wanted = revision(targets[0].settings, ref)
    return hosts.each(targets, lambda host: _plan(host, wanted, migrations), "looking")


def _plan(host: Host, wanted: Wanted, migrations: bool) -> dict[str, Any]:
    from .engine.remote import plan as remote  # no other command needs it

    settings = host.settings
    needed = configuration.wanted(host)
    drift = host.call(remote.drift, host.owner(), needed)
    there = host.call(remote.look, planning.application(settings))
    found = {"host": host.name, "stage": settings.stage, "app": settings.app, "setup": drift}
    if there is None:
        return {**found, "set_up": False, "live": None, "last": None, "next": None}
    try:
        host.suppose(there)
        live = _release(host.live) if host.live else None
        last = host.call(remote.last_deploy, settings.root)
        following = None if is_live(host, wanted) else _next(host, wanted, migrations)
        return {**found, "set_up": True, "live": live, "last": last, "next": following}
    finally:
        host.forget()  # what comes after this has no lock yet


def _next(host: Host, wanted: Wanted, migrations: bool) -> dict[str, Any]:
    from .engine import foresight  # no other command needs it

    name = new_id(wanted, [host])
    release = announce(wanted, name, host.settings, "")
    between = git.between(host.live["commit"], wanted.git) if host.live and wanted.git else None
    asked = foresight.migrations_of(host, wanted.git) if migrations and host.live and host.settings.has_code else None
    return {
        **_release(release),
        "environment": _environment(host, wanted, name) if host.settings.has_code else None,
        "migrations": asdict(asked) if asked else None,
        "come": None if between is None else _commits(between.come),
        "gone": None if between is None else _commits(between.gone),
        "files": [asdict(change) for change in foresight.files(host, release)] if host.live else None,
        "secrets": asdict(foresight.secrets(host)) if host.live else None,
    }


def _environment(host: Host, wanted: Wanted, name: str) -> dict[str, Any]:
    from .engine import foresight

    spec = specify(host.settings, lambda place: digest_of(local.wheels(host.settings, place)))
    found, packages = foresight.environment(host, spec, wanted.git, name)
    shown = {key: value for key, value in found.items() if key != "installed"}
    return {**shown, "packages": asdict(packages) if packages else None}


def _release(release: dict[str, Any]) -> dict[str, Any]:
    return {key: release.get(key) for key in ("id", "revision", "subject")}


def _commits(commits: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"commit": commit, "subject": subject} for commit, subject in commits]


def _show(found: dict[str, Any]) -> None:
    from rich.text import Text

    terminal.show(Text(f"{found['stage']}/{found['host']}", "bold"))
    for line in describe(found):
        terminal.show(Text(f"  {line}", _style(line)))


def _style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def describe(found: dict[str, Any]) -> list[str]:
    """A host's plan in words, a line each."""
    lines = [f"setup would mend: {words}" for words in found["setup"]] or ["setup would change nothing"]
    live, following = found["live"], found["next"]
    if not found["set_up"]:
        return [*lines, "deploy needs setup first: fab setup"]
    if following is None:
        return [*lines, f"deploy would change nothing: {_short(live)} is live with these settings"]
    lines.append(f"deploy would put {_short(following)} live" + (f" in place of {_short(live)}" if live else ""))
    lines += _about_commits(live, following)
    lines += _about_environment(following["environment"]) if following["environment"] else []
    lines += _about_migrations(following["migrations"])
    lines += _about_secrets(following["secrets"] or {})
    for change in following["files"] or []:
        lines += [f"{change['change']}: config/{change['file']}", *change["diff"].splitlines()[2:]]
    if following["files"] == []:
        lines.append("the configuration stays as it is")
    if last := found["last"]:
        lines.append(f"the last deploy took {last['seconds']:.0f} s, from its first file to its first visitor")
    return lines


def _short(release: dict[str, Any]) -> str:
    return f"{str(release['id']).partition('-')[2]} {release['subject'] or ''}".strip()


def _about_commits(live: dict[str, Any] | None, following: dict[str, Any]) -> list[str]:
    if live is None:
        return ["nothing is live yet: it would be the first release"]
    if following["come"] is None:
        return ["which commits lie between is not known here: the live one is not in this repository"]
    lines = [f"+ {commit['commit']} {commit['subject']}" for commit in following["come"]]
    lines += [f"- {commit['commit']} {commit['subject']}" for commit in following["gone"]]
    return lines or ["the same commit, with other settings"]


def _about_environment(found: dict[str, Any]) -> list[str]:
    if found["problem"]:
        return [f"the environment could not be made: {found['problem']}"]
    lines = [f"environment {found['name'][:7]}: {'the one that is there' if found['reused'] else 'made anew'}"]
    return lines + _about_packages(found["packages"] or {"changes": [], "unpinned": []})


def _about_packages(found: dict[str, Any]) -> list[str]:
    signs = {"added": "+", "removed": "-", "changed": "~"}
    lines = [
        f"{signs[one['change']]} {one['package']} {' → '.join(filter(None, (one['old'], one['new'])))}"
        for one in found["changes"]
    ]
    if found["unpinned"]:
        lines.append(f"not pinned, so that newer ones may come: {', '.join(found['unpinned'])}")
    return lines


def _about_migrations(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    lines = [f"+ {path}" for path in found["come"]] + [f"- {path}" for path in found["gone"]]
    if found["unapplied"]:
        lines.append(f"not in the database yet, says {found['asked']}: {', '.join(found['unapplied'])}")
    return lines or ["no migration would run, as far as the project's own files tell"]


def _about_secrets(found: dict[str, list[str]]) -> list[str]:
    return [f"secrets {kind}: {', '.join(names)}" for kind, names in found.items() if names]
