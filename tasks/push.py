"""``fab push``: begin the next release with exactly the files of a revision."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from .engine import configuration, git, hosts, terminal
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import files, source
from .engine.verb import verb

if TYPE_CHECKING:
    from .engine.settings import Settings


@verb(help={"ref": "branch, tag or commit; by default source.ref of the settings"})
def push(c: Context, ref: str | None = None) -> None:
    """Step 1: begin the next release with a revision's files."""
    where = hosts.of(c)
    wanted = revision(where[0].settings, ref)
    name = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"-{wanted.short}"
    hosts.each(where, lambda host: _push(host, wanted, name), f"sending {wanted}")


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed: a revision of a repository, or a package."""

    label: str
    commit: str
    short: str
    subject: str
    ref: str
    git: git.Revision | None = None

    def __str__(self) -> str:
        return f"{self.short} {self.subject}".strip()


def revision(settings: Settings, ref: str | None) -> Wanted:
    """Find what is to be deployed, before anything is connected to.

    :raises UsageError: there is no such revision, or a package has none.
    """
    where = settings.source
    if where.package:
        if ref:
            raise UsageError("--ref has no meaning with source.package: name the version there")
        return _package(settings, where.package)
    found = (
        git.fetch(where.git, ref or where.ref)
        if where.git
        else git.resolve(settings.local(where.path or "."), ref or where.ref)
    )
    if found.uncommitted:
        terminal.say(
            "",
            "push",
            f"{found.uncommitted} uncommitted changes in {found.repository} are not deployed",
            "yellow",
        )
    return Wanted(found.commit, found.commit, found.short, found.subject, found.ref, found)


def _package(settings: Settings, package: str) -> Wanted:
    content = package.encode()
    if package.endswith(".whl"):
        path = settings.local(package)
        if not path.is_file():
            raise UsageError(f"source.package: there is no wheel {path}")
        content, version = path.read_bytes(), path.name.split("-")[1]
    else:
        version = package.partition("==")[2]
    digest = hashlib.sha256(content).hexdigest()
    short = re.sub(r"[^A-Za-z0-9.]", "", version)[:10] or digest[:7]
    return Wanted(package, digest, short, Path(package).name, package)


def _push(host: Host, wanted: Wanted, name: str) -> None:
    settings = host.settings
    there = host.begin(f"push of {wanted.short}")
    placed = _place_shared_files(host)
    digest = configuration.digest(settings)
    release = _release(wanted, name, settings, digest)
    following = there["next"]
    if following and following.get("pushed") and _same(following, release):
        host.say("push", f"nothing to do: {wanted} is next already", "green")
        return
    shared: source.Shared = {
        "dirs": settings.shared.dirs,
        "files": [target for target, local in settings.shared.files.items() if local is None],
        "placed": [target for target, local in settings.shared.files.items() if local is not None],
    }
    owner, group = settings.user, there["facts"]["web_group"]
    sent = 0
    if wanted.git:
        commit, pack = git.missing_objects(wanted.git, there["known"])

        def counted() -> Any:
            nonlocal sent
            for piece in pack:
                sent += len(piece)
                yield piece

        host.send(source.receive, counted())(settings.root, release, commit, owner, group, shared)
    else:
        host.call(source.prepare, settings.root, release, owner, group, shared)
    more = f", shared: {', '.join(placed)}" if placed else ""
    host.say("push", f"{wanted} is next ({terminal.size(sent)} sent{more})")


def _same(there: dict[str, Any], release: dict[str, Any]) -> bool:
    return all(there.get(key) == release[key] for key in ("commit", "digest"))


def _release(wanted: Wanted, name: str, settings: Settings, digest: str) -> dict[str, Any]:
    return {
        "id": name,
        "app": settings.app,
        "revision": wanted.label,
        "commit": wanted.commit,
        "ref": wanted.ref,
        "subject": wanted.subject,
        "who": hosts.who(),
        "digest": digest,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _place_shared_files(host: Host) -> list[str]:
    """Put the files there that are kept in shared/ and come from here, the first time and when they changed."""
    settings = host.settings
    entries = []
    for target, local in settings.shared.files.items():
        if local is not None:
            path = settings.local(local)
            if not path.is_file():
                raise UsageError(f"shared.files: there is no local file {path}")
            entries.append(files.entry(f"{settings.root}/shared/{target}", path.read_bytes(), 0o640, settings.user))
    if not entries:
        return []
    return [Path(path).name for path in host.call(files.install, entries)]
