"""``fab rollback``: the cutover backwards, with an older good release as next."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.hosts import Host
from .engine.remote import cutover, releases
from .engine.verb import verb
from .switch import cut_over


@verb(help={"to": "a release's id, or the beginning of one or of its revision; by default the good one before"})
def rollback(c: Context, to: str | None = None) -> None:
    """Main: go back to the good release before, by the same cutover; twice goes back two."""
    targets = hosts.of(c)
    hosts.each(targets, lambda host: host.begin("rollback"), "looking")
    plans = hosts.each(targets, lambda host: _plan(host, to), "looking for what to go back to")
    cut_over(targets, dict(zip((host.name for host in targets), plans, strict=True)), what="rollback")


def _plan(host: Host, to: str | None) -> cutover.Cutover:
    release = host.call(releases.choose_rollback, host.settings.root, to)
    host.say("rollback", f"to {release['id']} {release.get('subject', '')}".rstrip())
    return planning.cutover(host.settings, release)
