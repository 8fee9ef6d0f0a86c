"""One change of release on the hosts of a stage: the phases of the cutover as a rollout's, made by calls on hosts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from . import databases, hosts, planning, roles, terminal
from .errors import Error, HostError
from .hosts import Host
from .remote import backups, cutover, hooks, migrations
from .rollout import Each, Phase, Rollout, Step, of_hosts, one_by_one, together, waves
from .session import RemoteCall, reference

Steps = list[Step[Host]]
Undo = Callable[[cutover.Cutover, str], None]
Point = Literal["before_switch", "after_switch"]


class Change:
    """What brings the hosts from their live release to another, on all of them or on none.

    :param targets: the hosts; where there is more than one, they wait for each other between the phases.
    :param plan: the cutover of a host; asked when the host comes to it.
    :param what: for the history: deploy, rollback or restart.
    """

    def __init__(self, targets: list[Host], plan: Callable[[Host], cutover.Cutover], what: str) -> None:
        self.targets, self.plan = targets, plan
        self.facts = {"who": hosts.who(), "what": what}
        self._backups: dict[Host, str] = {}

    def run(self, steps: Sequence[Step[Host]], each: Each[Host] = hosts.each) -> None:
        """Roll it out.

        :param each: does something on hosts side by side.
        :raises HostError, HostErrors: nothing was switched, or everything was switched back.
        """
        try:
            Rollout(steps, each, self._tell_failure).run()
        except KeyboardInterrupt:  # those that wait for their turn go back by themselves, too
            for host in self.targets:
                host.close()
            raise
        for host in self.targets:
            host.forget()

    def backup(self) -> Steps:
        """A backup of the database, where something is about to migrate it: on each host where that is done."""
        phase = Phase("backing up the database", self._back_up, self._undo(cutover.abandon))
        return together(phase, [host for host in self.migrating if host.settings.backup])

    @property
    def migrating(self) -> list[Host]:
        """The hosts on which the database is migrated."""
        return [host for host in self.targets if self._commands(host, "before_switch")]

    def hooks(self, point: Point) -> Steps:
        """The hooks at one point: one host after another, since two that migrate one database would collide."""
        undo = self._undo(cutover.abandon) if point == "before_switch" else None
        phase = Phase(f"running {point} hooks", lambda host: self._run_hooks(host, point), undo)
        return one_by_one(phase, (host for host in self.targets if self._commands(host, point)))

    def cutover(self, rolling: bool = True) -> Steps:
        """From the start of the new release to the end of the old.

        One host needs one round trip. Among several the old release stays up on each host until all have switched, so
        that the way back of a host that switched long ago is as short as that of one that has just done so.

        :param rolling: in the batches of the stage; otherwise all at once.
        """
        if len(self.targets) == 1:
            return together(Phase("switching", self._at_once), self.targets)
        start = Phase(
            "starting beside the old release",
            lambda host: host.run([_start(host, self.plan(host))]),
            self._undo(cutover.abandon),
        )
        commit = Phase(
            "telling each host that all have switched",
            lambda host: host.run([RemoteCall(reference(cutover.commit, self.plan(host)))]),
            self._undo(cutover.undo),
        )
        finish: Phase[Host] = Phase("letting the old release finish", lambda host: host.run([self._finish(host)]))
        return [
            *together(start, self.targets),
            *(self._waves() if rolling else self._switch(self.targets)),
            *together(commit, self.targets),
            *together(finish, self.targets),
        ]

    def _waves(self) -> Steps:
        """The batches of the stage, each watched before the next begins; hosts of one role after those of another."""
        rollout = self.targets[0].settings.rollout
        canary = next((host for host in self.targets if rollout.canary and host.name == rollout.canary.host), None)
        groups = waves(roles.in_turn(self.targets), rollout.size(len(self.targets)), canary)
        steps: Steps = []
        for wave in groups[:-1]:
            steps += self._switch(wave)
            if canary in wave and rollout.canary:
                steps += [*self._watch(wave, rollout.canary.wait), *self._check(wave)]
            else:
                steps += self._watch(wave, rollout.pause)
        return steps + self._switch(groups[-1])

    def _switch(self, wave: list[Host]) -> Steps:
        phase = Phase(
            "switching",
            lambda host: host.run([_switch(host, self.plan(host), among_others=True)]),
            self._undo(cutover.undo),
        )
        return together(phase, wave)

    def _watch(self, wave: list[Host], seconds: int) -> Steps:
        phase = Phase(
            f"watching for {seconds} s",
            lambda host: host.call(cutover.watch, self.plan(host), seconds),
            self._undo(cutover.undo),
        )
        return together(phase, wave if seconds else [])

    def _check(self, wave: list[Host]) -> Steps:
        canary = self.targets[0].settings.rollout.canary
        phase = Phase("checking the canary", self._run_check, self._undo(cutover.undo))
        return together(phase, wave if canary and canary.check else [])

    def _at_once(self, host: Host) -> None:
        plan = self.plan(host)
        host.run([_start(host, plan), _switch(host, plan, among_others=False), self._finish(host)])

    def _finish(self, host: Host) -> RemoteCall:
        call = reference(cutover.finish, self.plan(host), self.facts)
        return RemoteCall(call, functools.partial(_tell_finished, host))

    def _undo(self, undo: Undo) -> Callable[[Host, str], HostError | None]:
        """The way back from a phase: what needs a person where not all could be undone."""

        def go_back(host: Host, reason: str) -> HostError | None:
            try:
                host.call(undo, self.plan(host), reason)
            except HostError as error:
                if error.exit_status == 3:
                    return error
                host.say("switch", "not reached any more, it decides by itself; see it: fab status", "yellow")
                return None
            say_undone(host, "switch")
            return None

        return go_back

    def _tell_failure(self, error: Error) -> None:
        """Say who failed before the others say that they go back; all that is known about it comes at the end."""
        if len(self.targets) > 1:
            for one in of_hosts(error):
                terminal.say(one.host, "failed", one.what.splitlines()[0], "red")

    def _commands(self, host: Host, point: Point) -> list[dict[str, Any]]:
        """The commands of a host: those that run once for the stage are the first one's that has the code."""
        able = [one for one in self.targets if one.settings.has_code]
        hooks = getattr(host.settings.hooks, point) if host in able else []
        return [hook.model_dump(exclude={"once"}) for hook in hooks if host is able[0] or not hook.once]

    def _back_up(self, host: Host) -> None:
        release, live = self.plan(host).release, host.live.get("id")
        with self._going_back(host):
            if live and self._brings_none(host, live, release):
                host.say("backup", "none: the live release has the same migrations")
                return
            if made := back_up(host, release, f"{self.facts['what']} of {release}", self.facts["who"]):
                self._backups[host] = made

    def _brings_none(self, host: Host, live: str, release: str) -> bool:
        """Whether nothing is to be migrated, where that can be seen."""
        return databases.migrates_alone(host.settings) and host.call(
            migrations.same, host.settings.root, live, release
        )

    @contextlib.contextmanager
    def _going_back(self, host: Host) -> Iterator[None]:
        """What is done before the switch on a host; where it fails, the release is abandoned there.

        :raises HostError: it failed.
        """
        try:
            yield
        except HostError as error:
            host.call(cutover.abandon, self.plan(host), error.what)
            hint = "Mend it, and deploy again."
            if made := self._backups.get(host):
                hint += f" The database as it was before: {restoring(host, made)}"
            raise HostError(error.kind, host.name, f"nothing was switched: {error.what}", hint) from error

    def _run_hooks(self, host: Host, point: Point) -> None:
        commands = self._commands(host, point)
        with self._going_back(host) if point == "before_switch" else self._going_on(host):
            host.call(hooks.run, host.settings.root, self.plan(host).release, host.settings.user, point, commands)
        host.say("hooks", f"{point}: {len(commands)} command{'s' if len(commands) > 1 else ''} done")

    @contextlib.contextmanager
    def _going_on(self, host: Host) -> Iterator[None]:
        """What is done after the switch on a host.

        :raises HostError: it failed.
        """
        try:
            yield
        except HostError as error:
            raise HostError(
                error.kind,
                host.name,
                f"{self.plan(host).release} is live, but {error.what}",
                "Run it again by hand: fab run '…', or go back: fab rollback",
            ) from error

    def _run_check(self, host: Host) -> None:
        """Ask the user's own command about the first host that has switched."""
        plan, canary = self.plan(host), host.settings.rollout.canary
        commands = [canary.check.model_dump()] if canary and canary.check else []
        try:
            host.call(hooks.run, host.settings.root, plan.release, host.settings.user, "canary", commands)
        except HostError as error:
            host.call(cutover.undo, plan, error.what)
            raise HostError(
                error.kind, host.name, f"switched back: {error.what}", "Mend it, commit, and deploy again."
            ) from error
        host.say("canary", "its check is content", "green")


def back_up(host: Host, release: str, why: str, who: str, spared: str = "") -> str:
    """Back the database of a host up, and say so; the backup's id, or nothing where there is no database yet.

    :param release: the one whose environment says which database it is.
    :param why: what is about to be done.
    :param spared: a backup that is kept, however many there are.
    """
    settings = host.settings
    made = host.call(
        backups.take, settings.root, settings.user, release, databases.of(settings), why, who, spared
    )
    if made is None:
        host.say("backup", "none: there is no database yet")
        return ""
    how = f"{terminal.size(made['bytes'])}, {made['seconds']} s"
    host.say("backup", f"{made['id']} ({how}); put it back: {restoring(host, made['id'])}")
    return made["id"]


def restoring(host: Host, backup: str) -> str:
    """What a person types to restore a backup."""
    settings = host.settings
    name = host.name if len(settings.members) > 1 else settings.stage
    return f"fab -H {name} restore --backup {backup} --yes"


def say_undone(host: Host, step: str) -> None:
    """Say that a host is as it was, and that it was not to blame."""
    live = f"{host.live['id']} is live" if host.live else "nothing is live, as before"
    host.say(step, f"undone, {live}: another host failed", "yellow")


def _start(host: Host, plan: cutover.Cutover) -> RemoteCall:
    def tell(seconds: float) -> None:
        if plan.app:
            host.say("start", f"{plan.release} answers {plan.app.status} on its own socket after {seconds:.1f} s")

    return RemoteCall(reference(cutover.start, plan), tell)


def _switch(host: Host, plan: cutover.Cutover, among_others: bool) -> RemoteCall:
    def tell(done: cutover.Switched) -> None:
        answers = f": the site answers {done['answer']} in {done['seconds'] * 1000:.0f} ms" if done["answer"] else ""
        host.say("switch", f"{plan.release} is live{answers}", "green")

    return RemoteCall(reference(cutover.switch, plan, among_others), tell)


def _tell_finished(host: Host, done: cutover.Finished) -> None:
    server, settings = planning.server_of(host.settings), host.settings.web.settings
    if done["cut"]:
        requests = "1 request" if done["cut"] == 1 else f"{done['cut']} requests"
        after = f"after {done['drained']:.0f} s ({server.grace_setting})"
        host.say("finish", f"{done['old']} still had {requests} open {after}: cut", "yellow")
    elif done["kept"]:
        connections = "1 connection" if done["kept"] == 1 else f"{done['kept']} connections"
        within = f"{server.grace(settings):g} s ({server.grace_setting})"
        host.say("finish", f"{done['old']} stops; {connections} still open, which it ends within {within}")
    elif done["old"]:
        host.say("finish", f"{done['old']} answered all it had taken ({done['drained']:.1f} s) and stops")
