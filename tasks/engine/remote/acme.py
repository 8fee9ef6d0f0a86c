"""Certificates that certbot gets and renews here: it proves by port 80, or by DNS, that a domain leads to this host.

certbot runs as root, so everything it reads and writes is root's: the directory that the proofs are put in, too. It
is Debian's, and so is the timer that renews; a hook of ours then has nginx read the new certificate.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from . import agent, certificates, domains, kinds, nginx, probe, process, releases
from .domains import HTTP_PORT
from .failure import Failed
from .probe import Endpoint
from .resources import Resource, Service, SharedDirectory, SharedFile

WEBROOT = "/var/lib/fabrelease/acme"
QUESTIONS = "/.well-known/acme-challenge"
CERTBOT_SECONDS, OWN_SECONDS = 300.0, 5.0
PACKAGES = ["certbot"]
RELOAD = """\
#!/bin/sh
# written by fabrelease: certbot runs it once a certificate is renewed
exec systemctl reload nginx
"""
RESOURCES: list[Resource] = [
    SharedDirectory(os.path.dirname(WEBROOT)),
    SharedDirectory(WEBROOT),
    SharedFile("/etc/letsencrypt/renewal-hooks/deploy/fabrelease", RELOAD, 0o755),
    Service("certbot.timer"),
]
PROBLEM = re.compile(r"(?m)^\s*Domain: (\S+)\n\s*Type: +(\S+)\n\s*Detail: (.+)$")
HINTS = {
    "dns": "Let the domain's A and AAAA records lead to this host.",
    "connection": "Let port 80 of this host be reached from outside: firewall, NAT, AAAA record.",
    "unauthorized": "Another server has answered: let the domain's records lead to this host alone.",
}
MEANWHILE = "To go live without meanwhile: site: {tls: {acme: {otherwise: http}}}"


@dataclass(frozen=True)
class Authority:
    """Who is asked for a certificate, and how.

    :ivar server: the address of its ACME directory; empty for Let's Encrypt.
    :ivar email: where it may write to; empty for none.
    :ivar hook: what makes DNS records, for a proof by these; empty for one by port 80.
    :ivar is_optional: without a certificate, the site goes live over HTTP.
    """

    server: str
    email: str
    hook: str
    is_optional: bool


def request(app: str, root: str, names: Sequence[str], authority: Authority, texts: dict[str, str]) -> list[str]:
    """Have domains served with one certificate for all of them; what was changed, in words.

    Those that another application has one of the same authority for are served with that, and those of others that
    are served with this one go on to be.

    :param texts: the domains' files on port 80, by which nginx answers the authority.
    :raises Failed: it cannot be had, and nothing live was touched.
    """
    lineage = certificates.lineage(app, authority.server)
    place = f"{certificates.CERTBOT_S}/{lineage}"
    borrowed = certificates.borrowed(app, lineage, names)
    own = [name for name in names if name not in borrowed]
    asked = [*own, *certificates.lent(app, place, but=names)]
    if own and not _is_there(place, asked):
        try:
            _get(app, root, asked, authority, lineage, texts)
        except Failed as failed:
            if not authority.is_optional or any(domains.plain(name) in certificates.there() for name in names):
                raise
            agent.output(f"no TLS yet, the site goes live over HTTP: {failed.message}")
            return []
    return certificates.use(app, own, place)


def _is_there(place: str, names: Sequence[str]) -> bool:
    """Whether there is one for exactly these domains, which has not expired: before that, the timer renews it."""
    path = f"{place}/{certificates.CHAIN}"
    if not os.path.exists(path) or (certificates.expires(path) or 0) < time.time():
        return False
    return {name.lower() for name in certificates.certified(path)} == {name.lower() for name in names}


def _get(
    app: str, root: str, names: Sequence[str], authority: Authority, lineage: str, texts: dict[str, str]
) -> None:
    if not shutil.which("certbot", path=process.environment(None)["PATH"]) or not os.path.isdir(WEBROOT):
        raise Failed(
            kinds.NOT_SET_UP, "setup was not run here for site.tls.acme; nothing was touched", "Run it: fab setup"
        )
    if authority.hook:
        certificates.check_root_s(authority.hook)
    else:
        _answer(app, root, names, texts)
    agent.output(f"certbot asks for a certificate for {', '.join(names)}")
    done = process.run(_certbot(names, authority, lineage), timeout=CERTBOT_SECONDS, keep=100)
    if done.status != 0:
        raise _refusal(names, done, by_port=not authority.hook)


def _certbot(names: Sequence[str], authority: Authority, lineage: str) -> list[str]:
    hook = authority.hook
    by_dns = ["--manual", "--manual-auth-hook", f"{hook} auth", "--manual-cleanup-hook", f"{hook} cleanup"]
    by_port = ["--webroot", "--webroot-path", WEBROOT, "--preferred-challenges", "http"]
    return [
        *("certbot", "certonly", "--non-interactive", "--agree-tos", "--cert-name", lineage),
        *(["--email", authority.email] if authority.email else ["--register-unsafely-without-email"]),
        *(["--server", authority.server] if authority.server else []),
        *([*by_dns, "--preferred-challenges", "dns"] if hook else by_port),
        *("--renew-with-new-domains", "--keep-until-expiring"),
        *(part for name in names for part in ("--domain", name)),
    ]


def _answer(app: str, root: str, names: Sequence[str], texts: dict[str, str]) -> None:
    """Have nginx answer the authority's questions, and ask it one ourselves: a proof that fails counts there.

    :raises Failed: another site answers.
    """
    if changed := domains.announce(app, root, texts):
        agent.output(f"nginx: {', '.join(changed)}")
        nginx.reload()
    token = secrets.token_hex(16)
    path = f"{WEBROOT}{QUESTIONS}/{token}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    releases.write_atomically(path, token.encode(), 0o644)
    try:
        for name in names:
            endpoint = Endpoint(f"127.0.0.1:{HTTP_PORT}", name, f"{QUESTIONS}/{token}", 200, OWN_SECONDS)
            answer = probe.ask(endpoint, None, OWN_SECONDS)
            if answer["body"] != [token]:
                said = probe.describe(endpoint, answer)
                raise Failed(
                    kinds.ACME,
                    f"nginx does not answer for {name} on port 80 as this site would: {said}",
                    "See which other site has the domain: sudo nginx -T",
                )
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _refusal(names: Sequence[str], done: process.Completed, by_port: bool) -> Failed:
    """What is missing, by the authority's own words, or else by certbot's last ones."""
    problems = PROBLEM.findall(done.text)
    told = [f"{domain}: {detail}" for domain, _, detail in problems] or done.lines[-5:]
    hints = [HINTS[kind] for kind in dict.fromkeys(kind for _, kind, _ in problems) if kind in HINTS]
    unknown = [name for name in names if by_port and not _has_address(name)]
    if unknown:
        told.append(f"{', '.join(unknown)} has no address in DNS, as far as this host sees")
    more = "" if hints else "All that certbot says is on the host: /var/log/letsencrypt/letsencrypt.log"
    return Failed(
        kinds.ACME,
        f"there is no certificate for {', '.join(names)}; nothing live was touched{process.quote(told)}",
        " ".join(filter(None, [*hints, more, MEANWHILE])),
    )


def _has_address(name: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(socket.getaddrinfo(name, HTTP_PORT))
    return False
