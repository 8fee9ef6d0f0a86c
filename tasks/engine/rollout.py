"""A rollout: which host goes through which phase when, and how far all go back where one fails.

It is pure: what a phase does to a host, and what runs hosts side by side, is handed to it. So one protocol holds for
one host and for a hundred, and for hosts that exist in memory only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .errors import Error, HostError, HostErrors

H = TypeVar("H", bound=Hashable)
Each = Callable[[list[H], Callable[[H], Any], str], list[Any]]


@dataclass(frozen=True)
class Phase(Generic[H]):
    """One part of a change on a host.

    A host that fails in a phase, or is lost in it, goes back by itself: the undo is for the others.

    :ivar what: what is being done, shown while it lasts.
    :ivar do: raises an Error where it fails.
    :ivar undo: brings a host that came to this phase's end back to where it was before the first one, told the
        reason; returns what it could not bring back. None: there is no way back from here.
    """

    what: str
    do: Callable[[H], object]
    undo: Callable[[H, str], HostError | None] | None = None


@dataclass(frozen=True)
class Step(Generic[H]):
    """A phase of some hosts, side by side; the next step begins when all of them came to its end."""

    phase: Phase[H]
    hosts: Sequence[H]


def together(phase: Phase[H], hosts: Sequence[H]) -> list[Step[H]]:
    """All hosts at once."""
    return [Step(phase, hosts)] if hosts else []


def one_by_one(phase: Phase[H], hosts: Iterable[H]) -> list[Step[H]]:
    """One host after another."""
    return [Step(phase, [host]) for host in hosts]


def waves(groups: Sequence[Sequence[H]], batch: int, canary: H | None = None) -> list[list[H]]:
    """The hosts in the order in which they switch, and as many at once as may.

    :param groups: those that switch one after another.
    :param batch: how many at once.
    :param canary: goes before all others, alone.
    """
    first = [[canary]] if canary is not None else []
    rest = [[host for host in group if host != canary] for group in groups]
    return first + [group[start : start + batch] for group in rest for start in range(0, len(group), batch)]


class Rollout(Generic[H]):
    """Steps of a change on the hosts of a stage, done once.

    :param each: does something on hosts side by side and waits for all of them, like hosts.each.
    :param failed: is told what failed, before anybody goes back.
    """

    def __init__(
        self, steps: Sequence[Step[H]], each: Each[H], failed: Callable[[Error], None] = lambda error: None
    ) -> None:
        self._steps, self._each, self._failed = steps, each, failed
        self._came_to: dict[H, Phase[H]] = {}

    def run(self) -> None:
        """Do all steps; where a host fails in one that has an undo, all others go back.

        :raises Error: what failed, with what could not be brought back.
        """
        for step in self._steps:
            try:
                self._each(list(step.hosts), functools.partial(self._go, step.phase), step.phase.what)
            except Error as error:
                if step.phase.undo is None:
                    raise
                harmed = self._go_back(step, error)
                if not harmed:
                    raise
                raise HostErrors([*of_hosts(error), *harmed]) from error

    def _go(self, phase: Phase[H], host: H) -> None:
        phase.do(host)
        self._came_to[host] = phase

    def _go_back(self, step: Step[H], error: Error) -> list[HostError]:
        """Bring back every host but those that failed in the step, and so have gone back by themselves."""
        self._failed(error)
        reason = f"another host failed: {str(error).splitlines()[0]}"
        hosts = [host for host, phase in self._came_to.items() if host not in step.hosts or phase is step.phase]
        undone = self._each(hosts, lambda host: self._undo(host, reason), "undoing")
        return [worse for worse in undone if worse]

    def _undo(self, host: H, reason: str) -> HostError | None:
        undo = self._came_to[host].undo
        return undo(host, reason) if undo else None


def of_hosts(error: Error) -> list[HostError]:
    """What failed, host by host; nothing where it was no host's fault."""
    if isinstance(error, HostErrors):
        return error.errors
    return [error] if isinstance(error, HostError) else []
