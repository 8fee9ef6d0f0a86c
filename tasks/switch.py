"""``fab switch``: the cutover to the next release, on all hosts or none."""

from __future__ import annotations

import contextlib
from typing import Any

from invoke.context import Context

from .engine import configuration, hosts
from .engine.errors import Error, HostError
from .engine.hosts import Host, each
from .engine.remote import cutover, hooks
from .engine.verb import verb


@verb()
def switch(c: Context) -> None:
    """Step 6: start the next release beside the old, prove it healthy, switch, drain and stop the old."""
    where = hosts.of(c)
    for host in where:
        host.begin("switch")
    plans = dict(zip((host.name for host in where), each(where, _plan), strict=True))
    for host in where:  # one after another: two hosts that migrate one database at once would collide
        _run_hooks(host, plans[host.name], "before_switch")
    cut_over(where, plans, what="deploy")
    for host in where:
        _run_hooks(host, plans[host.name], "after_switch")


def cut_over(where: list[Host], plans: dict[str, cutover.Plan], what: str) -> None:
    """Bring the planned releases live on every host, or on none.

    :param plans: by host name.
    :param what: "deploy" or "rollback", for the history.
    :raises HostError, HostErrors: nothing was switched, or everything was switched back.
    """
    _all_or_none(where, plans, lambda host: _start(host, plans[host.name]), "starting beside the old release")
    switched = _all_or_none(where, plans, lambda host: _switch(host, plans[host.name]), "switching")
    each(
        where,
        lambda host: _finish(host, plans[host.name], switched[host.name], what),
        "letting the old release finish",
    )


def _plan(host: Host) -> cutover.Plan:
    building = configuration.Building(host)
    if building.release.get("state") != "built" or not building.release.get("address"):
        missing = "fab venv gunicorn supervisor nginx"
        raise HostError(
            host.name, f"the next release {building.id} is not complete", f"Run the steps before: {missing}"
        )
    return configuration.plan(host.settings, building.release)


def _all_or_none(where: list[Host], plans: dict[str, cutover.Plan], step: Any, what: str) -> dict[str, Any]:
    """Do a phase everywhere; where one host fails, undo it on the others."""
    done: dict[str, Any] = {}

    def remember(host: Host) -> None:
        done[host.name] = step(host)

    try:
        each(where, remember, what)
    except Error as error:
        for host in where:
            if host.name in done:
                _undo(host, plans[host.name], done[host.name], error)
        raise
    return done


def _undo(host: Host, plan: cutover.Plan, result: Any, error: Error) -> None:
    reason = f"another host failed: {str(error).splitlines()[0]}"
    with contextlib.suppress(HostError):
        if isinstance(result, dict):
            host.call(cutover.back, plan, result["old"], reason)
            host.say("switch", f"switched back to {result['old'] or 'nothing'}: another host failed", "yellow")
        else:
            host.call(cutover.abandon, plan, reason)
            host.say("switch", "not switched: another host failed", "yellow")


def _start(host: Host, plan: cutover.Plan) -> float:
    seconds = host.call(cutover.start, plan)
    host.say("start", f"{plan['release']} answers {plan['ask']['status']} on its own socket after {seconds:.1f} s")
    return seconds


def _switch(host: Host, plan: cutover.Plan) -> dict[str, Any]:
    done = host.call(cutover.switch, plan)
    host.say(
        "switch",
        f"{plan['release']} is live: the site answers {done['answer']} in {done['seconds'] * 1000:.0f} ms",
        "green",
    )
    return done


def _finish(host: Host, plan: cutover.Plan, switched: dict[str, Any], what: str) -> None:
    facts = {"who": hosts.who(), "what": what, "from": switched["old"]}
    done = host.call(cutover.finish, plan, switched["old"], facts)
    if switched["old"]:
        cut = ", open requests were cut" if done["cut"] else ", every request was answered"
        host.say(
            "finish",
            f"{switched['old']} stopped after {done['drained']:.1f} s{cut}",
            "yellow" if done["cut"] else "",
        )
    if done["pruned"]:
        host.say("finish", f"removed {', '.join(done['pruned'])}")


def _run_hooks(host: Host, plan: cutover.Plan, kind: str) -> None:
    commands = [hook.model_dump() for hook in getattr(host.settings.hooks, kind)]
    if not commands:
        return
    try:
        host.call(hooks.run, plan["root"], plan["release"], plan["user"], kind, commands)
    except HostError as error:
        if kind == "before_switch":
            host.call(cutover.abandon, plan, error.what)
            raise HostError(
                host.name, f"nothing was switched: {error.what}", "Mend it, commit, and deploy again."
            ) from error
        raise HostError(
            host.name,
            f"{plan['release']} is live, but {error.what}",
            "Run it again by hand: fab run '…', or go back: fab rollback",
        ) from error
    host.say(kind, f"{len(commands)} command{'s' if len(commands) > 1 else ''} done")
