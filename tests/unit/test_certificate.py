"""A certificate of one's own: what is refused before anything is connected to, and in which words."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fabrelease.tasks.engine import certificate, configuration, local
from fabrelease.tasks.engine.errors import UsageError
from fabrelease.tasks.engine.remote.certificates import covers
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings

NAMES = ["demo.example.net", "www.demo.example.net"]
Key = ec.EllipticCurvePrivateKey


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def made(
    key: Key, subject: str, issuer: str = "", signer: Key | None = None, names: list[str] = NAMES, days: tuple[int, int] = (-1, 90)
) -> x509.Certificate:
    """A certificate; one that signs itself where nobody else does."""
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer or subject))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + datetime.timedelta(days[0])).not_valid_after(now + datetime.timedelta(days[1]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    return builder.sign(signer or key, hashes.SHA256())


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def key_pem(key: Key, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def settings(folder: Path, chain: bytes, key: bytes) -> Settings:
    (folder / "site.pem").write_bytes(chain)
    (folder / "site.key").write_bytes(key)
    tls = {"certificate": "site.pem", "key": "site.key"}
    return example_settings(project=folder, site={"tls": tls})


def test_one_with_its_chain_is_taken_and_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, key = new_key(), new_key()
    chain = pem(made(key, "demo", "root", root), made(root, "root", names=[]))
    given = settings(tmp_path, chain, key_pem(key))
    local.check(given)
    assert certificate.own(given) == (chain.decode(), key_pem(key).decode())
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"days": (-9, -1)}, "site.tls.certificate: .*site.pem expired on 20..-..-..: renew it"),
        ({"days": (1, 90)}, "site.tls.certificate: .*site.pem is not valid before 20"),
        ({"names": ["demo.example.net"]}, "is not for www.demo.example.net, but for demo.example.net"),
        ({"names": []}, "is not for demo.example.net, www.demo.example.net, but for no domain"),
        ({"names": ["*.example.net"]}, "is not for www.demo.example.net, but for [*].example.net"),
    ],
)
def test_one_that_browsers_would_refuse_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    key = new_key()
    with pytest.raises(UsageError, match=said):
        local.check(settings(tmp_path, pem(made(key, "demo", **more)), key_pem(key)))


def test_a_key_of_another_certificate_is_refused_and_one_of_the_chain_is_said_to_be(tmp_path: Path) -> None:
    root, key = new_key(), new_key()
    leaf, upper = made(key, "demo", "root", root), made(root, "root", names=[])
    with pytest.raises(UsageError, match=r"site.tls.key: .*site.key is not the key of the certificate in .*site.pem$"):
        local.check(settings(tmp_path, pem(leaf, upper), key_pem(new_key())))
    with pytest.raises(UsageError, match="another one in the file does, and the site's own has to come first"):
        local.check(settings(tmp_path, pem(upper, leaf), key_pem(key)))


def test_a_chain_that_does_not_lead_on_is_refused(tmp_path: Path) -> None:
    root, key, other = new_key(), new_key(), new_key()
    chain = pem(made(key, "demo", "root", root), made(other, "other", names=[]))
    with pytest.raises(UsageError, match="CN=demo is followed by CN=other, which has not signed it"):
        local.check(settings(tmp_path, chain, key_pem(key)))


@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [
        (b"nothing", b"", "site.tls.certificate: there is no certificate in PEM in .*site.pem"),
        (None, b"nothing", "site.tls.key: there is no key in PEM in .*site.key"),
    ],
)
def test_what_is_no_pem_is_refused(tmp_path: Path, chain: bytes | None, key: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        local.check(settings(tmp_path, chain or pem(made(new_key(), "demo")), key))


def test_a_key_with_a_passphrase_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    key = new_key()
    given = settings(tmp_path, pem(made(key, "demo")), key_pem(key, b"secret"))
    with pytest.raises(UsageError, match="is encrypted, and nobody types a passphrase when nginx starts"):
        local.check(given)
    (tmp_path / "site.key").unlink()
    with pytest.raises(UsageError, match=r"site.tls.key: .*site.key cannot be read: No such file"):
        local.check(given)


def test_a_leaf_alone_and_one_that_ends_soon_are_said_and_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key()
    local.check(settings(tmp_path, pem(made(key, "demo", "authority", new_key(), days=(-1, 8))), key_pem(key)))
    said = " ".join(capsys.readouterr().err.split())
    assert "expires in 7 days" in said
    assert "has no chain: many clients refuse it without that of CN=authority" in said


@pytest.mark.parametrize(
    ("covered", "asked", "is_covered"),
    [
        ("demo.example.net", "Demo.Example.Net", True),
        ("*.example.net", "demo.example.net", True),
        ("*.example.net", "a.demo.example.net", False),
        ("*.example.net", "example.net", False),
        ("*.example.net", "*.example.net", True),
        ("demo.example.net", "*.example.net", False),
    ],
)
def test_a_wildcard_stands_for_one_label(covered: str, asked: str, is_covered: bool) -> None:
    assert covers([covered], asked) is is_covered


def test_the_files_belong_to_the_digest_by_which_a_deploy_sees_that_something_changed(tmp_path: Path) -> None:
    key = new_key()
    given = settings(tmp_path, pem(made(key, "demo")), key_pem(key))
    assert certificate.files(given) == [tmp_path / "site.pem", tmp_path / "site.key"]

    class Looked:
        settings = given

        def begin(self, what: str) -> dict[str, str]:
            return {"key": "k"}

    before = configuration.digest(Looked())  # type: ignore[arg-type]
    (tmp_path / "site.pem").write_bytes(pem(made(key, "demo")))
    assert configuration.digest(Looked()) != before  # type: ignore[arg-type]
