"""Where the hosts of a stage stand: which release all of them can go back to, and which of them are behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Error, HostError, HostErrors
from .remote import kinds
from .remote.releases import Release, way_back

HINT = "See what there is: fab releases"


@dataclass(frozen=True)
class Standing:
    """What one host has.

    :ivar lineage: the releases that led to the current one, oldest first.
    :ivar releases: all there are, by id.
    """

    current: str | None
    lineage: list[str]
    releases: dict[str, Release]

    def is_good(self, name: str) -> bool:
        """Whether it has a release that has served."""
        return self.releases.get(name, {}).get("state") == "good"


def standing(listing: Mapping[str, Any]) -> Standing:
    """Where a host stands, by what releases.listing says of it."""
    return Standing(listing["current"], listing["lineage"], {known["id"]: known for known in listing["releases"]})


Stage = Mapping[str, Standing]


def choose(stage: Stage, to: str | None) -> str:
    """The one release that the hosts go back to.

    Without a name it is the nearest good one that every host has on its way to its current one. Where the hosts are
    on different releases, that may be one which some of them are on already: then the others come down to it.

    :param stage: the hosts by name.
    :param to: an id, or the unique beginning of an id or a revision.
    :raises HostError, HostErrors: there is none; for each host, why.
    """
    return _named(stage, to) if to is not None else _before(stage)


def _named(stage: Stage, to: str) -> str:
    everywhere = {name for host in stage.values() for name in host.releases}
    found = sorted(name for name in everywhere if name.startswith(to) or name.split("-", 1)[1].startswith(to))
    if len(found) != 1:
        raise _refusal(kinds.RELEASE, dict.fromkeys(stage, f"{len(found) or 'no'} releases answer to {to!r}"))
    (name,) = found
    if all(host.current == name for host in stage.values()):
        raise _refusal(kinds.RELEASE, dict.fromkeys(stage, f"{name} is the current release already"))
    refused = {host: _why_not(there, name) for host, there in stage.items() if not there.is_good(name)}
    if refused:
        raise _refusal(kinds.RELEASE, refused)
    return name


def _why_not(host: Standing, name: str) -> str:
    release = host.releases.get(name)
    if release is None:
        return f"{name} is not here"
    return f"{name} is {release['state']}, not good: {release.get('reason', '')}"


def _before(stage: Stage) -> str:
    currents = {host.current for host in stage.values()}
    ways = [_way(host, with_current=len(currents) > 1) for host in stage.values()]
    common = [name for name in ways[0] if all(name in way for way in ways)]
    if not common:
        raise _refusal(
            kinds.NO_WAY_BACK,
            {
                host: "there is no good release to go back to" + (_has(there) if len(stage) > 1 else "")
                for host, there in stage.items()
            },
        )
    return common[-1]


def _way(host: Standing, with_current: bool) -> list[str]:
    """The good releases that a host can go back to, the nearest last."""
    names = way_back(host.lineage, host.current)
    if with_current and host.current in host.lineage:
        names = [*names, host.current]
    return [name for name in names if host.is_good(name)]


def _has(host: Standing) -> str:
    """What one host could go back to, where not all can."""
    way = _way(host, with_current=False)
    return f" on every host: {host.current or 'nothing'} is live here, before it {way[-1] if way else 'nothing'}"


def _refusal(kind: kinds.Kind, reasons: Mapping[str, str]) -> Error:
    errors = [HostError(kind, host, f"{why}; nothing was touched", HINT) for host, why in reasons.items()]
    return errors[0] if len(errors) == 1 else HostErrors(errors)


def behind(live: Mapping[str, Release | None], stage: str) -> dict[str, str]:
    """The hosts of a stage that are on another revision than the newest release, each with a sentence about it.

    A release's id begins with the time on the machine that deploys, so the clocks of the hosts do not count.

    :param live: what is live on each host.
    """
    newest = max((known for known in live.values() if known), key=lambda known: str(known["id"]), default={})
    level = ", ".join(name for name, known in live.items() if _is_same(known, newest))
    return {
        name: f"it is behind: {known['id'] if known else 'nothing'} is live here, {newest['id']} on {level};"
        f" bring it level: fab -H {stage} deploy"
        for name, known in live.items()
        if newest and not _is_same(known, newest)
    }


def _is_same(one: Release | None, other: Release) -> bool:
    return bool(one) and (one or {}).get("commit") == other.get("commit")
