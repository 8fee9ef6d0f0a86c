"""The certificates of the domains that nginx serves here, whichever application has brought them.

A domain's certificate is ``/etc/fabrelease/tls/<domain>``: a link to a directory with ``fullchain.pem`` and
``privkey.pem``, so that both are changed at once. The directory is certbot's (``/etc/letsencrypt/live/…``), or one of
ours below ``own``, which holds files that were sent here, or links to files that somebody else keeps. All of it is
root's alone.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import os
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypedDict

from . import domains, files, kinds, nginx, process, releases, times
from .domains import TLS_PORT
from .failure import Failed
from .resources import discard

FOLDER = "/etc/fabrelease/tls"
OWN = "/etc/fabrelease/own"
CERTBOT_S = "/etc/letsencrypt/live"
PREFIX = "fabrelease."
CHAIN, KEY = "fullchain.pem", "privkey.pem"
SECONDS = 30.0  # that openssl gets
SOON_DAYS = 14


class Certificate(TypedDict):
    """One that the live release is served with; ``days`` until it expires, ``expires`` in UTC."""

    domains: list[str]
    expires: str
    days: int


def directory(domain: str) -> str:
    """Where a domain's certificate is."""
    return f"{FOLDER}/{domains.plain(domain)}"


def chain(domain: str) -> str:
    """The file of a domain's certificate."""
    return f"{directory(domain)}/{CHAIN}"


def there() -> list[str]:
    """The domains that have one, as their directories are called."""
    return [name for name in _listed(FOLDER) if os.path.exists(f"{FOLDER}/{name}/{CHAIN}")]


def lineage(app: str, authority: str) -> str:
    """What certbot calls an application's certificate of an authority.

    :param authority: its address, or another name.
    """
    return f"{_prefix(app)}{hashlib.sha256(authority.encode()).hexdigest()[:8]}"


def _prefix(app: str) -> str:
    return f"{PREFIX}{app}."  # no application's name has a dot


def borrowed(app: str, lineage: str, names: Sequence[str]) -> list[str]:
    """Those of some domains that another application has, too, with a certificate of the same authority.

    :param lineage: what certbot would call the application's own.
    """
    authority = lineage.rpartition(".")[2]
    return [name for name in names if _is_borrowed(app, authority, name)]


def _is_borrowed(app: str, authority: str, name: str) -> bool:
    place = _target(directory(name))
    owner, _, its = os.path.basename(place).removeprefix(PREFIX).partition(".")
    if not place.startswith(CERTBOT_S) or its != authority or owner == app:
        return False
    has_it = domains.name(name, TLS_PORT) in domains.parts(owner)
    return has_it and (expires(f"{place}/{CHAIN}") or 0) > time.time() and covers(certified(f"{place}/{CHAIN}"), name)


def lent(app: str, place: str, but: Sequence[str]) -> list[str]:
    """The domains of other applications alone that are served with a certificate of this one's.

    :param place: the certificate's directory.
    :param but: the application's own domains.
    """
    others = set(domains.others(app, TLS_PORT)) - set(map(domains.plain, but))
    return [name.replace(domains.ANY, "*") for name in sorted(others) if _target(f"{FOLDER}/{name}") == place]


def install(app: str, names: Sequence[str], certificate: str, key: str) -> list[str]:
    """Have domains served with a certificate that was sent here; what was changed, in words.

    :param certificate: with its chain, in PEM.
    :param key: in PEM.
    :raises Failed: nginx refuses it; the one before is left.
    """
    mark = hashlib.sha256(f"{certificate}\0{key}".encode()).hexdigest()[:16]
    place = f"{OWN}/{app}.{mark}"
    _make_private(place)
    files.install([files.entry(f"{place}/{CHAIN}", certificate, 0o600), files.entry(f"{place}/{KEY}", key, 0o600)])
    return use(app, names, place)


def adopt(app: str, names: Sequence[str], certificate: str, key: str) -> list[str]:
    """Have domains served with files that somebody else keeps on the host; what was changed, in words.

    :param certificate: an absolute path; of files that root alone may write.
    :param key: the same.
    :raises Failed: it cannot be used, for a reason that is said.
    """
    for path in (certificate, key):
        check_root_s(path)
    _check(certificate, names)
    mark = hashlib.sha256(f"{certificate}\0{key}".encode()).hexdigest()[:16]
    place = f"{OWN}/{app}.{mark}"
    _make_private(place)
    for name, target in ((CHAIN, certificate), (KEY, key)):
        releases.replace_link(f"{place}/{name}", target)
    return use(app, names, place)


def share(names: Sequence[str]) -> list[str]:
    """See that domains have certificates, whoever has brought them.

    :raises Failed: one has none.
    """
    if missing := [name for name in names if domains.plain(name) not in there()]:
        raise Failed(
            kinds.CERTIFICATE,
            f"there is no certificate for {', '.join(missing)} on this host; nothing was touched",
            "Say in site.tls where it comes from: acme, or certificate and key.",
        )
    return []


def use(app: str, names: Sequence[str], place: str) -> list[str]:
    """Point domains to the directory of their certificate, and have nginx read it where it serves them.

    :returns: what was changed, in words.
    :raises Failed: nginx refuses it; the one before is left.
    """
    _make_private(FOLDER)
    _make_for_unknown()
    before = {directory(name): _target(directory(name)) for name in names}
    changed = [link for link, target in before.items() if target != place]
    for link in changed:
        releases.replace_link(link, place)
    if changed and any(_is_served(name) for name in names):
        tried = process.run(["nginx", "-t", "-q"], timeout=60)
        if tried.status != 0:
            _put_back({link: before[link] for link in changed})
            raise Failed(
                kinds.NGINX_SETTINGS,
                f"nginx refuses the certificate; the one before is left{process.quote(tried.lines)}",
            )
        nginx.reload()
    _clear(app)
    return [f"certificate of {os.path.basename(link)}" for link in changed]


def _put_back(links: dict[str, str]) -> None:
    for link, target in links.items():
        if target:
            releases.replace_link(link, target)
        else:
            releases.unlink(link)


def _is_served(name: str) -> bool:
    return os.path.exists(f"{domains.folder()}/{domains.name(name, TLS_PORT)}.conf")


def _make_for_unknown() -> None:
    """A certificate for the handshakes of unknown names, for an nginx that cannot refuse them (before 1.19.4)."""
    place = directory("*")
    if not os.path.exists(f"{place}/{CHAIN}"):
        _make_private(place)
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        out = ["-subj", "/CN=nobody", "-days", "36500", "-keyout", f"{place}/{KEY}", "-out", f"{place}/{CHAIN}"]
        process.check([*make, *out], "a certificate for unknown names could not be made", timeout=SECONDS)


def check_root_s(path: str) -> None:
    """See that nobody but root can put something else at a path, whatever links lead there.

    :raises Failed: somebody can, or there is nothing.
    """
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        raise Failed(
            kinds.CERTIFICATE, f"there is no file {path}; nothing was touched", "Put it there, or correct site.tls."
        )
    for place in {path, real}:
        while place != "/":
            info = os.lstat(place)
            may_write = stat.S_IMODE(info.st_mode) & 0o022 and not stat.S_ISLNK(info.st_mode)
            if info.st_uid != 0 or may_write:
                raise Failed(
                    kinds.NOT_ROOTS,
                    f"{path} is read by root, and {place} is not root's alone; nothing was touched",
                    f"Make it so: sudo chown root {place}; sudo chmod go-w {place}",
                )
            place = os.path.dirname(place)


def _check(certificate: str, names: Sequence[str]) -> None:
    """What can be wrong with a certificate that nobody has looked at before.

    :raises Failed: something is.
    """
    show = ["openssl", "x509", "-noout", "-in", certificate]
    if process.run([*show, "-checkend", "0"], timeout=SECONDS).status != 0:
        raise Failed(
            kinds.CERTIFICATE, f"{certificate} is no certificate, or has expired; nothing was touched", "Renew it."
        )
    covered = certified(certificate)
    if missing := [name for name in names if not covers(covered, name)]:
        raise Failed(
            kinds.CERTIFICATE,
            f"{certificate} is not for {', '.join(missing)}, but for {', '.join(covered)}; nothing was touched",
            "Take a certificate for all of site.domains and site.redirect_domains.",
        )


def certified(certificate: str) -> list[str]:
    """The names that a certificate is for."""
    show = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", certificate]
    return re.findall(r"DNS:([^,\s]+)", process.run(show, timeout=SECONDS).text)


def covers(covered: Sequence[str], name: str) -> bool:
    """Whether a name is among those of a certificate; a wildcard stands for one label."""
    some = [one.lower() for one in covered]
    return name.lower() in some or f"*.{name.lower().partition('.')[2]}" in some


def expires(certificate: str) -> float | None:
    """When a certificate ends, in seconds since 1970; None where that cannot be read."""
    text = process.run(["openssl", "x509", "-noout", "-enddate", "-in", certificate], timeout=SECONDS).text
    if not (found := re.search(r"notAfter=(.+) GMT", text)):
        return None
    return calendar.timegm(time.strptime(found[1], "%b %d %H:%M:%S %Y"))


def live(root: str, release: str, problems: list[str]) -> list[Certificate]:
    """The certificates that a release is served with; each that is near its end is a problem."""
    by_place: dict[str, list[str]] = {}
    for name in domains.of_release(root, release, "sites"):
        domain, _, port = name.rpartition("_")
        if port == str(TLS_PORT):
            by_place.setdefault(_target(f"{FOLDER}/{domain}"), []).append(domain.replace(domains.ANY, "*"))
    found: list[Certificate] = []
    for place, names in by_place.items():
        if (end := expires(f"{place}/{CHAIN}")) is None:
            problems.append(f"the certificate of {', '.join(names)} cannot be read: {place}/{CHAIN}")
            continue
        days = int((end - time.time()) // 86400)
        at = times.utc(end)
        found.append({"domains": names, "expires": at, "days": days})
        if days < SOON_DAYS:
            told = f"expires in {days} days" if days >= 0 else "has expired"
            problems.append(f"the certificate of {', '.join(names)} {told}; {_mend(place)}")
    return found


def _mend(place: str) -> str:
    if place.startswith(CERTBOT_S):
        return "certbot has not renewed it: sudo certbot renew says why"
    if place.startswith(OWN) and not os.path.islink(f"{place}/{CHAIN}"):
        return "renew the local file, then: fab deploy"
    return f"whoever keeps {os.path.realpath(f'{place}/{CHAIN}')} has to renew it"


def _make_private(path: str) -> None:
    os.makedirs(path, mode=0o700, exist_ok=True)


def _target(link: str) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


def _clear(app: str) -> None:
    """Take away what the application, or one that is not here any more, has brought and no domain is served with."""
    used = {_target(f"{FOLDER}/{name}") for name in _listed(FOLDER)}
    for name in _listed(OWN):
        if name.startswith(f"{app}.") and f"{OWN}/{name}" not in used:
            discard(f"{OWN}/{name}")
    for name in _listed(CERTBOT_S):
        owner = name.removeprefix(PREFIX).partition(".")[0]
        is_over = name.startswith(PREFIX) and (owner == app or not domains.parts(owner))
        if is_over and f"{CERTBOT_S}/{name}" not in used:
            process.run(["certbot", "delete", "--non-interactive", "--cert-name", name], timeout=SECONDS)


def _listed(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(folder))
    return []


@dataclass(frozen=True)
class Certificates:
    """What an application has brought for its domains: it goes with it, where nobody else is served with it."""

    app: str
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Nothing: a deploy brings them, and ``status`` looks at them."""
        return ""

    def apply(self) -> list[str]:
        """Nothing is done."""
        return []

    def removable(self) -> list[str]:
        """Those of domains that nobody else has a part of."""
        return [f"certificate {FOLDER}/{name}" for name in self._unused()]

    def remove(self) -> None:
        """Take them away; the application's parts of the domains are gone by then."""
        for name in self._unused():
            releases.unlink(f"{FOLDER}/{name}")
        _clear(self.app)

    def _unused(self) -> list[str]:
        own = (f"{OWN}/{self.app}.", f"{CERTBOT_S}/{_prefix(self.app)}")
        served = domains.others(self.app, TLS_PORT)
        mine = [name for name in _listed(FOLDER) if _target(f"{FOLDER}/{name}").startswith(own)]
        return [name for name in mine if name not in served]
