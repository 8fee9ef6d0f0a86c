"""``fab deploy``: a revision, live on every host of a stage, or on none."""

from __future__ import annotations

import contextlib
import functools
import time

from invoke.context import Context

from .engine import configuration, hosts, local, notify, terminal, tls
from .engine.change import Change, say_undone
from .engine.errors import Error, HostError
from .engine.hosts import Host
from .engine.remote import environment
from .engine.rollout import Phase, together
from .engine.verb import verb
from .push import Wanted, new_id, revision
from .push import calls as push_calls
from .switch import to_next
from .venv import calls as venv_calls


@verb(
    help={
        "ref": "branch, tag or commit; by default source.ref of the settings",
        "force": "make a new release even where nothing changed",
        "fresh": "and make its virtualenv anew, from empty caches",
        "continue-without": "hosts that are known to be dead, with commas between; they stay behind",
    },
    together=True,
)
def deploy(
    c: Context,
    ref: str | None = None,
    force: bool = False,
    fresh: bool = False,
    continue_without: str | None = None,
) -> None:
    """Main: put a revision live on every host of a stage, or on none."""
    began, targets = time.monotonic(), hosts.without(hosts.together(c), continue_without)
    for host in targets:
        local.check(host.settings)
    wanted = revision(targets[0].settings, ref)
    configuration.warm_up()
    with notify.telling(targets, "deploy", wanted.label, wanted.subject) as about:
        hosts.each(targets, lambda host: host.begin(f"deploy of {wanted.short}"), "looking")
        if not (force or fresh) and all(is_live(host, wanted) for host in targets):
            for host in targets:
                host.say("deploy", f"nothing to do: {wanted} is live already", "green")
            return
        about.release = new_id(wanted, targets)
        change = _change(targets, wanted, about.release, fresh)
        _summary(change, wanted, time.monotonic() - began)


def _change(targets: list[Host], wanted: Wanted, name: str, fresh: bool) -> Change:
    """Build a release and go over to it, on all hosts or on none."""
    building: Phase[Host] = Phase(
        f"building {wanted}",
        lambda host: build_or_give_up(host, wanted, name, fresh),
        lambda host, reason: give_up_with_others(host, name, reason),
    )
    change = Change(targets, functools.cache(to_next), what="deploy")
    change.run(
        [
            *together(building, targets),
            *change.backup(),
            *change.hooks("before_switch"),
            *change.cutover(),
            *change.hooks("after_switch"),
        ]
    )
    return change


def _summary(change: Change, wanted: Wanted, seconds: float) -> None:
    targets = change.targets
    for host in targets:
        host.say("deploy", f"{wanted} is live{_where(host, change)} ({seconds:.1f} s)", "green")
    for name in hosts.absent(targets):
        stage = targets[0].settings.stage
        terminal.say(name, "deploy", f"was not asked; whether it is behind now: fab -H {stage} status", "yellow")


def _where(host: Host, change: Change) -> str:
    """Where visitors find it, if they come to this host."""
    site = change.plan(host).site
    if site is None or not host.settings.faces_visitors:
        return ""
    return f" at {'https' if site.certificate else 'http'}://{site.host}{host.settings.site.path}"


def build_or_give_up(host: Host, wanted: Wanted, name: str, fresh: bool) -> None:
    """Build on one host; a release that cannot be built is not worked on any more."""
    try:
        build(host, wanted, name, fresh)
    except Error as error:
        give_up(host, name, str(error).split("\n")[0])
        raise


def give_up(host: Host, name: str, reason: str) -> None:
    """Mark a release bad that was built, or was to be."""
    with contextlib.suppress(HostError):  # the first failure is what is told
        host.call(environment.give_up, host.settings.root, name, reason, host.settings.keep_releases)


def give_up_with_others(host: Host, name: str, reason: str) -> None:
    """The same where this host is not to blame."""
    give_up(host, name, reason)
    say_undone(host, "deploy")


def build(host: Host, wanted: Wanted, name: str, fresh: bool) -> None:
    """The steps push, venv, server, manager and proxy on one host, in one round trip where that can be."""
    tls.bring(host)
    todo = [*push_calls(host, wanted, name), *(venv_calls(host, fresh) if host.settings.has_code else [])]
    if configuration.static_modules(host.settings):  # where a package's files are is known once it is installed
        host.run(todo)
        todo = []
    building = configuration.Building(host)
    parts = [part(building) for part in configuration.parts(host.settings)]
    host.run([*todo, configuration.step(building, parts)])


def is_live(host: Host, wanted: Wanted) -> bool:
    """Whether a host runs this revision with these settings already."""
    there, digest = host.begin("deploy"), configuration.digest(host)
    is_same = host.live.get("commit") == wanted.commit and host.live.get("digest") == digest
    return there["live"] and is_same and not _waits_for_tls(host)


def _waits_for_tls(host: Host) -> bool:
    """Whether it went live over http meanwhile."""
    asked = host.live.get("asked", {}).get("site", {})
    return host.settings.site.tls is not None and not asked.get("certificate")
