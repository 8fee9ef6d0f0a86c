"""``fab deploy``: a revision, live on every host of a stage, or on none."""

from __future__ import annotations

import contextlib
import time

from invoke.context import Context

from .engine import configuration, hosts, local, passwords
from .engine.errors import Error, HostError
from .engine.hosts import Host
from .engine.remote import environment
from .engine.verb import verb
from .push import Wanted, new_id, revision
from .push import calls as push_calls
from .switch import switch_over
from .venv import calls as venv_calls


@verb(
    help={
        "ref": "branch, tag or commit; by default source.ref of the settings",
        "force": "make a new release even where nothing changed",
        "fresh": "and make its virtualenv anew, from empty caches",
    }
)
def deploy(c: Context, ref: str | None = None, force: bool = False, fresh: bool = False) -> None:
    """Main: put a revision live on every host of a stage, or on none."""
    began, targets = time.monotonic(), hosts.of(c)
    for host in targets:
        local.check(host.settings)
        passwords.check(host.settings)
    wanted = revision(targets[0].settings, ref)
    configuration.warm_up(targets)
    hosts.each(targets, lambda host: host.begin(f"deploy of {wanted.short}"), "looking")
    if not (force or fresh) and all(is_live(host, wanted) for host in targets):
        for host in targets:
            host.say("deploy", f"nothing to do: {wanted} is live already", "green")
        return
    name = new_id(wanted, targets)
    try:
        hosts.each(targets, lambda host: build(host, wanted, name, fresh), f"building {wanted}")
    except Error as error:
        reason = str(error).split("\n")[0]
        hosts.each(targets, lambda host: _give_up(host, name, reason))
        raise
    switch_over(targets)
    _summary(targets, wanted, time.monotonic() - began)


def _summary(targets: list[Host], wanted: Wanted, seconds: float) -> None:
    for host in targets:
        site = host.settings.site
        port = "" if site.port == 80 else f":{site.port}"
        host.say(
            "deploy", f"{wanted} is live at http://{site.domains[0]}{port}{site.path} ({seconds:.1f} s)", "green"
        )


def _give_up(host: Host, name: str, reason: str) -> None:
    with contextlib.suppress(HostError):  # the first failure is what is told
        host.call(environment.give_up, host.settings.root, name, reason, host.settings.keep_releases)


def build(host: Host, wanted: Wanted, name: str, fresh: bool) -> None:
    """The steps push, venv, server, manager and proxy on one host, in one round trip where that can be."""
    todo = [*push_calls(host, wanted, name), *venv_calls(host, fresh)]
    if configuration.static_modules(host.settings):  # where a package's files are is known once it is installed
        host.run(todo)
        todo = []
    building = configuration.Building(host)
    parts = [
        part(building) for part in (configuration.server_part, configuration.manager_part, configuration.site_part)
    ]
    host.run([*todo, configuration.step(building, parts)])


def is_live(host: Host, wanted: Wanted) -> bool:
    """Whether a host runs this revision with these settings already."""
    there, digest = host.begin("deploy"), configuration.digest(host)
    return there["live"] and host.live.get("commit") == wanted.commit and host.live.get("digest") == digest
