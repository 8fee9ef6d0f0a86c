"""What a deploy would change on a host, found out without changing anything there."""

from __future__ import annotations

import base64
import difflib
import re
from dataclasses import dataclass, field
from typing import Literal

from . import configuration, git, passwords
from .hosts import Host
from .remote import plan
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


def environment(host: Host, spec: Spec, revision: git.Revision | None, release: str) -> plan.Environment:
    """The environment that a revision would get.

    :param revision: None for a package.
    :param release: the id that the release would have.
    """
    wanted = "|".join([REQUIREMENTS, re.escape(spec["requirements"])])
    texts = git.read_files(revision, wanted) if revision else {}
    return host.call(plan.environment_of, host.settings.root, spec, texts, release)


def _without_id(texts: dict[str, str], release: str) -> dict[str, str]:
    return {name: text.replace(release, THE_RELEASE) for name, text in texts.items()}


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"live/{name}", f"next/{name}", lineterm="")
    return "\n".join(lines)
