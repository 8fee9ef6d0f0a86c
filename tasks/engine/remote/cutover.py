"""The cutover: the new release beside the old, probed, switched to by one rename, the old one drained.

Each function is one phase, so that several hosts can wait for each other between two of them: start, switch, watch,
commit, finish; abandon and undo are the ways out. Nothing is kept in memory from one to the next.
Among several hosts it is a two-phase commit that presumes abort (Mohan, Lindsay, Obermarck 1986): who has not heard
that all have switched goes back.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypedDict

from . import agent, kinds, logs, maintenance, probe, process, releases, scaling, sockets, times
from .application import Application, Unit
from .drivers import Program
from .failure import Failed, describe, kind_of
from .machine import HOST, Machine, Programs, managers_of, units_of
from .probe import Answer, Endpoint

PAUSE = 0.02
WARMING_SECONDS = 0.25  # between two questions to an application that answers, though not as it should yet
WATCHING_SECONDS = 1  # between two questions to a site before other hosts switch
SITE_SECONDS = 5  # that the site may answer wrongly after a switch
GONE = "the deployer went away"


@dataclass(frozen=True)
class Cutover:
    """One change of release; the same for every phase on one host.

    :ivar release: the id of the one to go live.
    :ivar app: what to ask the release itself; its address is the release's own. None where it has no server.
    :ivar site: what to ask through the proxy; None where there is none.
    :ivar drain: seconds that running requests of the old release get.
    """

    application: Application
    release: str
    app: Endpoint | None
    site: Endpoint | None
    drain: float


class Switched(TypedDict):
    """``old`` is the release that was live; ``answer`` and ``seconds`` are those of the site, where there is one."""

    old: str | None
    answer: int | None
    seconds: float


class Finished(TypedDict):
    """``drained`` is in seconds; of the connections that were open then, ``kept`` go on while the old release stops,
    and ``cut`` do not."""

    old: str | None
    drained: float
    kept: int
    cut: int


@agent.uninterrupted()
def start(cutover: Cutover, machine: Machine = HOST) -> float:
    """Start the new release's web server, where it has one, beside the old one, and ask it until it answers rightly.

    :returns: seconds until it did.
    :raises Failed: it did not; it is stopped and marked bad, and what is live was not touched.
    """
    began, root = machine.clock.monotonic(), cutover.application.root
    programs = Programs(machine, cutover.application, cutover.release)
    log = programs.log()
    machine.session.if_abandoned(lambda: abandon(cutover, GONE, machine))
    try:
        if cutover.site:
            machine.proxy.admit(cutover.application, cutover.release)
        with ThreadPoolExecutor(1) as pool:  # a release whose files are not on the disk must never be live
            flushed = pool.submit(machine.flush, root)
            if programs.web and cutover.app:
                _start_serving(programs, programs.web, machine)
                endpoint = cutover.app.at(programs.address, programs.web.speaks)
                _wait_until_right(endpoint, programs, log, machine)
        flushed.result()
        if programs.web:
            scaling.keep(programs, programs.web)
    except Exception as error:  # whatever it was, nothing of the new release may stay
        abandon(cutover, str(error), machine)
        raise
    return machine.clock.monotonic() - began


def _start_serving(programs: Programs, web: Unit, machine: Machine) -> None:
    if programs.state() is None:
        machine.sockets.clear(programs.address)
    programs.start([web])


def abandon(cutover: Cutover, reason: str, machine: Machine = HOST) -> None:
    """Stop the new release, which does not serve yet, and mark it bad."""
    machine.session.if_abandoned(None)
    root = cutover.application.root
    if releases.linked(root, "current") == cutover.release:
        return
    programs = Programs(machine, cutover.application, cutover.release)
    with contextlib.suppress(Failed):
        programs.stop(_serving(programs), at_once=True)  # it answers nobody who would have to be waited for
    with contextlib.suppress(Failed):
        forget_next(cutover.application, machine)
    releases.mark_bad(root, cutover.release, reason)
    if releases.linked(root, "next") == cutover.release:
        releases.unlink(f"{root}/next")
    with contextlib.suppress(Failed):
        machine.proxy.tidy(cutover.application)


def _serving(programs: Programs) -> list[Unit]:
    return [programs.web] if programs.web else []


@agent.uninterrupted()
def switch(cutover: Cutover, among_others: bool, machine: Machine = HOST) -> Switched:
    """Point ``current`` at the new release, with its background processes, and ask it through nginx.

    :param among_others: other hosts switch, too; go back where the deployer dies before it says commit().
    :raises Failed: the site does not answer rightly, and everything was switched back.
    """
    root = cutover.application.root
    old = releases.linked(root, "current")
    releases.update(root, cutover.release, came_after=old)
    try:
        _switch(cutover, old, machine)
        answer = ask_site(cutover.application, cutover.site, machine) if cutover.site else None
    except Exception as error:  # whatever it was, the old release must be live again
        raise _undone(cutover, error, machine) from error
    if among_others:
        machine.session.if_abandoned(lambda: undo(cutover, GONE, machine))
    else:
        _commit(cutover, machine)
    return {"old": old, "answer": answer and answer["status"], "seconds": answer["seconds"] if answer else 0.0}


def watch(cutover: Cutover, seconds: float, machine: Machine = HOST) -> None:
    """Ask through nginx for a while after a switch, before other hosts switch.

    :raises Failed: the site does not answer rightly any more, and everything was switched back.
    """
    clock = machine.clock
    end = clock.monotonic() + seconds
    try:
        while (left := end - clock.monotonic()) > 0 and not machine.session.is_ending():
            clock.sleep(min(left, WATCHING_SECONDS))
            if cutover.site:
                ask_site(cutover.application, cutover.site, machine)
    except Exception as error:  # whatever it was, the old release must be live again
        raise _undone(cutover, error, machine) from error


def _undone(cutover: Cutover, error: Exception, machine: Machine) -> Failed:
    """Undo a switch for a reason; what to tell about both."""
    old = releases.read(cutover.application.root, cutover.release).get("came_after")
    try:
        undo(cutover, str(error), machine)
    except Failed as worse:
        return Failed(kinds.NOT_SWITCHED_BACK, f"{describe(error)}\n  {worse.message}", worse.hint, needs_person=True)
    return Failed(
        kind_of(error), f"{describe(error)}\n  {_went_back(old)}", error.hint if isinstance(error, Failed) else ""
    )


@agent.uninterrupted()
def commit(cutover: Cutover, machine: Machine = HOST) -> None:
    """Every host has switched: from here on there is no way back, and whoever is left alone finishes alone.

    :raises Failed: this host has decided to go back.
    """
    machine.session.refuse_when_ending()
    _commit(cutover, machine)


def _commit(cutover: Cutover, machine: Machine) -> None:
    machine.session.if_abandoned(
        lambda: finish(cutover, {"what": f"deploy, finished alone: {GONE}"}, machine),
    )


def _switch(cutover: Cutover, old: str | None, machine: Machine) -> None:
    root = cutover.application.root
    changed = not _same_site(cutover, old)
    programs = Programs(machine, cutover.application, cutover.release)
    _choose_pool(cutover, old)
    if old is not None:  # never two of one background process at once
        before = Programs(machine, cutover.application, old)
        before.stop(before.background)
        sockets.bridge(
            *(releases.directory(root, old), before.address),
            *(releases.directory(root, cutover.release), programs.address),
        )
    releases.link_older(root, old)
    releases.link(root, "current", cutover.release)
    programs.start(programs.background)
    machine.schedule.follow(cutover.application)
    if changed:
        machine.proxy.reload()
        releases.update(root, cutover.release, unread=False)


def _choose_pool(cutover: Cutover, old: str | None) -> None:
    """Give the new release the other of nginx's two pools of kept connections, by a file that nginx looks for."""
    root = cutover.application.root
    mark = f"{releases.directory(root, cutover.release)}/pool-b"
    if old is None or os.path.lexists(f"{releases.directory(root, old)}/pool-b"):
        releases.unlink(mark)
    else:
        releases.write_atomically(mark, b"")


@agent.uninterrupted()
def undo(cutover: Cutover, reason: str, machine: Machine = HOST) -> None:
    """Undo a switch: the old release, which still runs, is live again, and the new one is marked bad.

    One part that cannot be done keeps none of the others from being done.

    :raises Failed: not all is as it was before.
    """
    application, root = cutover.application, cutover.application.root
    old = releases.read(root, cutover.release).get("came_after")
    programs = Programs(machine, application, cutover.release)
    steps: list[Callable[[], object]] = []
    if releases.linked(root, "current") == cutover.release:
        with contextlib.suppress(Failed):
            programs.stop(programs.background)
        steps.append(lambda: releases.link(root, "current", old) if old else releases.unlink(f"{root}/current"))
        steps.append(lambda: releases.link_older(root, None))
        if not _same_site(cutover, old):
            steps.append(machine.proxy.reload)
        steps.append(lambda: _let_end(programs, cutover.drain, machine))
    before = Programs(machine, application, old) if old else None
    steps.append(lambda: machine.schedule.follow(application))
    if before:
        steps.append(before.start_down)
    steps.append(lambda: abandon(cutover, reason, machine))
    if troubles := list(filter(None, map(_trouble, steps))):
        start_by_hand = f"; on the host: {before.start_command}" if before else ""
        raise Failed(
            kinds.NOT_SWITCHED_BACK,
            f"Not all could be switched back to {old or 'nothing, as before'}: {'; '.join(troubles)}",
            f"See what is down: fab status{start_by_hand}",
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
def finish(cutover: Cutover, facts: dict[str, Any], machine: Machine = HOST) -> Finished:
    """Mark the new release good, let the old one answer what it took, and stop it.

    Stopping a release that nobody asks any more, pruning, and compiling a new environment are done once the deployer
    has its answer.

    :param facts: for the history: who, what.
    :raises Failed: it is live, and cannot be written down as such; the old release runs on.
    """
    machine.session.if_abandoned(None)
    application = cutover.application
    began, old = machine.clock.monotonic(), _write_down(cutover, facts).get("came_after")
    before = Programs(machine, application, old) if old else None
    left = _drain(before, cutover.drain, machine) if before else 0
    finishes = before is not None and before.finishes
    machine.finishing(application.name)
    machine.session.afterwards(lambda: _retire_others(cutover, bool(left) and not finishes, machine))
    machine.session.afterwards(lambda: machine.compile(application, cutover.release))
    drained = machine.clock.monotonic() - began
    return {"old": old, "drained": drained, "kept": left if finishes else 0, "cut": 0 if finishes else left}


def _write_down(cutover: Cutover, facts: dict[str, Any]) -> releases.Release:
    """Mark the new release good, and the change of release in the history.

    :raises Failed: the disk takes nothing more. Then fab must not end as if the old release were live.
    """
    root = cutover.application.root
    try:
        release = releases.update(root, cutover.release, state="good", served=times.utc())
        if not releases.is_remembered(root, cutover.release):
            releases.remember(root, cutover.release, **facts)
        if releases.linked(root, "next") == cutover.release:
            releases.unlink(f"{root}/next")
    except OSError as error:
        raise Failed(
            kind_of(error),
            f"{cutover.release} is live, but this cannot be written down, and the release before it runs on beside "
            f"it: {describe(error)}",
            f"Make room below {root} (df -h {root}), then: fab deploy, which clears up.",
            needs_person=True,
        ) from error
    return release


def _retire_others(cutover: Cutover, cut: bool, machine: Machine) -> None:
    """Stop every program of the application that is not the live release's, and prune.

    :param cut: do not wait for the requests that still run: they had their time.
    """
    application = cutover.application
    stop_others(application, cutover.release, machine, at_once=cut)
    forget_next(application, machine)
    end_orphans(application, cutover.release, machine)
    releases.prune(application.root, application.keep_releases, machine.schedule.in_use(application))
    machine.proxy.tidy(application)
    machine.forget_old_sources(application.root)


def stop_others(application: Application, live: str | None, machine: Machine, at_once: bool = False) -> list[str]:
    """Stop the programs that are not the live release's, whoever manages them; their names."""
    stopped = []
    for manager in map(machine.manager, managers_of(application)):
        units = [
            unit
            for program in manager.programs(application)
            if (unit := _unit(application, program.name)) and live != releases.of_program(program.name)
        ]
        if units:
            manager.stop(application, units, at_once)
        stopped += [unit.name for unit in units]
    return stopped


def _unit(application: Application, name: str) -> Unit | None:
    """What is known about a program of a release by its name; None where the name is no release's."""
    release = releases.of_program(name)
    if release is None:
        return None
    known = units_of(releases.read(application.root, release))
    unknown = Unit(name, "", [], application.user, "/", "", releases.STOP_SECONDS)
    return next((unit for unit in known if unit.name == name), unknown)


def forget_next(application: Application, machine: Machine) -> None:
    """Have all managers drop what only a running cutover needs."""
    for manager in map(machine.manager, managers_of(application)):
        manager.forget_next(application)


def end_orphans(application: Application, live: str | None, machine: Machine) -> list[int]:
    """End the processes that no manager knows any more; see orphans.end."""
    managers = [machine.manager(name) for name in managers_of(application)]
    return machine.orphans.end(
        application,
        live,
        lambda group: any(manager.has_started(group) for manager in managers),
        lambda: {program.pid for manager in managers for program in manager.programs(application)},
    )


def _wait_until_right(endpoint: Endpoint, programs: Programs, log: logs.Log, machine: Machine) -> None:
    clock = machine.clock
    end = clock.monotonic() + endpoint.timeout
    while True:
        program, answer = _ask(programs, endpoint, max(end - clock.monotonic(), 0.1), machine)
        if answer["status"] == endpoint.status:
            return
        if program is None or program.is_broken:
            what = f"the new release did not start ({program.detail if program else 'its program is gone'})"
            break
        if machine.session.is_ending():
            what = GONE
            break
        if clock.monotonic() + PAUSE >= end:
            what = f"the new release did not become healthy within {endpoint.timeout:g} seconds"
            break
        clock.sleep(PAUSE if answer["status"] is None else WARMING_SECONDS)
    raise Failed(
        kinds.UNHEALTHY,
        f"{what}; nothing was switched: {probe.describe(endpoint, answer)}{process.quote(logs.telling(log.lines()))}",
        "The lines above are the answer and what its log says; mend it, commit, and deploy again.",
    )


def _ask(
    programs: Programs, endpoint: Endpoint, timeout: float, machine: Machine
) -> tuple[Program | None, Answer]:
    """Ask a release; how its program is, and its answer.

    A socket that the manager holds goes on taking questions while what should answer them dies: then it is closed.
    """
    program = programs.state()
    pid = (program.listener or program.pid) if program else 0
    if not (programs.web and programs.web.activated):
        return program, machine.ask(endpoint, timeout, pid)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(machine.ask, endpoint, timeout, pid)
        while not asked.done():
            program = programs.state()
            if program is None or program.is_broken:
                programs.stop(_serving(programs), at_once=True)
                break
            machine.clock.sleep(PAUSE)
        return program, asked.result()


def ask_site(application: Application, endpoint: Endpoint, machine: Machine) -> Answer:
    """Ask through nginx; a reload takes a moment, so for a few seconds a wrong answer is not the last word.

    :raises Failed: it goes on answering wrongly.
    """
    end = machine.clock.monotonic() + SITE_SECONDS
    while True:
        answer = machine.proxy.ask(maintenance.passing(application.root, endpoint))
        if answer["status"] == endpoint.status:
            return answer
        if machine.clock.monotonic() > end:
            break
        machine.clock.sleep(0.1)
    lines = logs.Tail(f"{application.root}/logs/nginx-error.log", 0).lines()[-3:]
    raise Failed(
        kinds.SITE_UNHEALTHY,
        f"the site does not answer through nginx: {probe.describe(endpoint, answer)}{process.quote(lines)}",
        "Look at health: and site: in the settings, and at: fab logs",
    )


def _drain(programs: Programs, patience: float, machine: Machine) -> int:
    """Wait until nothing waits at the socket of a release and nobody is connected to it any more.

    Where its server goes on with connections once it is told to stop, the open ones are not waited for that long: one
    may never end, and its client is told to come back by the server, not by us. The queue is waited for all the same:
    nobody would answer what stands in it.

    :param patience: seconds.
    :returns: how many connections were left.
    """
    began = machine.clock.monotonic()
    while (left := machine.sockets.connections(programs.address)).all:
        waited = machine.clock.monotonic() - began
        if waited >= patience or (programs.finishes and not left.queued and waited >= programs.linger):
            break
        machine.clock.sleep(PAUSE)
    return left.all


def _let_end(programs: Programs, patience: float, machine: Machine) -> None:
    """Let a release that is not asked any more answer what it has taken."""
    if _drain(programs, patience, machine) and programs.finishes:
        programs.stop(_serving(programs))


def _went_back(old: str | None) -> str:
    return f"Switched back: {old} is live." if old else "It was the first release: nothing is live, as before."


def _same_site(cutover: Cutover, old: str | None) -> bool:
    """Whether nginx need not read anything new."""
    root = cutover.application.root
    if releases.read(root, cutover.release).get("unread"):  # a domain's own file is none of the release's
        return False
    return (_site(root, old) if old else {}) == _site(root, cutover.release)


def _site(root: str, release: str) -> dict[str, bytes]:
    """What nginx reads of a release; one of the version before has all in one file."""
    config = glob.escape(f"{releases.directory(root, release)}/config")
    paths = [path for name in ("nginx.conf", "http.conf", "sites/*.conf") for path in glob.glob(f"{config}/{name}")]
    found = {}
    for path in paths:
        with open(path, "rb") as file:
            found[path.partition("/config/")[2]] = file.read()
    return found
