"""What the hosts of a stage are to each other: a proxy balances over the app hosts, and they believe it.

All of it is a derivation of settings: what is rendered and run on a host follows from its own, as for any other host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from .remote.domains import TLS_PORT

if TYPE_CHECKING:
    from .settings import Served, Settings, Site, SitePath

RESTRICTIONS = ("allow", "deny", "basic_auth", "limit_requests", "limit_connections", "cache")
Hosts = Mapping[str, "Settings"]


class Mistake(NamedTuple):
    """What makes no sense in a stage as a whole: the host and the key of its entry, what is wrong, and a hint."""

    host: str
    key: str
    message: str
    hint: str


class HasSettings(Protocol):
    """A host, as far as its place in a rollout goes."""

    @property
    def settings(self) -> Settings: ...


H = TypeVar("H", bound=HasSettings)


def in_turn(hosts: Sequence[H]) -> list[list[H]]:
    """The hosts in the groups that switch one after another.

    Workers come first: the new one knows the old one's jobs, and not the other way round. Proxies come last: what
    they are told of the application is true by then.
    """
    workers = [host for host in hosts if not host.settings.has_site]
    apps = [host for host in hosts if host.settings.has_app]
    proxies = [host for host in hosts if host.settings.balances]
    return [group for group in (workers, apps, proxies) if group]


def assign(hosts: Hosts) -> dict[str, Settings]:
    """The settings of each host, with what follows from the roles of the others."""
    derived = {name: _without_site(one) if not one.has_site else one for name, one in hosts.items()}
    proxies = [one for one in hosts.values() if one.balances]
    if not proxies:
        return derived
    apps = {name: _behind(one, proxies) for name, one in hosts.items() if one.has_app}
    in_front = {name: _in_front(one, list(apps.values())) for name, one in hosts.items() if one.balances}
    return {**derived, **apps, **in_front}


def _without_site(settings: Settings) -> Settings:
    """A host that has no nginx has no certificate either."""
    return settings.model_copy(update={"site": settings.site.model_copy(update={"tls": None})})


def _behind(settings: Settings, proxies: Sequence[Settings]) -> Settings:
    """An app host behind proxies: it believes them whom they ask for. The domains lead to them, and so does acme."""
    from .settings import Front

    site, addresses = settings.site, [proxy.host.inside for proxy in proxies]
    trusted = list(dict.fromkeys([*site.trusted_proxies, *addresses]))
    tls = None if site.tls is None or site.tls.acme else site.tls.model_copy(update={"hsts": 0})
    front = Front(addresses=addresses, tls=any(proxy.site.tls for proxy in proxies))
    changes = {"trusted_proxies": trusted, "tls": tls}
    return settings.model_copy(update={"site": site.model_copy(update=changes), "front": front})


def _in_front(settings: Settings, apps: Sequence[Settings]) -> Settings:
    """A proxy: what the app hosts do with a request is left to them."""
    from .settings import Balancing, Upstream

    site = settings.site
    upstreams = [
        Upstream(
            address=one.host.inside,
            port=TLS_PORT if one.site.tls else one.site.port,
            weight=one.host.weight,
            backup=one.host.backup,
        )
        for one in apps
    ]
    static = [site.below(prefix) for prefix in site.static]
    balancing = Balancing(hosts=upstreams, tls=any(one.site.tls for one in apps), static=static)
    return settings.model_copy(update={"site": _passing_on(site), "balancing": balancing})


def _passing_on(site: Site) -> Site:
    """A site that only passes requests on, and waits longer than the app hosts do, so that their answer is told."""
    waiting = {"connect": site.balance.connect, "read": site.timeouts.read + site.timeouts.connect}
    left = {"static": {}, "media": {}, "headers": {}, "error_pages": dict.fromkeys(site.error_pages)}
    switches = {"public": None, "upstream_keepalive": 0, "cache_status": False, "intercept_errors": False}
    return site.model_copy(
        update={
            **_unrestricted(site),
            **left,
            **switches,
            "timeouts": site.timeouts.model_copy(update=waiting),
            "paths": {prefix: _path_passing_on(own, site.timeouts.connect) for prefix, own in site.paths.items()},
        }
    )


def _path_passing_on(path: SitePath, connect: int) -> SitePath:
    own = path.timeouts
    waiting = {"connect": None, "read": own.read and own.read + (own.connect or connect)}
    said = {"timeouts": own.model_copy(update=waiting)} if "timeouts" in path.model_fields_set else {}
    return path.model_copy(update={**_unrestricted(path), **said})


def _unrestricted(served: Served) -> dict[str, Any]:
    """Who may ask how often, and what of the answers is kept, the app hosts decide."""
    return {name: type(served).model_fields[name].get_default() for name in RESTRICTIONS}


def mistakes(hosts: Hosts) -> Iterator[Mistake]:
    """What makes no sense in a stage as a whole."""
    apps = {name: one for name, one in hosts.items() if one.has_app}
    proxies = {name: one for name, one in hosts.items() if one.balances}
    if not apps:
        first = next(iter(hosts))
        yield Mistake(first, "roles", "no host of the stage has the role app", "some host has to run the server")
    yield from _idle_processes(hosts)
    for name, one in proxies.items():
        if one.has_worker:
            hint = "add app, or give the workers a host of their own"
            yield Mistake(name, "roles", "a proxy that is no app host has no code for workers", hint)
    yield from _unused(hosts, bool(proxies))
    if apps and proxies:
        yield from _cannot_meet({**apps, **proxies})
        yield from _cannot_balance(apps)
        yield from _too_early(proxies)


def _idle_processes(hosts: Hosts) -> Iterator[Mistake]:
    name, one = next(iter(hosts.items()))
    if one.processes and not any(other.has_worker for other in hosts.values()):
        message = "there are processes, and no host of the stage has the role worker"
        yield Mistake(name, "roles", message, "add it to one")


def _unused(hosts: Hosts, has_proxies: bool) -> Iterator[Mistake]:
    """What is said for proxies, where none would read it."""
    for name, one in hosts.items():
        for key in ("weight", "backup"):
            if key not in one.host.model_fields_set:
                continue
            if not one.has_app:
                yield Mistake(name, key, "only an app host has it, and this is none", "leave it out")
            elif not has_proxies:
                hint = "leave it out, or give a host of its own the roles [proxy]"
                yield Mistake(name, key, "no host of the stage is a proxy without app, that would go by it", hint)


def _cannot_meet(hosts: Hosts) -> Iterator[Mistake]:
    for name, one in hosts.items():
        if not one.host.inside:
            message = "app and proxy hosts know each other by an IP address, and this one's is not said"
            yield Mistake(name, "address", message, "add it, like private: 10.0.0.1")


def _cannot_balance(apps: Hosts) -> Iterator[Mistake]:
    first = next(iter(apps))
    if all(one.host.backup for one in apps.values()):
        yield Mistake(first, "backup", "all app hosts are backups", "some host has to be asked first")
    secure = {name: bool(one.site.tls and not one.site.tls.acme) for name, one in apps.items()}
    for name, has_tls in secure.items():
        if has_tls != secure[first]:
            which = ("has TLS", "has not") if has_tls else ("has no TLS", "has")
            message = f"this app host {which[0]}, and {first} {which[1]}: proxies ask all of them alike"
            yield Mistake(name, "site", message, "give all app hosts the same site.tls")


def _too_early(proxies: Hosts) -> Iterator[Mistake]:
    for name, one in proxies.items():
        if one.rollout.canary and one.rollout.canary.host == name:
            hint = "choose an app host in rollout.canary"
            yield Mistake(name, "roles", "the canary switches first, and a proxy after all app hosts", hint)
