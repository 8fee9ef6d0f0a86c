"""What a deploy would change on a host, found out without changing anything there."""

from __future__ import annotations

import base64
import difflib
import re
from dataclasses import dataclass, field
from typing import Literal

from . import configuration, databases, git, packages, passwords
from .hosts import Host
from .remote import migrations, plan
from .remote.environment import DETECTED
from .remote.installing import Spec
from .remote.releases import Release

THE_RELEASE = "RELEASE"  # stands for either release's id
REQUIREMENTS = "|".join([r"(?:.*/)?[^/]*\.(?:txt|in)", *(rf"(?:.*/)?{re.escape(name)}" for name in DETECTED)])


@dataclass(frozen=True)
class Change:
    """A file of the configuration that would be another, and how: a unified diff."""

    file: str
    change: Literal["new", "changed", "gone"]
    diff: str


@dataclass(frozen=True)
class Secrets:
    """The names of secrets that would come, go, or have another value."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Migrations:
    """What migrating would do, as far as it is known.

    :ivar come: files of migrations of the revision that the live release has not.
    :ivar gone: files of those of the live release that the revision has not.
    :ivar asked: the release that was asked: one that is built of the revision, or the live one; None where what
        migrates is not known.
    :ivar unapplied: the migrations that the database does not have, as that release says.
    """

    come: list[str]
    gone: list[str]
    asked: str | None
    unapplied: list[str] | None


class Supposed(configuration.Building):
    """A release that is only supposed: nothing of it is on the host."""

    @property
    def located_in(self) -> str:
        """Packages are where the live release has them."""
        return str(self.host.live["id"])


def files(host: Host, release: Release) -> list[Change]:
    """The files of the configuration that are not as in the live release.

    :param host: one where a release is live.
    :param release: what would be known about the next.
    """
    host.next = release
    building = Supposed(host)
    entries = [file for part in configuration.parts(host.settings) for file in part(building).files]
    after = {file["path"].partition("/config/")[2]: base64.b64decode(file["data"]).decode() for file in entries}
    after = {name: text for name, text in after.items() if not plan.is_secret(name)}
    before = host.call(plan.configuration, host.settings.root, host.live["id"])
    pages = [f"errors/{status}.html" for status, path in host.settings.site.pages.items() if path]
    kept = {name: text for name, text in before.items() if name not in pages}  # they come from the release itself
    return compare(_without_id(kept, host.live["id"]), _without_id(after, release["id"]))


def compare(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    """What differs between two sets of files."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            change: Literal["new", "changed", "gone"] = "changed"
            change = "new" if name not in before else "gone" if name not in after else change
            found.append(Change(name, change, _diff(name, before.get(name, ""), after.get(name, ""))))
    return found


def secrets(host: Host) -> Secrets:
    """The secrets that are not as in the live release."""
    settings, key = host.settings, host.begin("looking")["key"]
    read = passwords.of_application(settings)
    after = {name: plan.digest(key, value) for name, value in read.items()}
    before = host.call(plan.secrets, settings.root, host.live["id"])
    return Secrets(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
    )


def environment(
    host: Host, spec: Spec, revision: git.Revision | None, release: str
) -> tuple[plan.Environment, packages.Changes | None]:
    """The environment that a revision would get, and the packages in it that would be others than live.

    :param revision: None for a package.
    :param release: the id that the release would have.
    :returns: no packages where nothing is live, or none can be made.
    """
    root = host.settings.root
    wanted = "|".join([REQUIREMENTS, re.escape(spec["requirements"])])
    texts = git.read_files(revision, wanted) if revision else {}
    found = host.call(plan.environment_of, root, spec, texts, release)
    if not host.live or found["problem"]:
        return found, None
    live = host.call(plan.required, root, host.live["id"])
    if found["reused"]:
        return found, packages.of_installed(live["installed"], found["installed"])
    more = [*spec["packages"], *filter(None, [spec["package"]])]
    before = packages.asked(live["source"], live["files"])
    return found, packages.of_asked(live["installed"], before, packages.asked(found["source"], texts, more))


def migrations_of(host: Host, revision: git.Revision | None) -> Migrations:
    """The migrations that would run.

    :param revision: None for a package.
    :raises HostError: what the release says of its migrations cannot be had.
    """
    settings, live = host.settings, host.live["id"]
    there = set(host.call(migrations.files, settings.root, live))
    wanted = {path for path in git.paths(revision) if migrations.FILE.fullmatch(path)} if revision else there
    built = host.next or {}
    is_built = built.get("state") == "built" and revision is not None and built.get("commit") == revision.commit
    asked = str(built["id"] if is_built else live)
    known = databases.migrators(settings)
    said = host.call(migrations.unapplied, settings.root, settings.user, asked, known) if known else None
    return Migrations(sorted(wanted - there), sorted(there - wanted), asked if known else None, said)


def _without_id(texts: dict[str, str], release: str) -> dict[str, str]:
    return {name: text.replace(release, THE_RELEASE) for name, text in texts.items()}


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"live/{name}", f"next/{name}", lineterm="")
    return "\n".join(lines)
