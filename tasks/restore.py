"""``fab restore``: put a backup's content in the place of what is in the database."""

from __future__ import annotations

from invoke.context import Context

from .engine import databases, hosts, local
from .engine.change import back_up, restoring
from .engine.errors import HostError, UsageError
from .engine.hosts import Host
from .engine.remote import backups, kinds
from .engine.verb import verb


@verb(
    help={
        "backup": "its id, as fab backups shows it",
        "yes": "do it; without it, only say what would be done",
        "without-backup": "make no backup of what is there now, where that cannot be had any more",
    }
)
def restore(c: Context, backup: str, yes: bool = False, without_backup: bool = False) -> None:
    """Main: put a backup in the place of what is in the database, after a backup of that; --yes does it."""
    targets = hosts.of(c)
    for host in targets:
        databases.of(host.settings)
        local.check(host.settings)
    there = hosts.each(targets, lambda host: host.call(backups.ids, host.settings.root), "looking")
    having = [host for host, ids in zip(targets, there, strict=True) if backup in ids]
    host = _one(having, targets, backup)
    known = host.call(backups.find, host.settings.root, backup)
    if not yes:
        what = f"{backup}, made before the {known['why']}"
        host.say("restore", f"would put back {what}, in place of all that came since")
        host.say("restore", f"nothing was done; to do it: {restoring(host, backup)}", "green")
        return
    _restore(host, backup, without_backup)


def _one(having: list[Host], targets: list[Host], backup: str) -> Host:
    """The host that has a backup.

    :raises UsageError: none has it, or several have one of this id.
    """
    if len(having) == 1:
        return having[0]
    names = ", ".join(host.name for host in having or targets)
    if having:
        raise UsageError(
            kinds.BACKUP_NAME, f"{names} have a backup {backup} each: name one, like fab -H {having[0].name} restore"
        )
    raise UsageError(kinds.BACKUP_NAME, f"there is no backup {backup} on {names}\n  See what there is: fab backups")


def _restore(host: Host, backup: str, without_backup: bool) -> None:
    settings, who = host.settings, hosts.who()
    host.begin(f"restore of {backup}")
    release = host.live.get("id")
    if release is None:
        what = "nothing is live, so no release says which database it is"
        raise HostError(kinds.NOTHING_LIVE, host.name, what, "Deploy first: fab deploy")
    if not without_backup:
        try:
            back_up(host, release, f"restore of {backup}", who, spared=backup)
        except HostError as error:
            what, hint = f"nothing was restored: {error.what}", "To restore without: --without-backup"
            raise HostError(error.kind, host.name, what, hint) from error
    host.call(backups.restore, settings.root, settings.user, release, databases.of(settings), backup)
    host.say("restore", f"the database is as in {backup}; what is live: {release}", "green")
    host.forget()
