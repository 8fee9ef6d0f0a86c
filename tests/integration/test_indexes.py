"""A company's package index, with a certificate of its own authority: what the host knows of both is used."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.integration.support import sh
from tests.project import Project
from tests.target import Target

NAME = "index.internal"
PYTHON = "/srv/tinysite/next/env/bin/python"
SITE = f"""\
server {{
    listen 8443 ssl;
    server_name {NAME};
    ssl_certificate /etc/ssl/index.crt;
    ssl_certificate_key /etc/ssl/index.key;
    root /srv/index;
    autoindex on;
}}
"""


def certificates() -> dict[str, bytes]:
    """An authority, and a certificate of it for the index with its key: file on the server to content."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("authority", NAME)}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in keys}
    now = datetime.datetime.now(datetime.timezone.utc)

    def signed(name: str) -> bytes:
        builder = x509.CertificateBuilder(names["authority"], names[name], keys[name].public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9))
        is_authority = x509.BasicConstraints(name == "authority", None)
        builder = builder.add_extension(is_authority, critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return builder.sign(keys["authority"], hashes.SHA256()).public_bytes(Encoding.PEM)

    key = keys[NAME].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    authority = "/usr/local/share/ca-certificates/company.crt"
    return {authority: signed("authority"), "/etc/ssl/index.crt": signed(NAME), "/etc/ssl/index.key": key}


def wheels(place: Path) -> list[Path]:
    """A package that no other index has, and the server with what it needs."""
    with zipfile.ZipFile(place / "onlyhere-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("onlyhere.py", "")
        wheel.writestr("onlyhere-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: onlyhere\nVersion: 1\n")
        wheel.writestr("onlyhere-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("onlyhere-1.dist-info/RECORD", "")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(place), "--only-binary=:all:"]
    subprocess.run([*command, "gunicorn"], check=True)
    return list(place.glob("*.whl"))


@pytest.fixture(scope="module")
def behind(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A server that reaches its company's index alone, and knows it by its certificates and pip.conf."""
    server = shared_server
    files = {**certificates(), "/etc/nginx/conf.d/index.conf": SITE.encode()}
    for wheel in wheels(tmp_path_factory.mktemp("wheels")):
        folder = f"/srv/index/simple/{wheel.name.split('-')[0].lower()}"
        sh(server, 'mkdir -p "$1"', folder)
        files[f"{folder}/{wheel.name}"] = wheel.read_bytes()
    for path, content in files.items():
        server.exec(["sh", "-c", 'cat >"$1"', "sh", path], input=content)
    sh(server, 'echo "127.0.0.1 $1" >>/etc/hosts; update-ca-certificates; systemctl reload nginx', NAME)
    # The image's own files know the certificates of the machine that the tests run on.
    sh(server, 'rm /etc/uv/uv.toml; printf "[global]\nindex-url = https://$1:8443/simple\n" >/etc/pip.conf', NAME)
    return server


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_index_of_the_host_s_pip_conf_with_a_certificate_that_the_host_trusts_is_used(
    installer: str, behind: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": behind}, python={"installer": installer, "packages": ["onlyhere==1"]})
    assert f"made with {installer}" in project.fab("-H", "prod", "push", "venv").stderr
    assert sh(behind, '"$1" -I -c "import onlyhere, gunicorn; print(1)"', PYTHON) == "1\n"


def test_an_index_of_uv_s_own_file_wins_over_that_of_pip(behind: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": behind}, python={"installer": "uv", "packages": ["onlyhere>=1"]})
    sh(behind, 'printf "[[index]]\nurl = \\"https://$1:8443/nothing\\"\ndefault = true\n" >/etc/uv/uv.toml', NAME)
    said = project.fab("-H", "prod", "push", "venv", "--fresh", status=1).stderr
    assert "onlyhere was not found" in said
    sh(behind, "rm /etc/uv/uv.toml")
    project.fab("-H", "prod", "push", "venv", "--fresh")


def test_what_setup_brings_for_the_application(behind: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": behind}, packages=["gettext-base"])
    assert "package gettext-base" in project.fab("-H", "prod", "setup").stderr
    assert sh(behind, "dpkg-query -Wf '${db:Status-Status}' gettext-base") == "installed"
    # A mirror of Pythons. uv knows the digest of each of its files, so no test can make one up.
    sh(behind, "mkdir -p /srv/pythons")
    project.stage({"web1": behind}, python={"version": "3.13", "mirror": "/srv/pythons"})
    missing = project.fab("-H", "prod", "setup", status=1).stderr
    for said in ("there is no Python 3.13 on the host", "uv could not fetch it from /srv/pythons", "python.mirror"):
        assert said in missing
    assert re.search(r"`/srv/pythons/\d+/cpython-3\.13\.[^`]+\.tar\.gz`: No such file", missing)  # uv has looked there
