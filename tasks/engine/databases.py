"""The database of an application, as its settings name it: what backs it up, and what migrates it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import passwords, secretsource
from .errors import UsageError
from .remote import dumping, kinds
from .remote.backups import Database
from .remote.migrations import Migrator

if TYPE_CHECKING:
    from .settings import Backup, Settings

CLIENTS = {"pg_dump": ["postgresql-client"], "mysqldump": ["default-mysql-client"]}  # Debian's packages
DJANGO = re.compile(r"(?P<prefix>.*?\b(?:manage\.py|django-admin))\s+migrate\b(?P<rest>[\w\s./:=,-]*)")
CHOOSING = re.compile(r"--(?:settings|pythonpath|database)[=\s]\S+")  # what each of Django's commands is told
ALEMBIC = re.compile(
    r"(?P<prefix>(?:.*[\s;&/])?(?:alembic(?:\s+-[cnx]\s*\S+|\s+--(?:config|name)[=\s]\S+)*"
    r"|flask(?:\s+(?:-A|-e|--app|--env-file)[=\s]\S+)*\s+db))\s+upgrade\b(?P<rest>[\w\s./:=,-]*)"
)


def check(settings: Settings) -> None:
    """See that the database of a backup is named, before anything is connected to.

    :raises UsageError: it is not; the message holds no value.
    """
    backup = settings.backup
    if backup is None or backup.tool is None:
        return
    address = {**settings.env, **passwords.of_application(settings)}.get(backup.database)
    if not address:
        where = secretsource.described(settings.secrets) if settings.secrets else "secrets:, which are not set"
        raise _refused(
            settings,
            f"there is no {backup.database} in env: or {where}",
            "Add it, or name the one that holds the database's address: backup.database; or take backup.command.",
        )
    try:
        dumping.CHECKS[backup.tool](address)
    except dumping.Refused as refused:
        raise _refused(settings, f"{backup.database}: {refused}", "See docs/databases.md") from None


def _refused(settings: Settings, what: str, hint: str) -> UsageError:
    return UsageError(kinds.BACKUP_SETTINGS, f"{settings.stage}: backup: {what}\n  {hint}")


def of(settings: Settings) -> Database:
    """How the database is dumped and restored.

    :raises UsageError: there is no backup in the settings.
    """
    backup = settings.backup
    if backup is None:
        hint = "Say how the database is backed up, like backup: pg_dump (docs/databases.md)."
        raise UsageError(kinds.BACKUP_SETTINGS, f"{settings.stage}: backup: is not set\n  {hint}")
    return _database(backup)


def _database(backup: Backup) -> Database:
    return Database(
        tool=backup.tool or "",
        variable=backup.database,
        command=backup.command or "",
        restore=backup.restore or "",
        keep=backup.keep,
        timeout=backup.timeout,
    )


def packages(settings: Settings) -> list[str]:
    """The system's packages that make and restore a backup."""
    return CLIENTS.get(settings.backup.tool or "", []) if settings.backup else []


def migrators(settings: Settings) -> list[Migrator]:
    """What migrates the database among the hooks before a switch, as far as it is Django's or Alembic's."""
    return [found for hook in settings.hooks.before_switch if (found := migrator(hook.run, hook.timeout))]


def migrator(command: str, timeout: float) -> Migrator | None:
    """What a shell command migrates the database with; None where it does something else, or more than that."""
    if found := DJANGO.fullmatch(command):
        return Migrator("django", found["prefix"], CHOOSING.findall(found["rest"]), command, timeout)
    if found := ALEMBIC.fullmatch(command):
        return Migrator("alembic", found["prefix"], [], command, timeout)
    return None


def migrates_alone(settings: Settings) -> bool:
    """Whether all that is done before a switch is migrating the database by files of the release."""
    hooks = settings.hooks.before_switch
    return bool(hooks) and len(migrators(settings)) == len(hooks)
