"""The cutover: the new release beside the old, probed, switched to by one rename, the old one drained.

Each function is one phase, so that several hosts can wait for each other between two of them:
start, switch, stay, finish; abandon and back are the ways out. Nothing is kept in memory from one to the next.
Among several hosts it is a two-phase commit that presumes abort (Mohan, Lindsay, Obermarck 1986): who has not heard
that all have switched goes back.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

from . import agent, cgroup, environment, killing, lock, nginx, prepare, probe, process, releases, source
from .failure import Failed, describe
from .unix import pwd

PAUSE = 0.02
LOG_LINES = 15
LOG_BYTES = 8000
ORPHAN_SECONDS = 5
GONE = "the deployer went away"


class Plan(TypedDict):
    """What a cutover needs to know; the same for every phase on one host.

    ``address`` is what the new release's server binds, ``processes`` names its background processes,
    ``ask`` is put to the application itself, ``ask_site`` to nginx on ``port``. Requests that are running may take
    ``drain`` seconds more. How long a program has to stop is in its release's own configuration.
    """

    app: str
    root: str
    manager: str
    user: str
    release: str
    address: str
    processes: list[str]
    ask: probe.Question
    ask_site: probe.Question
    port: int
    drain: float
    keep: int


class Switched(TypedDict):
    """``old`` is the release that was live; ``answer`` and ``seconds`` are the site's through nginx."""

    old: str | None
    answer: int
    seconds: float


class Finished(TypedDict):
    """``drained`` is in seconds; ``cut`` is how many requests were still open when the time was up."""

    old: str | None
    drained: float
    cut: int


def manager_of(plan: Plan) -> Any:
    """The module of the manager that keeps the programs running."""
    return importlib.import_module(f"fabrelease.tasks.managers.{plan['manager']}")


@agent.uninterrupted()
def start(plan: Plan) -> float:
    """Start the new release's web server beside the old one and ask it until it answers rightly.

    :returns: seconds until it did.
    :raises Failed: it did not; it is stopped and marked bad, and what is live was not touched.
    """
    began = time.monotonic()
    log = _log(plan, "web")
    offset = _size(log)
    agent.if_abandoned(lambda: abandon(plan, GONE))
    try:
        _clear_address(plan)
        manager_of(plan).add_web(plan["app"], plan["root"], plan["release"])
        with ThreadPoolExecutor(1) as pool:  # a release whose files are not on the disk must never be live
            flushed = pool.submit(releases.flush_all, plan["root"])
            _wait_until_right(plan, log, offset)
        flushed.result()
    except Exception as error:  # whatever it was, nothing of the new release may stay
        abandon(plan, str(error))
        raise
    return time.monotonic() - began


def abandon(plan: Plan, reason: str) -> None:
    """Stop the new release, which does not serve yet, and mark it bad."""
    agent.if_abandoned(None)
    manager = manager_of(plan)
    if releases.linked(plan["root"], "current") == plan["release"]:
        return
    with contextlib.suppress(Failed):
        _stop(plan, [_web(plan)], at_once=True)  # it answers nobody who would have to be waited for
    with contextlib.suppress(Failed):
        manager.settle(plan["app"])
    releases.mark_bad(plan["root"], plan["release"], reason)
    if releases.linked(plan["root"], "next") == plan["release"]:
        releases.unlink(f"{plan['root']}/next")


@agent.uninterrupted()
def switch(plan: Plan, among_others: bool) -> Switched:
    """Point ``current`` at the new release, with its background processes, and ask it through nginx.

    :param among_others: other hosts switch, too; go back where the deployer dies before it says stay().
    :raises Failed: the site does not answer rightly, and everything was switched back.
    """
    old = releases.linked(plan["root"], "current")
    releases.update(plan["root"], plan["release"], came_after=old)
    try:
        _switch(plan, old)
        answer = _ask_site(plan)
    except Exception as error:  # whatever it was, the old release must be live again
        try:
            back(plan, str(error))
        except Failed as worse:
            raise Failed(f"{describe(error)}\n  {worse.message}", worse.hint, needs_person=True) from error
        hint = error.hint if isinstance(error, Failed) else ""
        raise Failed(f"{describe(error)}\n  {_went_back(old)}", hint) from error
    if among_others:
        agent.if_abandoned(lambda: back(plan, GONE))
    else:
        _stay(plan)
    return {"old": old, "answer": plan["ask_site"]["status"], "seconds": answer["seconds"]}


@agent.uninterrupted()
def stay(plan: Plan) -> None:
    """Every host has switched: from here on there is no way back, and whoever is left alone finishes alone.

    :raises Failed: this host has decided to go back.
    """
    agent.refuse_when_ending()
    _stay(plan)


def _stay(plan: Plan) -> None:
    agent.if_abandoned(lambda: finish(plan, {"what": f"deploy, finished alone: {GONE}"}))


def _switch(plan: Plan, old: str | None) -> None:
    changed = old is None or not _same_site(plan, old)
    _choose_pool(plan, old)
    _stop_processes(plan, old)
    releases.link(plan["root"], "current", plan["release"])
    for name in plan["processes"]:
        manager_of(plan).add(_process(plan, name), plan["root"])
    if changed:
        nginx.reload()


def _choose_pool(plan: Plan, old: str | None) -> None:
    """Give the new release the other of nginx's two pools of kept connections, by a file that nginx looks for."""
    mark = f"{releases.directory(plan['root'], plan['release'])}/pool-b"
    if old is None or os.path.lexists(f"{releases.directory(plan['root'], old)}/pool-b"):
        releases.unlink(mark)
    else:
        releases.write_atomically(mark, b"")


@agent.uninterrupted()
def back(plan: Plan, reason: str) -> None:
    """Undo a switch: the old release, which still runs, is live again, and the new one is marked bad.

    One part that cannot be done keeps none of the others from being done.

    :raises Failed: not all is as it was before.
    """
    root = plan["root"]
    old = releases.read(root, plan["release"]).get("came_after")
    steps: list[Callable[[], object]] = []
    if releases.linked(root, "current") == plan["release"]:
        with contextlib.suppress(Failed):
            _stop(plan, [_process(plan, name) for name in plan["processes"]])
        steps.append(lambda: releases.link(root, "current", old) if old else releases.unlink(f"{root}/current"))
        if old is None or not _same_site(plan, old):
            steps.append(nginx.reload)
        steps.append(lambda: _drain(plan["address"], plan["drain"]))
    if old is not None:
        steps.append(lambda: _start_down(_plan_of(plan, old)))
    steps.append(lambda: abandon(plan, reason))
    if troubles := list(filter(None, map(_trouble, steps))):
        start = f"; on the host: sudo supervisorctl start {' '.join(_programs(_plan_of(plan, old)))}" if old else ""
        raise Failed(
            f"Not all could be switched back to {old or 'nothing, as before'}: {'; '.join(troubles)}",
            f"See what is down: fab status{start}",
            needs_person=True,
        )


def _trouble(step: Callable[[], object]) -> str:
    """Do something, and say why where it cannot be done."""
    try:
        step()
    except (Failed, OSError) as error:
        return describe(error)
    return ""


@agent.uninterrupted()
def finish(plan: Plan, facts: dict[str, Any]) -> Finished:
    """Mark the new release good, let the old one answer what it took, and stop it.

    Stopping a release that nobody asks any more, and pruning, are done once the deployer has its answer.

    :param facts: for the history: who, what.
    """
    agent.if_abandoned(None)
    root = plan["root"]
    release = releases.update(root, plan["release"], state="good", served=releases.now())
    if not _is_remembered(plan):
        releases.remember(root, plan["release"], **facts)
    if releases.linked(root, "next") == plan["release"]:
        releases.unlink(f"{root}/next")
    began, old = time.monotonic(), release.get("came_after")
    cut = 0 if old is None else _drain(releases.read(root, old).get("address") or "", plan["drain"])
    lock.finishing(plan["app"])
    agent.afterwards(lambda: _retire_others(plan, bool(cut)))
    return {"old": old, "drained": time.monotonic() - began, "cut": cut}


def _retire_others(plan: Plan, cut: bool) -> None:
    """Stop every program of the application that is not the live release's, and prune.

    :param cut: do not wait for the requests that still run: they had their time.
    """
    manager = manager_of(plan)
    others = [program["name"] for program in manager.of_app(plan["app"]) if not _belongs(program["name"], plan)]
    _stop(plan, others, at_once=cut)
    manager.settle(plan["app"])
    _kill_orphans(plan)
    environment.compiled()
    releases.prune(plan["root"], plan["keep"])
    source.tidy(plan["root"])


def clear(plan: Plan) -> list[str]:
    """Clear away what a cutover left that did not come to its end, whatever ended it.

    The release that ``current`` points to is the live one: it is brought up where it is down, and every
    program, process, link and directory that belongs to another is left over.

    :param plan: as for a cutover; its release does not matter.
    :returns: what was cleared away, in words.
    """
    root, manager = plan["root"], manager_of(plan)
    cleared: list[str] = nginx.ensure_running() + manager.ensure_running()
    current = releases.linked(root, "current")
    programs = manager.of_app(plan["app"])
    strangers = [p["name"] for p in programs if current is None or not _is_of(p["name"], plan["app"], current)]
    if strangers:
        _stop(plan, strangers)
        cleared.append(f"stopped {', '.join(strangers)}")
    manager.settle(plan["app"])
    cleared += [f"killed left-over process {pid}" for pid in _kill_orphans(plan)]
    folders = [manager.folder(), *(os.path.dirname(path) for path in nginx.place(plan["app"]) if path)]
    own = [f"{folder}/{plan['app']}" for folder in folders]  # another application may be in the middle of its own
    own.append(prepare.rotation(plan["app"]))
    cleared += [f"removed {path}" for path in releases.clear_temporary(root, *own)]
    cleared += [f"removed the unfinished release {name}" for name in releases.clear_unfinished(root)]
    cleared += _bring_up(_plan_of(plan, current)) if current else []
    if current is not None and releases.linked(root, "next") == current:
        releases.unlink(f"{root}/next")
    return cleared


def _plan_of(plan: Plan, name: str) -> Plan:
    """The same plan for a release that is on the host."""
    known = releases.read(plan["root"], name)
    return {**plan, "release": name, "address": known.get("address", ""), "processes": known.get("processes", [])}


def _bring_up(plan: Plan) -> list[str]:
    """Start what is down of the live release, and finish a cutover to it that was cut off after its rename."""
    cleared = [f"started {name}" for name in _start_down(plan)]
    if _is_remembered(plan):
        return cleared
    nginx.reload()
    try:
        _ask_site(plan)
    except Failed as failed:
        return [*cleared, f"{plan['release']} went live in a cutover that was cut off, and {failed.message}"]
    releases.update(plan["root"], plan["release"], state="good", served=releases.now())
    releases.remember(plan["root"], plan["release"], what="found live after a cutover that was cut off")
    return [*cleared, f"finished the cutover to {plan['release']}, which had been cut off"]


def _start_down(plan: Plan) -> list[str]:
    """Start what is down of a release; the names of what was started."""
    manager = manager_of(plan)
    up = {program["name"] for program in manager.of_app(plan["app"]) if manager.is_up(program)}
    if _web(plan) in up and not _has_socket(plan):
        _stop(plan, [_web(plan)])
        up.remove(_web(plan))
    down = [name for name in _programs(plan) if name not in up]
    for name in down:
        manager.add(name, plan["root"])
    return down


def _is_remembered(plan: Plan) -> bool:
    return bool((releases.history(plan["root"])[-1:] or [{}])[0].get("current") == plan["release"])


def runs(plan: Plan, name: str) -> bool:
    """Whether all programs of a release are up."""
    manager, wanted = manager_of(plan), _plan_of(plan, name)
    up = {program["name"] for program in manager.of_app(plan["app"]) if manager.is_up(program)}
    return _has_socket(wanted) and up >= set(_programs(wanted))


def _has_socket(plan: Plan) -> bool:
    """Whether the name of a release's socket is there, without which nobody reaches its server."""
    return not plan["address"].startswith("unix:") or os.path.exists(plan["address"][len("unix:") :])


def _kill_orphans(plan: Plan) -> list[int]:
    """End processes that run our releases and have lost the manager that started them, with all they started.

    One that runs the live release has been replaced by another, which has its socket's name: ended gracefully, it
    would take that name away.
    """
    found = set(_orphans(plan))
    live = f"{plan['root']}/releases/{releases.linked(plan['root'], 'current')}/"
    _end(plan, [pid for pid in found if not _place(pid).startswith(live)], signal.SIGTERM)
    end = time.monotonic() + ORPHAN_SECONDS
    while (left := _orphans(plan)) and time.monotonic() < end:
        found.update(left)
        _end(plan, left, signal.SIGKILL)
        time.sleep(PAUSE)
    return sorted(found)


def _end(plan: Plan, pids: Iterable[int], number: int) -> None:
    """Send a signal to processes and those they started, and to no other user's."""
    uid = pwd.getpwnam(plan["user"]).pw_uid
    if pids := list(pids):
        everything = killing.with_descendants(pids)
        killing.end(everything, lambda pid: killing.belongs_to(pid, uid), number, ORPHAN_SECONDS)


def _orphans(plan: Plan) -> list[int]:
    """The user's processes without a parent that are in a release, or that the manager or a session started."""
    uid, manager = pwd.getpwnam(plan["user"]).pw_uid, manager_of(plan)
    known = {program["pid"] for program in manager.of_app(plan["app"])}
    groups = [*(f"/{unit}.service" for unit in manager.SERVICES), f"/{cgroup.NAME}."]
    found = []
    for pid, parent in killing.parents().items():
        if parent == 1 and pid not in known and killing.belongs_to(pid, uid):
            with contextlib.suppress(OSError):
                group = killing.read(pid, "cgroup")
                if any(name in group for name in groups) or _place(pid).startswith(f"{plan['root']}/releases/"):
                    found.append(pid)
    return found


def _place(pid: int) -> str:
    """The directory that a process is in: its release's, unless it went elsewhere."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/cwd")
    return ""


def _wait_until_right(plan: Plan, log: str, offset: int) -> None:
    manager, question = manager_of(plan), plan["ask"]
    user = probe.web_user()
    end = time.monotonic() + question["timeout"]
    while True:
        left = max(end - time.monotonic(), 0.1)
        program = next((p for p in manager.programs() if p["name"] == _web(plan)), None)
        answer = probe.ask(plan["address"], user, question, left, program["pid"] if program else 0)
        if answer["status"] == question["status"]:
            return
        if program is None or manager.is_broken(program):
            what = f"the new release did not start ({program['detail'] if program else 'its program is gone'})"
            break
        if agent.is_ending():
            what = GONE
            break
        if time.monotonic() + PAUSE >= end:
            what = f"the new release did not become healthy within {question['timeout']:g} seconds"
            break
        # A status of the app's own may still change while it warms up, but not twenty times a second.
        time.sleep(PAUSE if answer["status"] is None else 0.25)
    raise Failed(
        f"{what}; nothing was switched: {probe.describe(question, answer)}{process.quote(tail(log, offset))}",
        "The lines above are the answer and the end of its log; mend it, commit, and deploy again.",
    )


def _ask_site(plan: Plan) -> probe.Answer:
    """Ask through nginx; a reload takes a moment, so for a few seconds a wrong answer is not the last word."""
    question = plan["ask_site"]
    end = time.monotonic() + 5
    while True:
        answer = probe.ask(f"127.0.0.1:{plan['port']}", None, question, question["timeout"], to_the_end=True)
        if answer["status"] == question["status"]:
            return answer
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    lines = tail(f"{plan['root']}/logs/nginx-error.log", 0)[-3:]
    raise Failed(
        f"the site does not answer through nginx: {probe.describe(question, answer)}{process.quote(lines)}",
        "Look at health: and site: in the settings, and at: fab logs",
    )


def _drain(address: str, patience: float) -> int:
    """Wait until nothing waits at a listening socket and nobody is connected to it any more.

    :returns: how many requests were left when the time was up.
    """
    end = time.monotonic() + patience
    while (left := waiting(address)) and time.monotonic() < end:
        time.sleep(PAUSE)
    return left


def waiting(address: str) -> int:
    """How many connections wait in the accept queue of a socket, or are open to it."""
    if not address:
        return 0
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        found = process.run(["ss", "-Hxa", "src", path], keep=None).lines
        lines = [line for line in found if f" {path} " in f"{line} "]
    else:
        lines = process.run(["ss", "-Hta", "sport", "=", f":{address.rpartition(':')[2]}"], keep=None).lines
    total = 0
    for line in lines:
        fields = line.split()
        state = fields[1] if address.startswith("unix:") else fields[0]
        queued = int(fields[2] if address.startswith("unix:") else fields[1])
        total += queued if state == "LISTEN" else state == "ESTAB"
    return total


def _stop_processes(plan: Plan, old: str | None) -> None:
    """Stop the old release's background processes before the new ones start: never two of them at once."""
    prefix = f"{plan['app']}-{old}-"
    _stop(plan, [p["name"] for p in manager_of(plan).of_app(plan["app"]) if old and p["name"].startswith(prefix)])


def _stop(plan: Plan, names: list[str], at_once: bool = False) -> None:
    manager_of(plan).stop(names, plan["root"], plan["user"], at_once)


def _went_back(old: str | None) -> str:
    return f"Switched back: {old} is live." if old else "It was the first release: nothing is live, as before."


def _same_site(plan: Plan, old: str) -> bool:
    """Whether nginx need not read anything new."""
    paths = [f"{releases.directory(plan['root'], name)}/config/nginx.conf" for name in (old, plan["release"])]
    with contextlib.suppress(OSError), open(paths[0], "rb") as one, open(paths[1], "rb") as two:
        return one.read() == two.read()
    return False


def _clear_address(plan: Plan) -> None:
    """Make sure that who answers at the release's address is the release.

    It may have run before and left its socket's name behind, where nothing listens; at a port, any other
    program may listen, and would be taken for a healthy release.
    """
    if any(p["name"] == _web(plan) for p in manager_of(plan).programs()):
        return
    kind, _, rest = plan["address"].rpartition(":")
    if kind == "unix":
        with contextlib.suppress(FileNotFoundError):
            os.unlink(rest)
    elif others := process.listeners(int(rest)):
        raise Failed(
            f"port {rest} is taken by {', '.join(others)}; nothing was switched",
            f"Stop it, or choose another web.bind. Look at it: ss -ltnp sport = :{rest}",
        )


def tail(path: str, offset: int, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log, from a position on that was its end a while ago."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset if offset <= size else 0, size - LOG_BYTES))
            return file.read(LOG_BYTES).decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _log(plan: Plan, name: str) -> str:
    return f"{plan['root']}/logs/{name}.log"


def _web(plan: Plan) -> str:
    return f"{plan['app']}-{plan['release']}"


def _process(plan: Plan, name: str) -> str:
    return f"{_web(plan)}-{name}"


def _programs(plan: Plan) -> list[str]:
    """The names of a release's programs."""
    return [_web(plan), *(_process(plan, name) for name in plan["processes"])]


def _belongs(program: str, plan: Plan) -> bool:
    return _is_of(program, plan["app"], plan["release"])


def _is_of(program: str, app: str, release: str) -> bool:
    return re.fullmatch(rf"{re.escape(app)}-{re.escape(release)}(-.*)?", program) is not None
