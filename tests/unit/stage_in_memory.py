"""A stage of hosts in memory: what a deployer calls on them is done there by the real phases of the cutover."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fabrelease.tasks.engine import roles
from fabrelease.tasks.engine.change import Change
from fabrelease.tasks.engine.errors import Error, HostError, HostErrors
from fabrelease.tasks.engine.remote import hooks, kinds, releases, wire
from fabrelease.tasks.engine.remote.failure import Failed
from fabrelease.tasks.engine.rollout import Phase, together
from fabrelease.tasks.engine.session import RemoteCall, reference
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings
from .hosts_in_memory import Host, cutover_to, deploy, next_command

T = TypeVar("T")
OLD, NEW, LATER = "20260101T000000Z-1111111", "20260102T000000Z-2222222", "20260103T000000Z-3333333"
Trouble = Callable[["Remote", str], None]


class DeployerDied(BaseException):
    """The machine that a person typed the command on is gone."""


class Calls:
    """What was called on which host, in its order.

    :ivar dies_after: how many calls; None for never.
    """

    def __init__(self) -> None:
        self.made: list[str] = []
        self.dies_after: int | None = None

    def note(self, what: str) -> None:
        if self.dies_after is not None and len(self.made) >= self.dies_after:
            raise DeployerDied
        self.made.append(what)


class Remote:
    """A host of a stage as a deployer sees it: calls go to a host in memory.

    :ivar before: trouble that comes before a function runs, by the function's name.
    :ivar after: the same, when it has run and before its answer arrives.
    :ivar said: what the person is told.
    """

    def __init__(self, name: str, host: Host, settings: Settings, calls: Calls) -> None:
        self.name, self.host, self.settings, self.calls = name, host, settings, calls
        self.before: dict[str, Trouble] = {}
        self.after: dict[str, Trouble] = {}
        self.said: list[str] = []
        self.next: releases.Release | None = None

    def __repr__(self) -> str:
        return self.name

    @property
    def live(self) -> releases.Release:
        return {"id": OLD}

    def call(self, function: Callable[..., T], *args: Any) -> T:
        results: list[T] = []
        self._request([RemoteCall(reference(function, *args), results.append)])
        return results[0]

    def run(self, steps: Sequence[RemoteCall]) -> None:
        self._request(steps)

    def _request(self, steps: Sequence[RemoteCall]) -> None:
        """One round trip."""
        names = [step.call["function"].rpartition(":")[2] for step in steps]
        self.calls.note(f"{self.name} {' '.join(names)}")
        for name, step in zip(names, steps, strict=True):
            self.suffer(self.before, name)
            value = self._do(step.call)
            self.suffer(self.after, name)
            step.then(value)
        self.host.session.answered()

    def suffer(self, troubles: dict[str, Trouble], name: str) -> None:
        if name in troubles:
            troubles.pop(name)(self, name)
        if self.host.session.is_over:
            raise HostError(kinds.CONNECTION_LOST, self.name, "the session was lost, or given up by the host")

    def _do(self, call: wire.Call) -> Any:
        module, name = call["function"].split(":")
        function = getattr(importlib.import_module(module), name)
        if function is hooks.run:
            return None
        wants_machine = "machine" in inspect.signature(function).parameters
        more = {"machine": self.host.machine} if wants_machine else {}
        try:
            return function(*wire.decode(call["args"]), **wire.decode(call["kwargs"]), **more)
        except Failed as failed:
            raise HostError(failed.kind, self.name, failed.message, failed.hint, failed.needs_person) from failed

    def say(self, step: str, text: str, style: str = "") -> None:
        self.said.append(f"{step}: {text}")

    def forget(self) -> None:
        pass

    def close(self) -> None:
        self.host.session.abandoned()


def is_lost(remote: Remote, name: str) -> None:
    """The connection breaks, or the link stalls for so long that the host gives the session up."""
    remote.host.session.abandoned()


def fails(remote: Remote, name: str) -> None:
    raise HostError(kinds.UNHEALTHY, remote.name, f"{name} failed")


def is_sick(remote: Remote, name: str) -> None:
    """The new release answers 500 from now on."""
    remote.host.sick.add(NEW)


def cannot_start_workers(remote: Remote, name: str) -> None:
    remote.host.refused.add(f"site-{NEW}-worker")


def one_after_another(hosts: Iterable[Any], function: Callable[[Any], Any], what: str = "") -> list[Any]:
    """Like hosts.each, in one thread, so that the order of the calls is always the same."""
    results: list[Any] = []
    failed: list[HostError] = []
    for host in hosts:
        try:
            results.append(function(host))
        except HostError as error:
            failed.append(error)
        except Error as error:
            raise AssertionError from error
    if failed:
        raise failed[0] if len(failed) == 1 else HostErrors(failed)
    return results


class Stage:
    """Hosts on which OLD is live.

    :param hosts: how many, or their names and roles.
    :param settings: rollout and hooks.
    """

    def __init__(self, path: Path, hosts: int | Mapping[str, Sequence[str]], **settings: Any) -> None:
        self.calls = Calls()
        alike = {f"web{number}": ["app", "proxy", "worker"] for number in range(1, hosts + 1)} if isinstance(hosts, int) else {}
        stage = {
            name: example_settings(host={"name": name, "roles": chosen, "private": f"10.0.0.{number}"}, **settings)
            for number, (name, chosen) in enumerate((alike or dict(hosts)).items(), 1)  # type: ignore[call-overload]
        }
        self.remotes = [
            Remote(name, _host_with_old(path / name, one.host.roles), one, self.calls)
            for name, one in roles.assign(stage).items()
        ]

    def deploy(self, release: str = NEW) -> None:
        """What the verb does, with a build that is only told."""
        building: Phase[Any] = Phase("building", lambda remote: _build(remote, release), _undo_build(release))
        change = Change(self.remotes, lambda remote: cutover_to(remote.host, release), "deploy")  # type: ignore[arg-type, attr-defined]
        before, after = change.hooks("before_switch"), change.hooks("after_switch")
        change.run([*together(building, self.remotes), *before, *change.cutover(), *after], one_after_another)  # type: ignore[list-item]

    def end(self) -> None:
        """The deployer is gone, however it went; then another command looks at each host."""
        for remote in self.remotes:
            if not remote.host.session.is_over:
                remote.host.session.abandoned()
            next_command(remote.host)

    @property
    def live(self) -> list[str | None]:
        return [releases.linked(str(remote.host.root), "current") for remote in self.remotes]


def _host_with_old(path: Path, roles: Sequence[str]) -> Host:
    host = Host(path, roles)
    host.release(OLD, "worker")
    deploy(host, OLD)
    host.served = []
    return host


def _build(remote: Remote, release: str) -> None:
    remote.calls.note(f"{remote.name} build")
    try:
        remote.suffer(remote.before, "build")
        remote.host.release(release, "worker")
        remote.suffer(remote.after, "build")
    except HostError as error:
        _undo_build(release)(remote, error.what)
        raise


def _undo_build(release: str) -> Callable[[Remote, str], None]:
    def give_up(remote: Remote, reason: str) -> None:
        with contextlib.suppress(HostError):
            remote.call(releases.give_up, str(remote.host.root), release, reason, 5)

    return give_up


