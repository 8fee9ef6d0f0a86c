"""``fab deploy``: a revision, live on every host of a stage, or on none."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts, terminal
from .engine.verb import verb
from .gunicorn import gunicorn
from .nginx import nginx
from .push import push, revision
from .supervisor import supervisor
from .switch import switch
from .venv import venv


@verb(
    help={
        "ref": "branch, tag or commit; by default source.ref of the settings",
        "force": "make a new release even where nothing changed",
    }
)
def deploy(c: Context, ref: str | None = None, force: bool = False) -> None:
    """Main: put a revision live on every host of a stage, or on none."""
    if not force and _is_live(c, ref):
        return
    push(c, ref)
    venv(c)
    gunicorn(c)
    supervisor(c)
    nginx(c)
    switch(c)


def _is_live(c: Context, ref: str | None) -> bool:
    """Whether every host runs this revision with these settings already."""
    where = hosts.of(c)
    wanted = revision(where[0].settings, ref)
    there = hosts.each(where, lambda host: host.begin(f"deploy of {wanted.short}"), "looking")
    for host, found in zip(where, there, strict=True):
        live = found["current"] or {}
        if (
            not found["live"]
            or live.get("commit") != wanted.commit
            or live.get("digest") != configuration.digest(host.settings)
        ):
            return False
    for host in where:
        terminal.say(host.name, "deploy", f"nothing to do: {wanted} is live already", "green")
    return True
