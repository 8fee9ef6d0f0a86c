"""What goes wrong between here and a host: login, clock, ports, names. What goes wrong on it: remote/doctor.py."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator

from . import configuration, planning
from .errors import HostError
from .hosts import Host
from .remote import doctor
from .remote.doctor import Finding
from .remote.domains import HTTP_PORT, TLS_PORT
from .settings import is_ip

REACH_SECONDS = 5.0
SKEW_SECONDS = 5.0
OUTSIDE = ("ssh", "clock", "reach", "dns")
OF_VISITORS = ("reach", "dns")  # where they do not come, nothing has to lead


def examine(host: Host) -> tuple[list[str], list[Finding]]:
    """The names of the checks that were made, and what they have found."""
    try:
        host.session  # noqa: B018
    except HostError as error:
        return ["ssh"], [finding("ssh", error.what, "nothing can be done on this host", _hint(error))]
    settings = host.settings
    needed = configuration.wanted(host)
    patient = doctor.Patient(host.owner(), needed, planning.site(settings), settings.site.port)
    began = time.time()
    seen = host.call(doctor.examine, patient)
    found = [*clock(seen["time"], began, time.time())]
    if settings.faces_visitors:
        found += [*reach(host), *names(host, seen["addresses"])]
    outside = [name for name in OUTSIDE if settings.faces_visitors or name not in OF_VISITORS]
    return [*outside, *seen["checks"]], [*found, *seen["findings"]]


def finding(check: str, what: str, why: str, mend: str) -> Finding:
    """One thing that is wrong."""
    return {"check": check, "what": what, "why": why, "mend": mend}


def clock(there: float, earliest: float, latest: float) -> Iterator[Finding]:
    """Whether a host's clock goes with ours.

    :param there: what it showed at some moment between *earliest* and *latest* here; all in seconds since 1970.
    """
    skew = max(earliest - there, there - latest, 0)
    if skew > SKEW_SECONDS:
        which = "behind" if there < earliest else "ahead of"
        yield finding(
            "clock",
            f"its clock is {skew:.0f} seconds {which} ours",
            "releases are named by the time, and certificates and tokens are judged by it",
            "sudo timedatectl set-ntp true; and look at it: timedatectl",
        )


def reach(host: Host) -> Iterator[Finding]:
    """Whether the site's ports are open from here."""
    if host.connection.gateway is not None:  # then we see no more of the host than its gateway lets us
        return
    site = host.settings.site
    for port in (HTTP_PORT, TLS_PORT) if site.tls else (site.port,):
        yield from _reach(host.connection.host, port)


def _reach(address: str, port: int) -> Iterator[Finding]:
    try:
        socket.create_connection((address, port), REACH_SECONDS).close()
    except OSError as error:
        yield finding(
            "reach",
            f"port {port} of {address} cannot be reached from here: {error.strerror or error}",
            "a firewall, on the host or before it, keeps visitors out, or nginx does not listen",
            f"On the host: sudo ss -ltn; sudo ufw allow {port}/tcp, or sudo firewall-cmd --add-port={port}/tcp"
            " --permanent; and look at the provider's own firewall",
        )


def names(host: Host, addresses: Iterable[str]) -> Iterator[Finding]:
    """Whether the site's domains lead to the host.

    :param addresses: that the host says it has.
    """
    own = {*addresses, *resolve(host.connection.host)}
    for domain in host.settings.site.names:
        if domain.startswith("*.") or is_ip(domain.strip("[]")):
            continue
        found = resolve(domain)
        if not found:
            what, why = f"there is no address for {domain}", "no visitor finds the site"
        elif not found & own:
            what = f"{domain} leads to {', '.join(sorted(found))}, and this host is {', '.join(sorted(own))}"
            why = "visitors go elsewhere, unless a proxy or load balancer there passes them on"
        else:
            continue
        yield finding("dns", what, why, f"Set its A and AAAA records; and look at them: getent ahosts {domain}")


def resolve(name: str) -> set[str]:
    """The addresses that a name has, as seen from here."""
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _hint(error: HostError) -> str:
    """The second half of an error's words."""
    return str(error).partition("\n")[2].strip() or "fab status"
