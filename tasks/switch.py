"""``fab switch``: the cutover to the next release, on all hosts or none."""

from __future__ import annotations

from collections.abc import Callable

from invoke.context import Context

from .engine import hosts, planning
from .engine.errors import Error, HostError, HostErrors
from .engine.hosts import Host, each
from .engine.remote import cutover, hooks
from .engine.session import RemoteCall, reference
from .engine.verb import verb


@verb()
def switch(c: Context) -> None:
    """Step 6: start the next release beside the old, prove it healthy, switch, drain and stop the old."""
    targets = hosts.of(c)
    each(targets, lambda host: host.begin("switch"), "looking")
    if all(host.live and not host.next for host in targets):
        for host in targets:
            host.say("switch", f"nothing to do: {host.live['id']} is live, and there is no next release", "green")
        return
    switch_over(targets)


def switch_over(targets: list[Host]) -> None:
    """Run the hooks around it, and the cutover to the next release of each host.

    :raises HostError, HostErrors: nothing was switched, or everything was switched back.
    """
    plans = {host.name: _plan(host) for host in targets}
    for host in targets:  # one after another: two hosts that migrate one database at once would collide
        _run_hooks(host, plans[host.name], "before_switch")
    cut_over(targets, plans, what="deploy")
    for host in targets:
        _run_hooks(host, plans[host.name], "after_switch")


def cut_over(targets: list[Host], plans: dict[str, cutover.Cutover], what: str) -> None:
    """Bring the planned releases live on every host, or on none.

    One host needs one round trip; several wait for each other between the phases.

    :param plans: by host name.
    :param what: "deploy" or "rollback", for the history.
    :raises HostError, HostErrors: nothing was switched, or everything was switched back.
    """
    facts = {"who": hosts.who(), "what": what}
    if len(targets) == 1:
        host, plan = targets[0], plans[targets[0].name]
        each(
            targets,
            lambda host: host.run([_start(host, plan), _switch(host, plan, False), _finish(host, plan, facts)]),
            "switching",
        )
    else:
        _all_or_none(targets, plans, _start, cutover.abandon, "starting beside the old release")
        _all_or_none(targets, plans, _switch, cutover.undo, "switching")
        _all_or_none(targets, plans, _commit, cutover.undo, "telling each host that all have switched")
        finish = "letting the old release finish"
        each(targets, lambda host: host.run([_finish(host, plans[host.name], facts)]), finish)
    for host in targets:
        host.forget()


def _plan(host: Host) -> cutover.Cutover:
    release = host.next or {}
    if release.get("state") != "built" or not {"units", "asked"} <= release.keys():
        what = f"the next release {release['id']} is not complete" if release else "there is no next release"
        raise HostError(host.name, what, "Run the steps before: fab push venv server manager proxy")
    return planning.cutover(host.settings, release)


Phase = Callable[[Host, cutover.Cutover], RemoteCall]
Undo = Callable[[cutover.Cutover, str], None]


def _all_or_none(
    targets: list[Host],
    plans: dict[str, cutover.Cutover],
    phase: Phase,
    undo: Undo,
    what: str,
) -> None:
    """Do a phase everywhere; where one host fails, undo it on the others."""
    done: list[Host] = []

    def run(host: Host) -> None:
        host.run([phase(host, plans[host.name])])
        done.append(host)

    try:
        each(targets, run, what)
    except Error as error:
        reason = f"another host failed: {str(error).splitlines()[0]}"
        undone = each(done, lambda host: _undo(host, plans[host.name], undo, reason), "undoing")
        harmed = [worse for worse in undone if worse]
        if not harmed:
            raise
        first = error.errors if isinstance(error, HostErrors) else [error] if isinstance(error, HostError) else []
        raise HostErrors([*first, *harmed]) from error


def _undo(host: Host, plan: cutover.Cutover, undo: Undo, reason: str) -> HostError | None:
    """What needs a person where not all could be undone; any other failure is told by the first."""
    try:
        host.call(undo, plan, reason)
    except HostError as error:
        return error if error.exit_status == 3 else None
    live = f"{host.live['id']} is live" if host.live else "nothing is live, as before"
    host.say("switch", f"undone, {live}: another host failed", "yellow")
    return None


def _start(host: Host, plan: cutover.Cutover) -> RemoteCall:
    def tell(seconds: float) -> None:
        host.say(
            "start", f"{plan.release} answers {plan.app.status} on its own socket after {seconds:.1f} s"
        )

    return RemoteCall(reference(cutover.start, plan), tell)


def _switch(host: Host, plan: cutover.Cutover, among_others: bool = True) -> RemoteCall:
    def tell(done: cutover.Switched) -> None:
        answer = f"the site answers {done['answer']} in {done['seconds'] * 1000:.0f} ms"
        host.say("switch", f"{plan.release} is live: {answer}", "green")

    return RemoteCall(reference(cutover.switch, plan, among_others), tell)


def _commit(host: Host, plan: cutover.Cutover) -> RemoteCall:
    return RemoteCall(reference(cutover.commit, plan))


def _finish(host: Host, plan: cutover.Cutover, facts: dict[str, str]) -> RemoteCall:
    def tell(done: cutover.Finished) -> None:
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

    return RemoteCall(reference(cutover.finish, plan, facts), tell)


def _run_hooks(host: Host, plan: cutover.Cutover, kind: str) -> None:
    commands = [hook.model_dump() for hook in getattr(host.settings.hooks, kind)]
    if not commands:
        return
    try:
        host.call(hooks.run, host.settings.root, plan.release, host.settings.user, kind, commands)
    except HostError as error:
        if kind == "before_switch":
            host.call(cutover.abandon, plan, error.what)
            raise HostError(
                host.name, f"nothing was switched: {error.what}", "Mend it, commit, and deploy again."
            ) from error
        raise HostError(
            host.name,
            f"{plan.release} is live, but {error.what}",
            "Run it again by hand: fab run '…', or go back: fab rollback",
        ) from error
    host.say("hooks", f"{kind}: {len(commands)} command{'s' if len(commands) > 1 else ''} done")
