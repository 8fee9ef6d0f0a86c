"""What setup puts on a host for an application, in the order in which each needs what is before it.

It is written down in the application's root, so that ``status`` can look at it, and ``remove`` takes it away,
whatever the settings say by then: the old releases keep the manager that an earlier setup has put there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

from . import (
    acme,
    agent,
    backups,
    builder,
    certificates,
    cutover,
    domains,
    drivers,
    lock,
    nginx,
    prepare,
    releases,
    schedule,
    selinux,
    system,
    wire,
)
from .application import Application
from .failure import Failed, describe
from .interpreter import Interpreter
from .machine import HOST, Machine, managers_of
from .resources import Account, Directory, DropIn, File, Link, Packages, Resource, Service, Tool, discard
from .welcome import Welcome

PACKAGES = ("ca-certificates", "git", "iproute2", "logrotate", "openssl", "python3-venv")
PROXY = "nginx"
DROPINS = {PROXY: "Restart=on-failure\nRestartSec=1"}  # Debian's unit leaves a dead nginx dead
UV = Tool("uv", "uv", "uv>=0.8", ["/usr/local/bin/uv", "/usr/bin/uv"], optional=True)  # pip does its work otherwise
RECORD = ".resources"


@dataclass(frozen=True)
class Wanted:
    """What an application needs on a host, as its settings say.

    :ivar packages: of the system, beside those of everybody's.
    :ivar python: the version of Python; None for the host's own.
    :ivar mirror: where uv fetches Python from; None for its usual address.
    :ivar uv: whether uv is to be there; pip does its work otherwise.
    :ivar rotation: what logrotate is told of the application's logs.
    :ivar patience: seconds to wait while another process installs packages.
    :ivar manager: what keeps its programs running; None where it has none.
    :ivar acme: whether its certificate is one that certbot gets.
    :ivar has_site: whether nginx serves it here.
    """

    application: Application
    manager: str | None
    packages: list[str]
    python: str | None
    mirror: str | None
    uv: bool
    rotation: str
    patience: float
    acme: bool = False
    has_site: bool = True


class Record(TypedDict):
    """``wanted`` is what the last setup made sure of, ``left`` what an earlier one made and is there still."""

    wanted: list[Resource]
    left: list[Resource]


def resources(wanted: Wanted) -> list[Resource]:
    """All that setup makes sure of, in its order."""
    application = wanted.application
    manager = drivers.manager(wanted.manager) if wanted.manager else None
    web = system.here().web_user if wanted.has_site else "root"
    proxy = [PROXY] if wanted.has_site else []
    own = [*sorted((*PACKAGES, *proxy)), *selinux.packages()]
    packages = [*own, *(manager.packages if manager else []), *wanted.packages]
    packages += acme.PACKAGES if wanted.acme else []
    dropins = {name: DROPINS[name] for name in proxy} | dict(manager.dropins if manager else {})
    return [
        Packages(packages, wanted.patience),
        *([UV] if wanted.uv else []),
        *([Interpreter(wanted.python, wanted.mirror, wanted.patience)] if wanted.python else []),
        *_accounts(application),
        *_directories(application, web),
        *(Link(f"{application.root}/{name}", f"current/{name}") for name in ("config", "env", "public")),
        *selinux.resources(application.root),
        *(DropIn(name, lines) for name, lines in dropins.items()),
        *(Service(name) for name in (*proxy, *(manager.services if manager else []))),
        *(acme.RESOURCES if wanted.acme else []),
        certificates.Certificates(application.name),
        *([Welcome(), *nginx.resources(application.name, application.root)] if wanted.has_site else []),
        *(manager.resources(application) if manager else []),
        File(prepare.rotation(application.name), wanted.rotation),
    ]


def _accounts(application: Application) -> list[Account]:
    """The application's user, and the account that builds run as, which reads the environment's files."""
    name, user, root = application.name, application.user, application.root
    return [
        Account(user, name, f"{root}/home"),
        Account(builder.name(user), name, builder.home(root), joins=user),
    ]


def _directories(application: Application, web: str) -> list[Directory]:
    """The root and what is in it.

    :param web: the user that nginx's workers run as, and the name of its group.
    """
    root, user = application.root, application.user
    return [
        Directory(root, "root", "root", 0o755),
        Directory(f"{root}/releases", "root", "root", 0o755),
        Directory(f"{root}/envs", "root", "root", 0o755),
        Directory(f"{root}/wheels", "root", "root", 0o755),
        Directory(f"{root}/shared", "root", web, 0o755),
        Directory(f"{root}/logs", "root", web, 0o750),  # nginx's workers open their logs anew after a rotation
        Directory(f"{root}/cache", web, "", 0o700),
        Directory(f"{root}/home", user, "", 0o750),  # its own group, which may have any name
        Directory(builder.home(root), builder.name(user), "", 0o700),
    ]


def setup(owner: prepare.Owner, take_over: bool, wanted: Wanted) -> list[str]:
    """Claim the root, and make everything so; what was changed, in words: nothing the second time.

    :param take_over: a root of another stage or project of the same application.
    :raises Failed: something cannot be had, or somebody else's stands in its place.
    """
    root = wanted.application.root
    changed = prepare.claim(owner, root, take_over)
    needed = resources(wanted)
    _write_record(root, needed)  # first: what a setup that dies has made can be removed
    return changed + [line for resource in needed for line in resource.apply()]


def drift(root: str) -> list[str]:
    """What setup would mend, as far as it costs nothing to see."""
    found = [resource.drift() for resource in _record(root)["wanted"] if resource.cheap]
    return [f"{words}; mend it: fab setup" for words in found if words]


def removable(owner: prepare.Owner, wanted: Wanted, shared: bool) -> list[str]:
    """What remove() would stop and take away, in words.

    :raises Failed: it is another application's, stage's or project's.
    """
    application = wanted.application
    prepare.check_claimed(owner, application.root)
    programs = [program for name in managers_of(application) for program in HOST.manager(name).programs(application)]
    found = [f"{len(there)} releases"] if (there := releases.ids(application.root)) else []
    found += [line for resource in _all(wanted, shared) for line in resource.removable()]
    found += [f"{len(kept)} backups"] if shared and (kept := backups.ids(application.root)) else []
    return [*(f"program {program.name}" for program in programs), *schedule.removable(application), *found]


@agent.uninterrupted()
def remove(owner: prepare.Owner, wanted: Wanted, shared: bool) -> list[str]:
    """Stop an application and take it away; what was done, in words. Cut off, it goes on where it is called again.

    Packages, services and what else serves others stay. So do the backups, and ``shared/``, from then on as root's
    alone: the number of the application's user may be given to somebody else. Another setup and deploy give it back.

    :param shared: take these away, too.
    :raises Failed: it is another application's, stage's or project's, or something resists.
    """
    application, root = wanted.application, wanted.application.root
    prepare.check_claimed(owner, root)
    needed = _all(wanted, shared)
    done = [line for resource in needed for line in resource.removable()]
    accounts = [resource for resource in needed if isinstance(resource, Account)]
    if any(account.name == application.user and account.removable() for account in accounts):
        done = [*_stop(application, HOST), *done]
    for account in accounts:
        account.end()
    if not shared and os.path.isdir(f"{root}/shared"):
        prepare.leave_shared(root, [account.name for account in accounts])
    for resource in reversed(needed):
        resource.remove()
    _clear(root, shared)
    lock.forget(application.name)
    return done


def _all(wanted: Wanted, shared: bool) -> list[Resource]:
    """What this setup and earlier ones have made, but the root itself, and what is to stay."""
    root = wanted.application.root
    record, now = _record(root), resources(wanted)
    kept = [root] if shared else [root, f"{root}/shared"]
    everything = _others([*record["wanted"], *record["left"]], now) + now
    return [found for found in everything if not (isinstance(found, Directory) and found.path in kept)]


def _others(some: Iterable[Resource], known: Sequence[Resource]) -> list[Resource]:
    keys = set(map(_key, known))
    return [resource for resource in some if _key(resource) not in keys]


def _key(resource: Resource) -> tuple[str, str]:
    """A resource's kind, and its first field, which is what it is known by on the host."""
    return type(resource).__qualname__, str(next(iter(vars(resource).values())))


def _stop(application: Application, machine: Machine) -> list[str]:
    """Take the site from nginx, and stop all programs and processes of all releases."""
    root = application.root
    timers = schedule.removable(application)
    for link in ("next", "current"):
        releases.unlink(f"{root}/{link}")
    machine.schedule.stop(application)
    domains.Domains(application.name, root).remove()  # now, so that the reload sees it
    try:
        machine.proxy.reload()
    except Failed as failed:  # somebody else's site is broken: visitors get errors until that is mended
        agent.output(describe(failed))
    for manager in map(machine.manager, managers_of(application)):
        manager.ensure_running(application)
    stopped = cutover.stop_others(application, None, machine, at_once=False)
    cutover.forget_next(application, machine)
    orphans = cutover.end_orphans(application, None, machine)
    return [f"program {name}" for name in stopped] + timers + [f"process {pid}" for pid in orphans]


def _clear(root: str, shared: bool) -> None:
    """Empty the root, what tells that it is ours last, and remove it where nothing is to stay."""
    if not os.path.isdir(root):
        return
    last = (RECORD, prepare.MARK)
    kept = (*last, *(() if shared else prepare.LEFT))
    names = [name for name in os.listdir(root) if name not in kept]
    for name in (*names, *last):
        if os.path.lexists(f"{root}/{name}"):
            discard(f"{root}/{name}")
    if not os.listdir(root):
        os.rmdir(root)
        releases.flush(os.path.dirname(root))


def _record(root: str) -> Record:
    """What earlier setups have written down; what only another version could read is left out."""
    try:
        with open(f"{root}/{RECORD}", encoding="utf-8") as file:
            written = json.load(file)
    except (OSError, ValueError):
        return {"wanted": [], "left": []}
    return {"wanted": list(_decoded(written["wanted"])), "left": list(_decoded(written["left"]))}


def _decoded(written: list[object]) -> Iterable[Resource]:
    for one in written:
        with contextlib.suppress(AttributeError, ImportError, TypeError):
            yield wire.decode(one)


def _write_record(root: str, needed: list[Resource]) -> None:
    before = _record(root)
    left = [resource for resource in _others([*before["wanted"], *before["left"]], needed) if resource.removable()]
    record = {"wanted": wire.encode(needed), "left": wire.encode(left)}
    if record != {"wanted": wire.encode(before["wanted"]), "left": wire.encode(before["left"])}:
        releases.write_atomically(f"{root}/{RECORD}", json.dumps(record).encode() + b"\n", 0o600)
