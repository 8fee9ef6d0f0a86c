"""``fab restart``: the same release again, by the same cutover."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.change import Change
from .engine.hosts import Host
from .engine.remote import again, cutover
from .engine.verb import verb
from .push import new_stamp


@verb(together=True)
def restart(c: Context) -> None:
    """Main: start the live release once more, beside itself, and switch to that: no request is lost."""
    targets = hosts.together(c)
    hosts.each(targets, lambda host: host.begin("restart"), "looking")
    stamp = new_stamp("restart", targets)
    plans = hosts.each(targets, lambda host: _plan(host, stamp), "copying the live release")
    change = Change(targets, dict(zip(targets, plans, strict=True)).__getitem__, what="restart")
    change.run(change.cutover())


def _plan(host: Host, stamp: str) -> cutover.Cutover:
    release = host.call(again.prepare, planning.application(host.settings), stamp, hosts.who())
    host.say("restart", f"{release['restarts']} again, as {release['id']}")
    return planning.cutover(host.settings, release)
