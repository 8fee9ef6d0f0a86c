"""What is live on a host, told without changing anything."""

from __future__ import annotations

import contextlib
import importlib
import os
import pwd
import time
from typing import Any

from . import cutover, lock, probe, releases
from .failure import Failed


def status(plan: cutover.Plan) -> dict[str, Any]:
    """The whole state of one application on this host.

    :param plan: as for a cutover; its release does not matter.
    :returns: ``current`` and ``next`` releases, ``programs``, ``site``, ``lock``, ``freeze``, and ``problems``:
        a sentence for everything that is not as it should be.
    """
    app, root = plan["app"], plan["root"]
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
    locked = lock.state(app, root)
    finishing = bool(locked["lock"] and locked["lock"].get("finishing"))
    programs = _programs(plan, current, finishing, problems)
    if current is None and not problems:
        problems.append("nothing is deployed yet: fab deploy")
    site = _site(plan, problems) if current else None
    problems += _drift(root, current) if current else []
    return {
        "set_up": True,
        "current": current,
        "next": following,
        "programs": programs,
        "site": site,
        "back": releases.back(root) if current else None,
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
    plan: cutover.Plan, current: releases.Release | None, finishing: bool, problems: list[str]
) -> list[dict[str, Any]]:
    manager = importlib.import_module(f"fabrelease.tasks.managers.{plan['manager']}")
    try:
        programs = manager.of_app(plan["app"])
    except Failed as failed:
        problems.append(failed.message)
        return []
    found = [_program(plan, program) for program in programs]
    live = str((current or {}).get("id"))
    for program in found:
        if program["release"] != live and finishing:
            continue  # it is being stopped at this moment
        if program["release"] != live:
            problems.append(
                f"{program['name']} belongs to no live release ({program['state']}); the next deploy clears it away"
            )
        if program["release"] == live and not manager.is_up(program):
            problems.append(f"{program['name']} is {program['state']}: {program['detail']}")
    wanted = ["web", *(current or {}).get("processes", [])] if current else []
    there = [program["role"] for program in found if program["release"] == live]
    problems += [f"{role} of the live release is not there" for role in wanted if role not in there]
    return found


def _program(plan: cutover.Plan, program: dict[str, Any]) -> dict[str, Any]:
    match = releases.ID.match(program["name"][len(plan["app"]) + 1 :])
    release = match[0] if match else ""
    role = program["name"][len(plan["app"]) + 1 + len(release) + 1 :] or "web"
    running = program["pid"] > 0
    return {
        **program,
        "release": release,
        "role": role,
        "uptime": time.time() - program["since"] if running else None,
        "user": _user_of(program["pid"]) if running else None,
        "workers": len(_children(program["pid"])) if running else 0,
    }


def _user_of(pid: int) -> str | None:
    with contextlib.suppress(OSError, KeyError):
        return pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name
    return None


def _children(pid: int) -> list[str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()
    return []


def _site(plan: cutover.Plan, problems: list[str]) -> dict[str, Any]:
    answer = probe.ask(f"127.0.0.1:{plan['port']}", None, plan["ask_site"], 10)
    if answer["status"] != plan["ask_site"]["status"]:
        problems.append("the site is not healthy: " + probe.describe(plan["ask_site"], answer).split("\n")[0])
    return {"status": answer["status"], "error": answer["error"], "seconds": answer["seconds"]}


def _drift(root: str, current: releases.Release) -> list[str]:
    """Files under our care that were changed by hand since they were written."""
    place = releases.directory(root, current["id"])
    written: dict[str, str] = current.get("fingerprints", {})
    return [
        f"{name} was changed by hand since the deploy"
        for name, fingerprint in written.items()
        if releases.fingerprint(root, f"{place}/{name}") != fingerprint
    ]
