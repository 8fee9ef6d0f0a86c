"""Brings the certificate of a site to its host, or has it brought there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import certificate, configuration, hosts, local
from .remote import acme, certificates, domains
from .remote.domains import HTTP_PORT
from .session import RemoteCall, reference

if TYPE_CHECKING:
    from .hosts import Host
    from .settings import Acme

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
SERVERS = {"letsencrypt": "", "staging": STAGING}  # certbot knows the first by itself


def bring_to(targets: list[Host]) -> None:
    """See that hosts have the certificates that their settings name, before their sites are rendered.

    :raises UsageError: a local one cannot be used.
    :raises HostError, HostErrors: one cannot be had; nothing live was touched.
    """
    for host in targets:
        local.check(host.settings)
    hosts.each(targets, _bring_first)


def _bring_first(host: Host) -> None:
    host.begin("certificates")
    bring(host)


def bring(host: Host) -> None:
    """See that a host has the certificate that its settings name.

    :raises HostError: it cannot be had; nothing live was touched.
    """
    if todo := _calls(host):
        host.run(todo)


def ahead(host: Host) -> list[RemoteCall]:
    """What may go into one round trip with the rendered site to see that a host has its certificate.

    Nothing where the site has no TLS there yet: whether it gets it decides what is rendered, so that is done at once.

    :raises HostError: see bring().
    """
    if configuration.is_secure(host):
        return _calls(host)
    bring(host)
    return []


def _calls(host: Host) -> list[RemoteCall]:
    """What is to be done on a host so that it has the certificate that its settings name."""
    site, app = host.settings.site, host.settings.app
    if site.tls is None:
        return []
    if site.tls.acme:
        call = reference(acme.request, app, host.settings.root, site.names, *_asked(host, site.tls.acme))
    elif site.tls.on_host:
        paths = site.tls.certificate or "", site.tls.key or ""
        call = reference(certificates.adopt, app, site.names, *paths)
    elif certificate.files(host.settings):
        call = reference(certificates.install, app, site.names, *certificate.own(host.settings))
    else:
        call = reference(certificates.share, site.names)

    def tell(changed: list[str]) -> None:
        if changed:
            host.say("tls", ", ".join(changed))

    def know(there: list[str]) -> None:
        host.facts["certificates"] = there

    return [RemoteCall(call, tell), RemoteCall(reference(certificates.there), know)]


def _asked(host: Host, wanted: Acme) -> tuple[acme.Authority, dict[str, str]]:
    """Whom certbot asks, and the domains' files on port 80."""
    server = SERVERS.get(wanted.server, wanted.server)
    authority = acme.Authority(server, wanted.email or "", wanted.hook or "", wanted.otherwise == "http")
    template = "nginx/domain.conf.j2"
    return authority, {
        domains.name(name, HTTP_PORT): configuration.domain_text(host, name, HTTP_PORT, template)
        for name in host.settings.site.names
    }
