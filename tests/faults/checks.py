"""What must hold after a fault, and after the deploy that follows it. Each check gives the violations it found."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.faults.world import ROOT, TEMPORARY, World, wait_until

STATUS_TRIES = 5
KNOWN_IN_ROOT = {
    ".fabrelease",
    "config",
    "current",
    "env",
    "envs",
    "history",
    "home",
    ".digest-key",
    ".resources",
    "build",
    "cache",
    "logs",
    "older",
    "public",
    "releases",
    "repo.git",
    "shared",
    "wheels",
}


def allowed(points: list[str], point: str, fault: str, status: int | None) -> set[str]:
    """Which release may be live after a fault: what docs/cutover.md promises, and otherwise what fab has said.

    :param points: all that the command passes, in order.
    :param status: fab's exit status.
    """
    at = points.index(point)
    if at >= points.index("after cutover.switch"):
        return {"new"}
    is_switching = at > points.index("before cutover.switch")
    if fault in ("deployer killed", "connection cut"):
        return {"new"} if is_switching else {"old"}
    if fault == "connection stalled":  # the host has been asked for start, switch and finish at once
        is_asked = at >= points.index("before cutover.start")
        return {"new"} if is_switching else {"old", "new"} if is_asked else {"old"}
    if fault == "target killed, booted":
        return {"old", "new"} if is_switching else {"old"}
    return {0: {"new"}, 1: {"old"}}.get(-1 if status is None else status, {"old", "new"})


def site(world: World, allowed: set[str], patience: float) -> tuple[str, list[str]]:
    """The site answers, with one revision in all its parts, and goes on with that one.

    :returns: the revision, and what is wrong.
    """
    try:
        wait_until(world.revision, patience, "the site answers with one revision")
    except TimeoutError:
        try:
            said: object = world.site()
        except Exception as error:
            said = f"{type(error).__name__} {error}"
        return "-", [f"the site is not whole: {said}"]
    seen = {world.revision() for _ in range(5)}
    if len(seen) > 1 or not seen <= allowed:
        return str(seen), [f"the site answers with {seen}, allowed is one of {allowed}"]
    return str(seen.pop()), []


def status(world: World, is_right: bool, is_over: bool = False) -> list[str]:
    """`fab status` tells what is there; while a service starts again, it may be asked more than once.

    :param is_right: whether the site answers as it should.
    :param is_over: whether everything is put right again, so that there must be no problem.
    """
    for _ in range(STATUS_TRIES):
        said = world.project.status()
        wrong = _status(world, said, is_right)
        if is_over and not said["ok"]:
            wrong.append(f"status after the next deploy: {said['problems']}")
        if not wrong:
            return []
        time.sleep(1)
    return wrong


def _status(world: World, said: dict[str, Any], is_right: bool) -> list[str]:
    there = world.look()
    current = Path(there["current"] or "").name or None
    wrong = []
    if ((said["current"] or {}).get("id")) != current:
        wrong.append(f"status says current is {said['current']}, it is {current}; {said['problems']}")
    if current and bool(said["site"] and said["site"]["status"] == 200) != is_right:
        wrong.append(f"status says of the site {said['site']}, whole is {is_right}")
    programs = {program["name"] for program in said["programs"]}
    if programs != (wanted := {name for name in there["programs"] if name.startswith("tinysite-")}):
        wrong.append(f"status says programs {programs}, there are {wanted}")
    strangers = {name for name in wanted if current is None or current not in name}
    if strangers and said["ok"]:
        wrong.append(f"status says all is well, and there are {strangers}")
    return wrong


def nothing_left(world: World) -> list[str]:
    """After a deploy that was not disturbed: nothing of anything else is there."""
    there = world.look()
    live = Path(there["current"]).name
    wrong = [f"next is there: {there['next']}"] if there["next"] else []
    wrong += _processes(there, live)
    if there["programs"] != [f"tinysite-{live}", f"tinysite-{live}-worker"]:
        wrong.append(f"the manager's programs are {there['programs']}")
    sockets = [line for line in there["sockets"] if f" {ROOT}/" in line]
    if len(sockets) != 1 or live not in sockets[0]:
        wrong.append(f"sockets: {sockets}")
    states = {name: release["state"] for name, release in there["releases"].items()}
    if not set(states.values()) <= {"good", "bad"} or states.get(live) != "good":
        wrong.append(f"releases: {states}")
    wrong += _names(there)
    used = {release.get("environment") for release in there["releases"].values()}
    if there["unfinished"] or not set(there["envs"]) <= used:
        wrong.append(f"environments {there['envs']}, used {used}, unfinished {there['unfinished']}")
    return wrong


def _processes(there: dict[str, Any], live: str) -> list[str]:
    ours = [p for p in there["processes"] if p["release"] or p["user"] == there["owner"]]
    masters = [p for p in ours if p["parent"] == there["manager"] and p["pid"] != there["manager"]]
    pids = {p["pid"] for p in masters}
    strange = [p for p in ours if p["release"] != live or not {p["pid"], p["parent"]} & pids]
    kinds = sorted("worker" if "worker.py" in p["argv"] else "web" for p in masters)
    wrong = [f"left-over process {p}" for p in strange]
    if kinds != ["web", "worker"]:
        wrong.append(f"the manager's children are {masters}")
    return wrong


def _names(there: dict[str, Any]) -> list[str]:
    wrong = []
    for path in there["names"]:
        folder, name = path.rpartition("/")[::2]
        if (
            re.search(TEMPORARY, name)
            or (folder == ROOT and name not in KNOWN_IN_ROOT)
            or (folder == f"{ROOT}/wheels" and name.startswith("."))
            or (folder == "/etc/supervisor/conf.d" and re.fullmatch(r"tinysite\.next.*", name))
            or (folder == "/etc/nginx" and name.startswith("fabrelease-"))
            or (folder == "/run/fabrelease" and not re.search(r"^locks$|^domains\.lock$|^agent-[0-9a-f]+$", name))
            or (f"{ROOT}/repo.git" in path and re.search(r"^tmp_|\.lock$", name))
            or (folder.endswith("/config") and name.startswith("."))
        ):
            wrong.append(f"left over: {path}")
    return wrong
