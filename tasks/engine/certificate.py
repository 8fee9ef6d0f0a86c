"""A certificate of one's own on this machine: one that browsers would refuse is refused before connecting."""

from __future__ import annotations

import datetime
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from . import terminal
from .errors import UsageError
from .remote import certificates, kinds

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from .settings import Settings


def files(settings: Settings) -> list[Path]:
    """The site's certificate and its key on this machine; none where they come from elsewhere."""
    tls = settings.site.tls
    if tls is None or tls.on_host or not (tls.certificate and tls.key):
        return []
    return [settings.local(tls.certificate), settings.local(tls.key)]


def own(settings: Settings) -> tuple[str, str]:
    """The texts of a local certificate, with its chain, and of its key.

    :raises UsageError: a file cannot be read, they do not fit, or browsers would refuse the certificate.
    """
    _looked_at(settings)
    path, key_path = files(settings)
    return path.read_text(encoding="ascii"), key_path.read_text(encoding="ascii")


def _looked_at(settings: Settings) -> list[Certificate]:
    """The local certificate and its chain, once it is known that browsers would take it; raises as own()."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    path, key_path = files(settings)
    chain, key = _chain(path), _key(key_path)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    keys = [certificate.public_key().public_bytes(*form) for certificate in chain]
    if keys[0] != key:
        order = " first: another one in the file does, and the site's own has to come first" if key in keys else ""
        raise UsageError(
            kinds.CERTIFICATE, f"site.tls.key: {key_path} is not the key of the certificate in {path}{order}"
        )
    _check_time(path, chain[0])
    _check_names(path, chain[0], settings.site.names)
    _check_order(path, chain)
    return chain


def warn(settings: Settings) -> None:
    """Say what is allowed, and will bring trouble: a certificate that ends soon, or one that browsers may not know.

    :raises UsageError: see own().
    """
    path, chain = files(settings)[0], _looked_at(settings)
    days = (chain[0].not_valid_after_utc - _now()).days
    if days < certificates.SOON_DAYS:
        terminal.say("", "tls", f"the certificate in {path} expires in {days} days", "yellow")
    if len(chain) == 1 and chain[0].issuer != chain[0].subject:
        who = chain[0].issuer.rfc4514_string()
        terminal.say("", "tls", f"{path} has no chain: many clients refuse it without that of {who}", "yellow")


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(kinds.CERTIFICATE, f"site.tls.{key}: {path} cannot be read: {error.strerror}") from error


def _chain(path: Path) -> list[Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(_read(path, "certificate"))
    except ValueError as error:
        raise UsageError(
            kinds.CERTIFICATE, f"site.tls.certificate: there is no certificate in PEM in {path}"
        ) from error


def _key(path: Path) -> bytes:
    """The public half of a key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(_read(path, "key"), None)
    except TypeError as error:
        raise UsageError(
            kinds.CERTIFICATE,
            f"site.tls.key: {path} is encrypted, and nobody types a passphrase when nginx starts\n"
            f"  Decrypt it: openssl pkey -in {path} -out KEY, and keep that out of git"
        ) from error
    except ValueError as error:
        raise UsageError(kinds.CERTIFICATE, f"site.tls.key: there is no key in PEM in {path}") from error
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_time(path: Path, certificate: Certificate) -> None:
    if certificate.not_valid_after_utc <= _now():
        ended = certificate.not_valid_after_utc
        raise UsageError(kinds.CERTIFICATE, f"site.tls.certificate: {path} expired on {ended:%Y-%m-%d}: renew it")
    if certificate.not_valid_before_utc > _now():
        begins = certificate.not_valid_before_utc
        raise UsageError(
            kinds.CERTIFICATE, f"site.tls.certificate: {path} is not valid before {begins:%Y-%m-%d %H:%M} UTC"
        )


def _check_names(path: Path, certificate: Certificate, names: list[str]) -> None:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = found.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        covered = []
    if missing := [name for name in names if not certificates.covers(covered, name)]:
        there = ", ".join(covered) or "no domain"
        raise UsageError(
            kinds.CERTIFICATE, f"site.tls.certificate: {path} is not for {', '.join(missing)}, but for {there}"
        )


def _check_order(path: Path, chain: list[Certificate]) -> None:
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            raise UsageError(
                kinds.CERTIFICATE,
                f"site.tls.certificate: in {path}, {lower.subject.rfc4514_string()} is followed by "
                f"{upper.subject.rfc4514_string()}, which has not signed it: each has to be followed by its issuer"
            )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
