"""What is live on a host, told without changing anything."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from . import certificates, killing, lock, maintenance, nginx, probe, provision, releases, scaling
from .application import WEB, Application
from .drivers import Program
from .failure import Failed
from .machine import HOST, Programs, managers_of, units_of
from .probe import Endpoint
from .unix import pwd


def status(application: Application, site: Endpoint | None) -> dict[str, Any]:
    """The whole state of one application on this host.

    :param site: what to ask the proxy, where the release does not say it; None where the host has none.
    :returns: ``current`` and ``next`` releases, ``programs``, ``site``, ``certificates``, ``lock``, ``freeze``,
        ``maintenance``, and ``problems``: a sentence for everything that is not as it should be.
    """
    name, root = application.name, application.root
    problems: list[str] = []
    if not os.path.isfile(f"{root}/.fabrelease"):
        return {
            "set_up": False,
            "current": None,
            "next": None,
            "programs": [],
            "site": None,
            "problems": ["not set up: fab setup"],
        }
    current = _linked(root, "current", problems)
    following = _linked(root, "next", problems)
    locked = lock.state(name, root)
    finishing = bool(locked["lock"] and locked["lock"].get("finishing"))
    programs = _programs(application, current, finishing, problems)
    if current is None and not problems:
        problems.append("nothing is deployed yet: fab deploy")
    visited = probe.site_of(current, site) if current else site
    answer = _site(maintenance.passing(root, visited), problems) if current and visited else None
    shown = certificates.live(root, current["id"], problems) if current else []
    problems += _drift(root, current) if current else []
    problems += provision.drift(root)
    problems += filter(None, [maintenance.problem(root, visited) if current and visited else ""])
    scale = scaling.asked(root)
    problems += _scale(scale, current, programs) if scale and current else []
    return {
        "set_up": True,
        "current": current,
        "next": following,
        "programs": programs,
        "site": answer,
        "certificates": shown,
        "rollback": releases.rollback_target(root) if current else None,
        "scale": scale,
        "maintenance": maintenance.state(root),
        **locked,
        "problems": problems,
    }


def _linked(root: str, name: str, problems: list[str]) -> releases.Release | None:
    try:
        found = releases.linked(root, name)
    except Failed as failed:
        problems.append(failed.message)
        return None
    if found is None:
        return None
    if not os.path.isdir(releases.directory(root, found)):
        problems.append(f"{name} points to {found}, which is gone")
        return None
    release = releases.read(root, found)
    if name == "current" and release["state"] == "bad":
        problems.append(f"{found} is live, and {release.get('reason') or 'marked bad'}; deploy again")
    return release


def _programs(
    application: Application, current: releases.Release | None, finishing: bool, problems: list[str]
) -> list[dict[str, Any]]:
    try:
        programs = [
            program
            for manager in map(HOST.manager, managers_of(application))
            for program in manager.programs(application)
        ]
    except Failed as failed:
        problems.append(failed.message)
        return []
    live = str((current or {}).get("id"))
    for program in programs:
        if releases.of_program(program.name) == live:
            if not program.is_up:
                problems.append(f"{program.name} is {program.state}: {program.detail}")
        elif not finishing:  # else it is being stopped at this moment
            problems.append(
                f"{program.name} belongs to no live release ({program.state}); the next deploy clears it away"
            )
    found = [_program(application, program) for program in programs]
    there = [program["role"] for program in found if program["release"] == live]
    wanted = [unit.role for unit in units_of(current or {})]
    problems += [f"{role} of the live release is not there" for role in wanted if role not in there]
    return found


def _program(application: Application, program: Program) -> dict[str, Any]:
    release = releases.of_program(program.name) or ""
    is_running = program.pid > 0
    return {
        "name": program.name,
        "state": program.state,
        "pid": program.pid,
        "since": program.since,
        "detail": program.detail,
        "release": release,
        "role": program.name[len(f"{application.name}-{release}-") :] or WEB,
        "uptime": time.time() - program.since if is_running else None,
        "user": _user_of(program.pid) if is_running else None,
        "workers": _workers(application, program) if is_running else 0,
    }


def _workers(application: Application, program: Program) -> int:
    """How many processes do the work of a program: a server knows its own, and any other has started them."""
    release = releases.of_program(program.name)
    programs = Programs(HOST, application, release) if release else None
    if programs and programs.web and programs.web.name == program.name:
        return len(programs.workers(program.pid)) if program.copies == 1 else program.copies
    return len(killing.children(program.pid))


def _user_of(pid: int) -> str | None:
    with contextlib.suppress(OSError, KeyError):
        return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
    return None


def _site(site: Endpoint, problems: list[str]) -> dict[str, Any]:
    answer = nginx.ask(site)
    if answer["status"] != site.status:
        problems.append("the site is not healthy: " + probe.describe(site, answer).split("\n")[0])
    return {"status": answer["status"], "error": answer["error"], "seconds": answer["seconds"]}


def _scale(scale: scaling.Scale, current: releases.Release, programs: list[dict[str, Any]]) -> list[str]:
    """A server that died and came back has as many workers again as its settings say."""
    wanted, live = scale["workers"], [unit for unit in units_of(current) if unit.serves]
    return [
        f"{program['workers']} workers run, and {wanted} were asked for: fab scale {wanted}"
        for program in programs
        if program["name"] in [unit.name for unit in live] and program["workers"] not in (0, wanted)
    ]


def _drift(root: str, current: releases.Release) -> list[str]:
    """Files under our care that were changed by hand since they were written."""
    place = releases.directory(root, current["id"])
    written: dict[str, str] = current.get("fingerprints", {})
    return [
        f"{name} was changed by hand since the deploy"
        for name, fingerprint in written.items()
        if releases.fingerprint(root, f"{place}/{name}") != fingerprint
    ]
