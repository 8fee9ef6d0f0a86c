"""``fab push``: begin the next release with exactly the files of a revision."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from .engine import configuration, git, hosts, local, procfile, terminal
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import drivers, kinds, source, times
from .engine.session import RemoteCall, reference
from .engine.verb import verb

if TYPE_CHECKING:
    from .engine.settings import Settings


@verb(help={"ref": "branch, tag or commit; by default source.ref of the settings"})
def push(c: Context, ref: str | None = None) -> None:
    """Step 1: begin the next release with a revision's files."""
    targets = hosts.of(c)
    for host in targets:
        local.check(host.settings)
    wanted = revision(targets[0].settings, ref)
    hosts.each(targets, lambda host: host.begin(f"push of {wanted.short}"), "looking")
    name = new_id(wanted, targets)
    hosts.each(targets, lambda host: _push(host, wanted, name), f"sending {wanted}")


def new_id(wanted: Wanted, targets: list[Host]) -> str:
    """The id of a release made now: UTC time and short revision, the same on every host of a deploy.

    Where a release of this second is there already, the next second that is free.
    """
    return f"{new_stamp('push', targets)}-{wanted.short}"


def new_stamp(what: str, targets: list[Host]) -> str:
    """The time that the id of a release made now begins with: the next second that no release on the hosts has."""
    taken = {name.partition("-")[0] for host in targets for name in host.begin(what)["ids"]}
    second = int(time.time())
    while (stamp := time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))) in taken:
        second += 1
    return stamp


@dataclass(frozen=True)
class Wanted:
    """What is to be deployed: a revision of a repository, or a package."""

    label: str
    commit: str
    short: str
    subject: str
    ref: str
    git: git.Revision | None = None
    procfile: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.short} {self.subject}".strip()


def revision(settings: Settings, ref: str | None) -> Wanted:
    """Find what is to be deployed, before anything is connected to.

    :raises UsageError: there is no such revision, or a package has none.
    """
    origin = settings.source
    if origin.package:
        if ref:
            raise UsageError(kinds.ARGUMENT, "--ref has no meaning with source.package: name the version there")
        return _package(settings, origin.package)
    found = (
        git.fetch(origin.git, ref or origin.ref)
        if origin.git
        else git.resolve(settings.local(origin.path or "."), ref or origin.ref)
    )
    if found.uncommitted:
        changes = "1 uncommitted change" if found.uncommitted == 1 else f"{found.uncommitted} uncommitted changes"
        terminal.say("", "push", f"not deployed: {changes} in {found.repository}", "yellow")
    processes = _procfile(found, settings)
    return Wanted(found.commit, found.commit, found.short, found.subject, found.ref, found, processes)


def _package(settings: Settings, package: str) -> Wanted:
    content = package.encode()
    if package.endswith(".whl"):
        (path,) = local.wheels(settings, package)
        content, version = path.read_bytes(), path.name.split("-")[1]
    else:
        version = package.partition("==")[2]
    digest = hashlib.sha256(content).hexdigest()
    short = re.sub(r"[^A-Za-z0-9.]", "", version)[:10] or digest[:7]
    return Wanted(package, digest, short, Path(package).name, package)


def _push(host: Host, wanted: Wanted, name: str) -> None:
    digest = configuration.digest(host)
    following = host.next or {}
    if following.get("pushed") and (following.get("commit"), following.get("digest")) == (wanted.commit, digest):
        host.say("push", f"nothing to do: {wanted} is next already", "green")
        return
    host.run(calls(host, wanted, name))


def calls(host: Host, wanted: Wanted, name: str) -> list[RemoteCall]:
    """What is to be done on a host to make a revision its next release.

    :param name: the id of the new release.
    """
    settings, there = host.settings, host.begin("push")
    release = announce(wanted, name, settings, configuration.digest(host))
    shared = _shared(settings) if settings.has_code else source.Shared(dirs=[], served=[], files=[], placed=[])
    rights = (settings.user, there["facts"]["web_group"], shared)
    sent: list[int] = []

    def tell(result: object) -> None:
        host.say("push", f"{wanted} is next ({terminal.size(sum(sent))} sent)")

    host.next = release
    if wanted.git is None or not settings.has_code:
        return [RemoteCall(reference(source.prepare, settings.root, release, *rights), tell)]
    commit, pack = git.missing_objects(wanted.git, there["known"])
    receive = reference(source.receive, settings.root, release, commit, *rights)
    return [RemoteCall(receive, tell, _counted(pack, sent))]


def _shared(settings: Settings) -> source.Shared:
    """What outlives the releases of a host that has the application's code."""
    return {
        "dirs": settings.shared.dirs,
        "served": [name for name in settings.shared.dirs if _is_served(name, settings)],
        "files": [target for target, local in settings.shared.files.items() if local is None],
        "placed": local.placed_files(settings),
    }


def _is_served(name: str, settings: Settings) -> bool:
    """Whether nginx reads a shared directory: it, one in it or one around it is media."""
    return any(
        f"{name}/".startswith(f"{media}/") or f"{media}/".startswith(f"{name}/")
        for media in settings.site.media.values()
    )


def _counted(pack: Iterable[bytes], sent: list[int]) -> Iterator[bytes]:
    for piece in pack:
        sent.append(len(piece))
        yield piece


def announce(wanted: Wanted, name: str, settings: Settings, digest: str) -> dict[str, Any]:
    """What is known about a release before anything of it is there."""
    return {
        "id": name,
        "app": settings.app,
        "revision": wanted.label,
        "commit": wanted.commit,
        "ref": wanted.ref,
        "subject": wanted.subject,
        "who": hosts.who(),
        "digest": digest,
        "procfile": wanted.procfile,
        "made": times.utc(),
    }


def _procfile(found: git.Revision, settings: Settings) -> dict[str, str]:
    """The background processes that the revision's Procfile names; ``web`` and ``release`` are in the settings.

    :raises UsageError: it cannot be read.
    """
    processes = procfile.read(git.read_file(found, "Procfile") or "", f"Procfile of {found.short}")
    other = procfile.server_of(processes.pop(procfile.WEB, ""), drivers.names("servers"))
    server = settings.web.server
    if other and other != server:
        what = f"the web line of the Procfile starts {other}, and web.server is {server}: the settings decide"
        terminal.say("", "push", what, "yellow")
    hook = processes.pop(procfile.RELEASE, "")
    if hook and not settings.hooks.before_switch:
        what = f"the release line of the Procfile is no process and is not run: hooks: {{before_switch: [{hook}]}}"
        terminal.say("", "push", what, "yellow")
    return processes
