"""``fab rollback``: the cutover backwards, with an older good release as next, the same on all hosts."""

from __future__ import annotations

from invoke.context import Context

from .engine import completion, hosts, level, notify, planning
from .engine.change import Change
from .engine.hosts import Host
from .engine.remote import releases
from .engine.verb import verb


@verb(
    help={
        "to": "a release's id, or the beginning of one or of its revision; by default the good one before",
        "continue-without": "hosts that are known to be dead, with commas between; they stay as they are",
    },
    together=True,
)
def rollback(c: Context, to: str | None = None, continue_without: str | None = None) -> None:
    """Main: go back to the good release before, by the same cutover; twice goes back two."""
    targets = hosts.without(hosts.together(c), continue_without)
    with notify.telling(targets, "rollback") as about:
        _go_back(targets, to, about)


def _go_back(targets: list[Host], to: str | None, about: notify.Subject) -> None:
    """Go back on all hosts, or on none.

    :param about: is told what they go back to.
    """
    hosts.each(targets, lambda host: host.begin("rollback"), "looking")
    what = "looking for what to go back to"
    listings = hosts.each(targets, lambda host: host.call(releases.listing, host.settings.root), what)
    for host, found in zip(targets, listings, strict=True):
        completion.remember_releases(host.settings, found["releases"])
    standing = {host.name: level.standing(found) for host, found in zip(targets, listings, strict=True)}
    chosen = level.choose(standing, to)
    back = [host for host in targets if _goes_back(host, standing[host.name], chosen)]
    if back:
        release = standing[back[0].name].releases[chosen]
        about.release = chosen
        about.revision, about.subject = (str(release.get(key) or "") for key in ("revision", "subject"))
    plans = {host: planning.cutover(host.settings, standing[host.name].releases[chosen]) for host in back}
    change = Change(back, plans.__getitem__, what="rollback")
    change.run(change.cutover(rolling=False))  # what is live is not wanted any more: nobody waits to leave it


def _goes_back(host: Host, standing: level.Standing, chosen: str) -> bool:
    """Say where a host goes; whether it is there already."""
    subject = standing.releases[chosen].get("subject", "")
    if standing.current == chosen:
        host.say("rollback", f"stays: {chosen} {subject} is live here already".rstrip())
        return False
    host.say("rollback", f"to {chosen} {subject}".rstrip())
    return True
