"""Maintenance: visitors get 503 and a page, while deploys go on and are probed through nginx as ever.

nginx looks into the application's root at each request, so nothing has to be reloaded. ``maintenance`` is a link::

    maintenance -> .maintenance/18a2f0c41d3b9e00-600     after the last -: Retry-After, in seconds
        on           visitors are kept out as long as it is there; in it, for root, what is known about that
        page.html    what they see
        passes/      an empty file for each address that may pass, and one for the secret that the health check shows

All of it is root's, in a directory that the application's user cannot write. nginx's workers may ask whether passes/
has a name, and nobody but root may list it; a secret is new each time, and nginx passes it on to no application.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from . import kinds, nginx, prepare, probe, releases, selinux, times
from .failure import Failed
from .probe import Answer, Endpoint
from .unix import grp

LINK, FOLDER = "maintenance", ".maintenance"
HEADER = "X-Fabrelease-Pass"
CLOSED = 503
HERE = "127.0.0.1"


@dataclass(frozen=True)
class Notice:
    """What visitors are told, and who is none.

    :ivar page: HTML.
    :ivar retry_after: in seconds.
    :ivar allow: IP addresses that may pass, as nginx writes them.
    """

    who: str
    why: str
    page: str
    retry_after: int
    allow: list[str]


class State(TypedDict):
    """A maintenance that is on; ``retry_after`` is in seconds."""

    who: str
    why: str
    since: str
    retry_after: int
    allow: list[str]


def state(root: str) -> State | None:
    """The maintenance that is on."""
    known = _known(root)
    if known is None:
        return None
    return {
        "who": str(known["who"]),
        "why": str(known["why"]),
        "since": str(known["since"]),
        "retry_after": int(known["retry_after"]),
        "allow": list(known["allow"]),
    }


def passing(root: str, site: Endpoint) -> Endpoint:
    """What to ask so that the application answers, whether there is maintenance or not."""
    known = _known(root)
    return replace(site, headers={**site.headers, HEADER: str(known["secret"])}) if known else site


def problem(root: str, site: Endpoint) -> str:
    """Why visitors are not kept out though there is maintenance; empty where all is as it should be."""
    known = state(root)
    answer = nginx.ask(site) if known and HERE not in known["allow"] else None
    return _open_door(answer) if answer and answer["status"] != CLOSED else ""


def switch_on(owner: prepare.Owner, root: str, user: str, site: Endpoint | None, notice: Notice) -> None:
    """Keep visitors out from now on; where they are already, with this notice in place of the one before.

    :param site: what to ask the proxy, where the release does not say it.
    :raises Failed: nothing is live, or visitors are let in all the same: then all is as before.
    """
    prepare.check_ready(owner, root, user)
    current = releases.linked(root, "current")
    if current is None:
        raise Failed(kinds.NOTHING_LIVE, "nothing is live, so there is no site to close", "Deploy first: fab deploy")
    before = _target(root)
    place = _make(root, notice)
    releases.replace_link(f"{root}/{LINK}", f"{FOLDER}/{place}")
    visited = probe.site_of(releases.read(root, current), site)
    if wrong := problem(root, visited) if visited else "":
        releases.unlink(f"{root}/{FOLDER}/{place}/on")
        if before:
            releases.replace_link(f"{root}/{LINK}", f"{FOLDER}/{before}")
        raise Failed(
            kinds.NOT_CLOSED,
            f"{wrong}; all is as before",
            "A release of an earlier version does not know of it: fab deploy --force, and then again. "
            "Where templates/nginx/ of your own replaces site.conf.j2 as a whole: docs/maintenance.md",
        )
    if before:
        releases.unlink(f"{root}/{FOLDER}/{before}/on")  # with its secret; a request may be on its way to its page
    for old in set(os.listdir(f"{root}/{FOLDER}")) - {place, before}:
        releases.discard(f"{root}/{FOLDER}/{old}")


def switch_off(owner: prepare.Owner, root: str, user: str) -> bool:
    """Let visitors in again; whether they were kept out."""
    prepare.check_ready(owner, root, user)
    return releases.unlink(f"{root}/{LINK}/on")


def _known(root: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError), open(f"{root}/{LINK}/on", encoding="utf-8") as file:
        return dict(json.load(file))
    return None


def _open_door(answer: Answer) -> str:
    said = answer["status"] or answer["error"]
    return f"maintenance is on, and yet visitors are let in: the site answers {said}, not {CLOSED}"


def _target(root: str) -> str:
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"{root}/{LINK}"))
    return ""


def _make(root: str, notice: Notice) -> str:
    """Everything that a link then makes true at once; its name."""
    name, secret = f"{time.time_ns():x}-{notice.retry_after}", secrets.token_hex(32)
    place, group = f"{root}/{FOLDER}/{name}", grp.getgrnam(probe.web_group()).gr_gid
    os.makedirs(place)
    os.mkdir(f"{place}/passes", 0o710)
    os.chown(f"{place}/passes", 0, group)
    selinux.restore(f"{root}/{FOLDER}")
    for word in (*notice.allow, secret):
        releases.write_atomically(f"{place}/passes/{word}", b"")
    releases.write_atomically(f"{place}/page.html", notice.page.encode())
    known = {"who": notice.who, "why": notice.why, "since": times.utc(), "retry_after": notice.retry_after}
    content = json.dumps({**known, "allow": notice.allow, "secret": secret}, ensure_ascii=False)
    releases.write_atomically(f"{place}/on", content.encode(), 0o600)
    return name
