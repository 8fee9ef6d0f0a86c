"""``fab switch``: the cutover to the next release, on all hosts or none."""

from __future__ import annotations

from invoke.context import Context

from .engine import hosts, planning
from .engine.change import Change
from .engine.errors import HostError
from .engine.hosts import Host
from .engine.remote import kinds
from .engine.remote.cutover import Cutover
from .engine.verb import verb


@verb(together=True)
def switch(c: Context) -> None:
    """Step 6: start the next release beside the old, prove it healthy, switch, drain and stop the old."""
    targets = hosts.together(c)
    hosts.each(targets, lambda host: host.begin("switch"), "looking")
    if all(host.live and not host.next for host in targets):
        for host in targets:
            host.say("switch", f"nothing to do: {host.live['id']} is live, and there is no next release", "green")
        return
    plans = {host: to_next(host) for host in targets}
    change = Change(targets, plans.__getitem__, what="deploy")
    change.run(
        [
            *change.backup(),
            *change.hooks("before_switch"),
            *change.cutover(),
            *change.hooks("after_switch"),
        ]
    )


def to_next(host: Host) -> Cutover:
    """The cutover to the next release of a host.

    :raises HostError: there is none, or it is not complete.
    """
    release = host.next or {}
    if release.get("state") != "built" or not {"units", "asked"} <= release.keys():
        what = f"the next release {release['id']} is not complete" if release else "there is no next release"
        raise HostError(kinds.NOT_BUILT, host.name, what, "Run the steps before: fab push venv server manager proxy")
    return planning.cutover(host.settings, release)
