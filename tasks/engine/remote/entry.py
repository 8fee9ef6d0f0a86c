"""The first call of a session that changes something: is the host ready, is it ours to change, what is there."""

from __future__ import annotations

import os
import re
from typing import TypedDict

from . import acme, agent, certificates, lock, nginx, prepare, probe, process, recovery, releases, source, system
from .application import Application
from .machine import HOST, Programs, units_of
from .probe import Endpoint


class Facts(TypedDict):
    """What the steps and the templates need to know about a host.

    ``certificates`` are the domains that have one, as they stand in names of files; ``webroot`` is where the
    questions of an authority are answered from, where that was set up; ``authorities`` is the file of those whose
    certificates the system trusts.
    """

    family: str
    ipv6: bool
    nginx_version: list[int]
    precompressed: list[str]
    authorities: str
    web_user: str
    web_group: str
    certificates: list[str]
    webroot: str


class Entry(TypedDict):
    """What a session starts with.

    ``key`` is what this host's digests of settings are keyed with, ``ids`` are the releases that are there,
    ``addresses`` what the other releases' servers bind, ``cleared`` says what an earlier deploy had left.
    """

    facts: Facts
    key: str
    known: list[str]
    current: releases.Release | None
    next: releases.Release | None
    ids: list[str]
    addresses: list[str]
    live: bool
    cleared: list[str]


def facts() -> Facts:
    """Look at the host."""
    said = process.run(["nginx", "-V"]).text if _has("nginx") else ""
    version = re.search(r"nginx/([\d.]+)", said)
    return {
        "family": system.here().family,
        "ipv6": _has_ipv6(),
        "nginx_version": [int(part) for part in version[1].split(".")] if version else [],
        "precompressed": nginx.precompressed(said),
        "authorities": system.here().authorities,
        "web_user": probe.web_user(),
        "web_group": probe.web_group(),
        "certificates": certificates.there(),
        "webroot": acme.WEBROOT if os.path.isdir(acme.WEBROOT) else "",
    }


def begin(application: Application, site: Endpoint | None, owner: prepare.Owner, what: str) -> Entry:
    """Take the lock, clear away what an earlier deploy left, and look at what is there.

    :param site: what to ask the proxy; None where there is none.
    :param owner: whose the root has to be, and who deploys.
    :param what: what the lock is taken for.
    :raises Failed: setup was not run, or somebody else is deploying.
    """
    root = application.root
    prepare.check_ready(owner, root, application.user)
    lock.take(application.name, root, owner["who"], what)
    agent.keep_journal(root, owner["who"])
    agent.journal(f"begin: {what}")
    cleared = recovery.clear(application, site)
    releases.key(root)
    return {**look(application), "cleared": cleared}


def look(application: Application) -> Entry:
    """Look at what is there, and change nothing."""
    root = application.root
    current, following = releases.linked(root, "current"), releases.linked(root, "next")
    ids = releases.ids(root)
    others = [releases.read(root, name) for name in ids if name != following]
    return {
        "facts": facts(),
        "key": releases.known_key(root),
        "known": source.known(root),
        "current": releases.read(root, current) if current else None,
        "next": releases.read(root, following) if following else None,
        "ids": ids,
        "addresses": [unit.address for known in others for unit in units_of(known)],
        "live": current is not None and Programs(HOST, application, current).run(),
        "cleared": [],
    }


def _has(program: str) -> bool:
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in ("/usr/sbin", "/usr/bin", "/usr/local/sbin"))


def _has_ipv6() -> bool:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            return bool(file.read().strip())
    except OSError:
        return False
