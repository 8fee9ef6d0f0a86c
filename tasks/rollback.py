"""``fab rollback``: the cutover backwards, with an older good release as next, the same on all hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from invoke.context import Context

from .engine import databases, hosts, level, local, notify, planning
from .engine.change import Change, back_up, restoring
from .engine.errors import Error, HostError, UsageError
from .engine.hosts import Host
from .engine.remote import kinds, migrations, releases
from .engine.verb import verb

SHOWN = 10  # names of migrations that are said


@verb(
    help={
        "to": "a release's id, or the beginning of one or of its revision; by default the good one before",
        "with-migrations": "reverse the migrations that stand between first, after a backup: docs/databases.md",
        "continue-without": "hosts that are known to be dead, with commas between; they stay as they are",
    },
    together=True,
)
def rollback(
    c: Context, to: str | None = None, with_migrations: bool = False, continue_without: str | None = None
) -> None:
    """Main: go back to the good release before, by the same cutover; twice goes back two."""
    targets = hosts.without(hosts.together(c), continue_without)
    if with_migrations:
        _check(targets)
    with notify.telling(targets, "rollback") as about:
        _go_back(targets, to, with_migrations, about)


def _check(targets: list[Host]) -> None:
    """See that migrations can be reversed, before anything is connected to.

    :raises UsageError: nothing in the settings migrates, or nothing backs the database up.
    """
    for host in targets:
        local.check(host.settings)
        databases.of(host.settings)
        if not databases.migrators(host.settings):
            raise UsageError(
                kinds.NO_MIGRATOR,
                "--with-migrations: hooks.before_switch has no command of Django's or Alembic's that migrates\n"
                "  It is known by its form, like: python manage.py migrate --noinput, or alembic upgrade head"
            )


def _go_back(targets: list[Host], to: str | None, with_migrations: bool, about: notify.Subject) -> None:
    """Go back on all hosts, or on none.

    :param about: is told what they go back to.
    """
    hosts.each(targets, lambda host: host.begin("rollback"), "looking")
    what = "looking for what to go back to"
    listings = hosts.each(targets, lambda host: host.call(releases.listing, host.settings.root), what)
    standing = {host.name: level.standing(found) for host, found in zip(targets, listings, strict=True)}
    chosen = level.choose(standing, to)
    back = [host for host in targets if _goes_back(host, standing[host.name], chosen)]
    if back:
        release = standing[back[0].name].releases[chosen]
        about.release = chosen
        about.revision, about.subject = (str(release.get(key) or "") for key in ("revision", "subject"))
    plans = {host: planning.cutover(host.settings, standing[host.name].releases[chosen]) for host in back}
    change = Change(back, plans.__getitem__, what="rollback")
    with _reversed(change.migrating, chosen) if with_migrations else _kept(back, chosen):
        change.run(change.cutover(rolling=False))  # what is live is not wanted any more: nobody waits to leave it


def _goes_back(host: Host, standing: level.Standing, chosen: str) -> bool:
    """Say where a host goes; whether it is there already."""
    subject = standing.releases[chosen].get("subject", "")
    if standing.current == chosen:
        host.say("rollback", f"stays: {chosen} {subject} is live here already".rstrip())
        return False
    host.say("rollback", f"to {chosen} {subject}".rstrip())
    return True


@contextlib.contextmanager
def _kept(targets: list[Host], chosen: str) -> Iterator[None]:
    """Say which migrations stand between, which stay in the database."""
    for host, names in zip(targets, hosts.each(targets, lambda host: _between(host, chosen), "looking"), strict=True):
        if names:
            what = f"these migrations stand between, and stay in the database: {_some(names)}"
            host.say("rollback", f"{what}; to reverse them, too: --with-migrations", "yellow")
    yield


def _between(host: Host, chosen: str) -> list[str]:
    with contextlib.suppress(HostError):  # going back does not depend on knowing it
        return host.call(migrations.between, host.settings.root, str(host.live["id"]), chosen) if host.live else []
    return []


@contextlib.contextmanager
def _reversed(targets: list[Host], chosen: str) -> Iterator[None]:
    """Reverse the migrations that stand between; where what follows fails, they are done again.

    :raises HostError: the database could not be backed up, or migrations could not be reversed; nothing was switched.
    """
    live = {host: str(host.live["id"]) for host in targets if host.live}
    saved, done = dict[Host, str](), list[Host]()
    for host in live:  # one after another, since they may share a database
        saved[host] = back_up(host, live[host], f"rollback to {chosen}", hosts.who())
    try:
        for host in live:
            _reverse(host, live[host], chosen)
            done.append(host)
        yield
    except KeyboardInterrupt:  # the sessions are ended, and each host goes back by itself
        for host in done:
            host.say("rollback", f"its migrations are reversed, and {_by_hand(host, live[host])}", "yellow")
        raise
    except Error as error:
        for host in done:
            _migrate_again(host, live[host], saved[host], error)
        raise


def _reverse(host: Host, live: str, chosen: str) -> None:
    settings = host.settings
    names = host.call(
        migrations.reverse, settings.root, settings.user, live, chosen, databases.migrators(settings)
    )
    host.say("rollback", f"reversed: {_some(names)}" if names else "no migration of the database stands between")


def _migrate_again(host: Host, live: str, saved: str, error: Error) -> None:
    """Bring the database to the release that stays live.

    :raises HostError: it could not be.
    """
    settings = host.settings
    try:
        if host.call(releases.linked, settings.root, "current") == live:
            host.call(migrations.forward, settings.root, settings.user, live, databases.migrators(settings))
            lost = f"; what was in the columns and tables that went is in the backup: {restoring(host, saved)}"
            host.say("rollback", f"migrated again{lost if saved else ''}", "yellow")
    except HostError as worse:
        what = f"{error}\n  Its migrations were reversed, and could not be done again: {worse.what}"
        hint = f"See what is live: fab status; {_by_hand(host, live)}"
        raise HostError(kinds.NOT_SWITCHED_BACK, host.name, what, hint, needs_person=True) from error


def _by_hand(host: Host, live: str) -> str:
    typed = " && ".join(migrator.forward for migrator in databases.migrators(host.settings))
    return f"where {live} stays live, it needs them: fab run '{typed}'"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
