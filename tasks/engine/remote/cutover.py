"""The cutover: the new release beside the old, probed, switched to by one rename, the old one drained.

Each function is one phase, so that several hosts can wait for each other between two of them:
start, switch, finish; abandon and back are the ways out. Nothing is kept in memory from one to the next.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
import re
import signal
import time
from typing import Any, TypedDict

from . import agent, lock, nginx, probe, process, releases
from .failure import Failed, describe

PAUSE = 0.02
LOG_LINES = 15
LOG_BYTES = 8000
GONE = "the deployer went away"


class Plan(TypedDict):
    """What a cutover needs to know; the same for every phase on one host.

    ``address`` is what the new release's server binds, ``processes`` names its background processes,
    ``ask`` is put to the application itself, ``ask_site`` to nginx on ``port``. ``stop`` is in seconds.
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
    stop: float
    keep: int


class Switched(TypedDict):
    """``old`` is the release that was live; ``answer`` and ``seconds`` are the site's through nginx."""

    old: str | None
    answer: int
    seconds: float


class Finished(TypedDict):
    """``drained`` is in seconds; ``cut`` says that requests were still open when the time was up."""

    old: str | None
    drained: float
    cut: bool


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
        _clear_socket(plan)
        manager_of(plan).add_web(plan["app"], _directory(plan))
        _wait_until_right(plan, log, offset)
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
        manager.stop([_web(plan)], plan["stop"])
    with contextlib.suppress(Failed):
        manager.settle(plan["app"])
    releases.mark_bad(plan["root"], plan["release"], reason)
    if releases.linked(plan["root"], "next") == plan["release"]:
        releases.unlink(f"{plan['root']}/next")


@agent.uninterrupted()
def switch(plan: Plan) -> Switched:
    """Point ``current`` at the new release, with its background processes, and ask it through nginx.

    :raises Failed: the site does not answer rightly, and everything was switched back.
    """
    old = releases.linked(plan["root"], "current")
    releases.update(plan["root"], plan["release"], came_after=old)
    try:
        _switch(plan, old)
        answer = _ask_site(plan)
    except Exception as error:  # whatever it was, the old release must be live again
        back(plan, str(error))
        hint = error.hint if isinstance(error, Failed) else ""
        raise Failed(f"{describe(error)}\n  {_went_back(old)}", hint) from error
    agent.if_abandoned(lambda: finish(plan, {"what": f"deploy, finished alone: {GONE}"}))
    return {"old": old, "answer": plan["ask_site"]["status"], "seconds": answer["seconds"]}


def _switch(plan: Plan, old: str | None) -> None:
    changed = old is None or not _same_site(plan, old)
    _choose_pool(plan, old)
    _stop_processes(plan, old)
    releases.link(plan["root"], "current", plan["release"])
    for name in plan["processes"]:
        manager_of(plan).add_process(plan["app"], _directory(plan), name)
    if changed:
        nginx.reload()


def _choose_pool(plan: Plan, old: str | None) -> None:
    """Give the new release the other of nginx's two pools of kept connections, by a file that nginx looks for."""
    mark = f"{_directory(plan)}/pool-b"
    if old is None or os.path.lexists(f"{releases.directory(plan['root'], old)}/pool-b"):
        releases.unlink(mark)
    else:
        releases.write_atomically(mark, b"")


@agent.uninterrupted()
def back(plan: Plan, reason: str) -> None:
    """Undo a switch: the old release, which still runs, is live again, and the new one is marked bad."""
    root, manager = plan["root"], manager_of(plan)
    old = releases.read(root, plan["release"]).get("came_after")
    if releases.linked(root, "current") == plan["release"]:
        with contextlib.suppress(Failed):
            manager.stop([_process(plan, name) for name in plan["processes"]], plan["stop"])
        changed = old is None or not _same_site(plan, old)
        if old is None:
            releases.unlink(f"{root}/current")
        else:
            releases.link(root, "current", old)
        if changed:
            nginx.reload()
        _drain(plan["address"], plan["stop"])
    _start_processes_of(plan, old)
    abandon(plan, reason)


@agent.uninterrupted()
def finish(plan: Plan, facts: dict[str, Any]) -> Finished:
    """Mark the new release good, let the old one answer what it took, and stop it.

    Stopping a release that nobody asks any more, and pruning, are done once the deployer has its answer.

    :param facts: for the history: who, what.
    """
    agent.if_abandoned(None)
    root = plan["root"]
    release = releases.update(root, plan["release"], state="good", served=releases.now())
    if (releases.history(root)[-1:] or [{}])[0].get("current") != plan["release"]:
        releases.remember(root, plan["release"], **facts)
    if releases.linked(root, "next") == plan["release"]:
        releases.unlink(f"{root}/next")
    began, old = time.monotonic(), release.get("came_after")
    quiet = old is None or _drain(releases.read(root, old).get("address") or "", plan["stop"])
    lock.finishing(plan["app"])
    agent.afterwards(lambda: _retire_others(plan))
    return {"old": old, "drained": time.monotonic() - began, "cut": not quiet}


def _retire_others(plan: Plan) -> None:
    """Stop every program of the application that is not the live release's, and prune."""
    manager = manager_of(plan)
    others = [program["name"] for program in manager.of_app(plan["app"]) if not _belongs(program["name"], plan)]
    manager.stop(others, plan["stop"] + 5)
    manager.settle(plan["app"])
    releases.prune(plan["root"], plan["keep"])


def clear(app: str, root: str, manager_name: str) -> list[str]:
    """Clear away what a cutover left that did not come to its end, whatever ended it.

    The release that ``current`` points to is the live one, and every program, process, link and directory
    that belongs to another is left over.

    :returns: what was cleared away, in words.
    """
    manager = importlib.import_module(f"fabrelease.tasks.managers.{manager_name}")
    current, cleared = releases.linked(root, "current"), []
    programs = manager.of_app(app)
    strangers = [p["name"] for p in programs if current is None or not _is_of(p["name"], app, current)]
    if strangers:
        manager.stop(strangers, 60)
        cleared.append(f"stopped {', '.join(strangers)}")
    manager.settle(app)
    cleared += [f"killed left-over process {pid}" for pid in _kill_orphans(root, {p["pid"] for p in programs})]
    cleared += [f"removed {path}" for path in _clear_links(root)]
    if current is not None and (releases.history(root)[-1:] or [{}])[0].get("current") != current:
        releases.remember(root, current, what="found live after a broken cutover")
        releases.update(root, current, state="good")
    return cleared


def runs(app: str, manager_name: str, release: str) -> bool:
    """Whether a release's web program is running."""
    manager = importlib.import_module(f"fabrelease.tasks.managers.{manager_name}")
    return any(p["name"] == f"{app}-{release}" and manager.is_up(p) for p in manager.of_app(app))


def _clear_links(root: str) -> list[str]:
    """Temporary links that a rename never reached."""
    found = [
        path
        for name in ("next", "current")
        for path in glob.glob(f"{glob.escape(root)}/{name}.*.*")
        if os.path.islink(path)
    ]
    for path in found:
        os.unlink(path)
    return found


def _kill_orphans(root: str, known: set[int]) -> list[int]:
    """End processes that run code of our releases and have lost the manager that started them."""
    orphans = [pid for pid, parent in _processes_of(root).items() if parent == 1 and pid not in known]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + 5
        while time.monotonic() < end and any(os.path.isdir(f"/proc/{pid}") for pid in orphans):
            time.sleep(PAUSE)
    return orphans


def _processes_of(root: str) -> dict[int, int]:
    """The processes whose working directory or program lies in our releases, with their parents."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if os.readlink(f"/proc/{entry}/cwd").startswith(f"{root}/releases/"):
                    with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                        found[int(entry)] = int(file.read().rsplit(")", 1)[1].split()[1])
    return found


def _wait_until_right(plan: Plan, log: str, offset: int) -> None:
    manager, question = manager_of(plan), plan["ask"]
    user = probe.web_user()
    end = time.monotonic() + question["timeout"]
    while True:
        left = max(end - time.monotonic(), 0.1)
        answer = probe.ask(plan["address"], user, question, left)
        if answer["status"] == question["status"]:
            return
        program = next((p for p in manager.programs() if p["name"] == _web(plan)), None)
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
        answer = probe.ask(f"127.0.0.1:{plan['port']}", None, question, question["timeout"])
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


def _drain(address: str, patience: float) -> bool:
    """Wait until nothing waits at a listening socket and nobody is connected to it any more.

    :returns: False where the time was up before.
    """
    end = time.monotonic() + patience
    while waiting(address):
        if time.monotonic() > end:
            agent.output(
                f"the old release still has {waiting(address)} open requests after {patience:g} seconds: they are cut"
            )
            return False
        time.sleep(PAUSE)
    return True


def waiting(address: str) -> int:
    """How many connections wait in the accept queue of a socket, or are open to it."""
    if not address:
        return 0
    if address.startswith("unix:"):
        path = address[len("unix:") :]
        lines = [line for line in process.run(["ss", "-Hxa", "src", path]).lines if f" {path} " in f"{line} "]
    else:
        lines = process.run(["ss", "-Hta", "sport", "=", f":{address.rpartition(':')[2]}"]).lines
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
    names = [p["name"] for p in manager_of(plan).of_app(plan["app"]) if old and p["name"].startswith(prefix)]
    manager_of(plan).stop(names, plan["stop"])


def _start_processes_of(plan: Plan, old: str | None) -> None:
    if old is not None:
        for name in releases.read(plan["root"], old).get("processes", []):
            manager_of(plan).add_process(plan["app"], releases.directory(plan["root"], old), name)


def _went_back(old: str | None) -> str:
    return f"Switched back: {old} is live." if old else "It was the first release: nothing is live, as before."


def _same_site(plan: Plan, old: str) -> bool:
    """Whether nginx need not read anything new."""
    paths = [f"{releases.directory(plan['root'], name)}/config/nginx.conf" for name in (old, plan["release"])]
    with contextlib.suppress(OSError), open(paths[0], "rb") as one, open(paths[1], "rb") as two:
        return one.read() == two.read()
    return False


def _clear_socket(plan: Plan) -> None:
    """A release that ran before may have left its socket's name behind; nothing listens there."""
    path = plan["address"][len("unix:") :] if plan["address"].startswith("unix:") else ""
    if path and not any(p["name"] == _web(plan) for p in manager_of(plan).programs()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def tail(path: str, offset: int, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log, from a position on that was its end a while ago."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset if offset <= size else 0, size - LOG_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _log(plan: Plan, name: str) -> str:
    return f"{plan['root']}/logs/{name}.log"


def _directory(plan: Plan) -> str:
    return releases.directory(plan["root"], plan["release"])


def _web(plan: Plan) -> str:
    return f"{plan['app']}-{plan['release']}"


def _process(plan: Plan, name: str) -> str:
    return f"{_web(plan)}-{name}"


def _belongs(program: str, plan: Plan) -> bool:
    return _is_of(program, plan["app"], plan["release"])


def _is_of(program: str, app: str, release: str) -> bool:
    return re.fullmatch(rf"{re.escape(app)}-{re.escape(release)}(-.*)?", program) is not None
