"""The migrations of releases, by their files and by what Django and Alembic say: those between two, and the way back.

A release's files and its environment are root's and sealed. Django and Alembic run as the application's user.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import agent, hooks, kinds, process, releases, tree
from .application import launcher
from .failure import Failed

# Django's are in migrations/, Alembic's in versions/, wherever these are.
FILE = re.compile(r"(?:.*/)?(?:migrations|versions)/(?!__init__\.py)[^/]+\.(?:py|sql)")
LARGEST = 4 << 20  # bytes that are read of what a command says, or of a file
NAME = r"[A-Za-z0-9_]+"
LABEL = re.compile(rf"({NAME})")
MARKED = re.compile(rf" \[([ X-])\] ({NAME})( \(\d+ squashed migrations\).*)?.*")
REVISION = re.compile(rf"({NAME})(?: .*)?")
BY_HAND = "Go back without --with-migrations, or reverse them by hand: fab run '…'"


@dataclass(frozen=True)
class Migrator:
    """What migrates a database.

    :ivar kind: django or alembic.
    :ivar prefix: the beginning of a shell command, to which a command of Django's or Alembic's is added.
    :ivar options: that each of them is given.
    :ivar forward: the shell command that brings the database to a release.
    :ivar timeout: seconds that each gets.
    """

    kind: str
    prefix: str
    options: list[str]
    forward: str
    timeout: float


class Migration(NamedTuple):
    """One of Django's.

    :ivar is_squashed: it stands for others.
    """

    name: str
    is_applied: bool
    is_squashed: bool


Migrations = dict[str, list[Migration]]  # of each app, in their order


def same(root: str, one: str, other: str) -> bool:
    """Whether two releases have the same migrations, as far as that can be seen: the same files, and packages.

    A release in which no file is seen to be one may have them anywhere.
    """
    if releases.read(root, one).get("environment") != releases.read(root, other).get("environment"):
        return False
    found = _digests(root, one)
    return bool(found) and found == _digests(root, other)


def files(root: str, release: str) -> list[str]:
    """The files of a release that are migrations, without those of its packages."""
    return sorted(_paths(_public(root, release)))


def between(root: str, newer: str, older: str) -> list[str]:
    """The files of migrations that a release has and another has not, in their order; of packages those of all."""
    found = sorted(_paths(_public(root, newer)) - _paths(_public(root, older)))
    if releases.read(root, newer).get("environment") == releases.read(root, older).get("environment"):
        return found
    before = {path for place in _packages(root, older) for path in _paths(place)}
    return found + sorted({path for place in _packages(root, newer) for path in _paths(place)} - before)


@agent.uninterrupted()
def reverse(root: str, user: str, newer: str, older: str, migrators: Sequence[Migrator]) -> list[str]:
    """Reverse the migrations of a release that an older one does not have; their names, the newest first.

    Where one cannot be, or the deployer dies before its next call, those that were are done again.

    :raises Failed: they are not reversed, and why.
    """
    runs = [_Run(root, user, migrator) for migrator in migrators]
    found = [(run, (_django if run.migrator.kind == "django" else _alembic)(run, newer, older)) for run in runs]
    agent.if_abandoned(lambda: forward(root, user, newer, migrators))
    try:
        for run, reversal in found:
            for words in reversal.commands:
                run.show(newer, words)
    except Failed as failed:
        what = f"{failed.message}\n  {_again(root, user, newer, migrators)}"
        raise Failed(kinds.NOT_REVERSED, what, BY_HAND) from failed
    return [name for _, reversal in found for name in reversal.names]


def forward(root: str, user: str, release: str, migrators: Sequence[Migrator]) -> None:
    """Bring the database to a release.

    :raises Failed: a command failed.
    """
    agent.if_abandoned(None)
    commands: list[dict[str, object]] = [{"run": one.forward, "timeout": one.timeout} for one in migrators]
    hooks.run(root, release, user, "before_switch", commands)


def unapplied(root: str, user: str, release: str, migrators: Sequence[Migrator]) -> list[str]:
    """The migrations of a release that the database does not have.

    :raises Failed: the release's own commands do not say.
    """
    found: list[str] = []
    for migrator in migrators:
        run = _Run(root, user, migrator)
        if migrator.kind == "django":
            apps = run.showmigrations(release)
            found += [f"{app}.{one.name}" for app, listed in apps.items() for one in listed if not one.is_applied]
        else:
            current = run.revisions(release, "current")
            found += [name for name in run.revisions(release, "heads") if name not in current]
    return found


class _Reversal(NamedTuple):
    """Commands that reverse migrations, and the names of these, the newest first."""

    commands: list[list[str]]
    names: list[str]


class _Run:
    """Commands of a migrator, in a release, as the application's user."""

    def __init__(self, root: str, user: str, migrator: Migrator) -> None:
        self.root, self.user, self.migrator = root, user, migrator

    def ask(self, release: str, words: Sequence[str]) -> list[str]:
        """The lines that one prints.

        :raises Failed: it failed.
        """
        printed = bytearray()

        def take(piece: bytes) -> None:
            printed.extend(piece[: LARGEST - len(printed)])

        done = process.run(self._argv(release, words), user=self.user, timeout=self.migrator.timeout, into=take)
        self._check(done, words)
        return printed.decode(errors="replace").splitlines()

    def show(self, release: str, words: Sequence[str]) -> None:
        """Run one, and show what it prints.

        :raises Failed: it failed.
        """
        agent.output(f"$ {self.migrator.prefix} {' '.join(words)}")
        argv = self._argv(release, words)
        self._check(process.run(argv, user=self.user, timeout=self.migrator.timeout, on_line=agent.output), words)

    def showmigrations(self, release: str) -> Migrations:
        """Django's migrations of a release."""
        return read_list(self.ask(release, ["showmigrations", "--list", "--no-color"]))

    def revisions(self, release: str, which: str) -> list[str]:
        """Alembic's revisions: heads, or current."""
        return [found[1] for line in self.ask(release, [which]) if (found := REVISION.fullmatch(line.strip()))]

    def _argv(self, release: str, words: Sequence[str]) -> list[str]:
        launch, typed = launcher(releases.directory(self.root, release)), f'{self.migrator.prefix} "$@"'
        return [*launch, "/bin/sh", "-c", typed, "sh", *words, *self.migrator.options]

    def _check(self, done: process.Completed, words: Sequence[str]) -> None:
        if done.status != 0:
            what = f"{self.migrator.prefix} {' '.join(words)}"
            how = process.ending(done, "it", self.migrator.timeout)
            hint = f"Try it in the live release: fab run '{what}'"
            raise Failed(kinds.PROGRAM_FAILED, f"{what}: {how}{process.quote(done.lines)}", hint)


def read_list(lines: Iterable[str]) -> Migrations:
    """What ``showmigrations --list`` prints."""
    apps: Migrations = {}
    listed: list[Migration] = []
    for line in lines:
        if found := LABEL.fullmatch(line):
            listed = apps.setdefault(found[1], [])
        elif found := MARKED.fullmatch(line):
            listed.append(Migration(found[2], found[1] == "X", found[3] is not None))
    return apps


def targets(newer: Migrations, older: Migrations) -> dict[str, str]:
    """What each app of Django's is to be migrated to, so that nothing is applied that the older release has not.

    :raises Failed: that cannot be told from their names.
    """
    found = {}
    for app, listed in newer.items():
        known = {one.name for one in older.get(app, [])}
        extra = [one for one in listed if one.is_applied and one.name not in known]
        if not extra:
            continue
        gone = sorted(known - {one.name for one in listed})
        if gone or any(one.is_squashed for one in extra):
            why = f"it has {gone[0]}, which the live one has not" if gone else "some were squashed since"
            what = f"the migrations of {app} cannot be reversed to those of the older release: {why}"
            raise Failed(kinds.NOT_REVERSED, what, BY_HAND)
        found[app] = older[app][-1].name if older.get(app) else "zero"
    return found


def _django(run: _Run, newer: str, older: str) -> _Reversal:
    """:raises Failed: one of them has no way back."""
    here, there = run.showmigrations(newer), run.showmigrations(older)
    commands = [["migrate", app, target] for app, target in targets(here, there).items()]
    for words in commands:
        planned = run.ask(newer, [*words, "--plan", "--no-color"])
        if stuck := next((line.strip() for line in planned if "IRREVERSIBLE" in line), ""):
            what = f"migrations cannot be reversed: {' '.join(words[1:])}: {stuck}"
            raise Failed(kinds.NOT_REVERSED, what, BY_HAND)
    known = {(app, one.name) for app, listed in there.items() for one in listed}
    names = [
        f"{app}.{one.name}"
        for app, listed in here.items()
        for one in reversed(listed)
        if one.is_applied and (app, one.name) not in known
    ]
    return _Reversal([[*words, "--noinput"] for words in commands], names)


def _alembic(run: _Run, newer: str, older: str) -> _Reversal:
    """:raises Failed: the older release has no single last revision."""
    heads, current = run.revisions(older, "heads"), run.revisions(newer, "current")
    if len(heads) != 1:
        what = f"the older release has {len(heads)} heads of Alembic's, and one is needed to go back to"
        raise Failed(kinds.NOT_REVERSED, what, BY_HAND)
    if current == heads:
        return _Reversal([], [])
    return _Reversal([["downgrade", heads[0]]], [f"{one} to {heads[0]}" for one in current])


def _again(root: str, user: str, release: str, migrators: Sequence[Migrator]) -> str:
    """Bring the database to a release again; how that went, in words."""
    try:
        forward(root, user, release, migrators)
    except Failed as failed:
        return f"They could not be done again: {failed.message}"
    return "Those that were reversed are done again; what was in their columns and tables is in the backup."


def _public(root: str, release: str) -> str:
    return f"{releases.directory(root, release)}/public"


def _packages(root: str, release: str) -> list[str]:
    return glob.glob(f"{glob.escape(releases.directory(root, release))}/env/lib/python*/site-packages")


def _paths(place: str) -> set[str]:
    return {entry.path for entry in _files(os.path.realpath(place))}


def _files(place: str) -> Iterator[tree.Entry]:
    with tree.within(place) as top:
        for entry in tree.walk(top):
            if stat.S_ISREG(entry.info.st_mode) and FILE.fullmatch(entry.path):
                yield entry


def _digests(root: str, release: str) -> dict[str, str]:
    """Each file of a migration in a release, and the digest of what it holds."""
    found = {}
    for entry in _files(_public(root, release)):
        with tree.opened(entry.folder, entry.name, tree.FILE) as handle:
            found[entry.path] = hashlib.sha256(os.read(handle, LARGEST)).hexdigest()
    return found
