"""What the host says about package indexes and certificates, in uv's words: pip reads its own files by itself."""

from __future__ import annotations

import configparser
import contextlib
import os
import re

PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf")
UV_FILE = "/etc/uv/uv.toml"  # uv reads it by itself, and it wins over pip's
OF_INDEXES = re.compile(r"^\s*(\[\[(pip\.)?index\]\]|(default-index|index-url|extra-index-url|index)\s*=)", re.M)
# The host's own trust store; the second is what uv called it before.
CERTIFICATES = {"UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
NAMES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}


def variables() -> dict[str, str]:
    """The variables that make uv use the host's certificates, and the indexes of its pip.conf."""
    pip = _pip()
    found = dict(CERTIFICATES)
    if "trusted-host" in pip:
        found["UV_INSECURE_HOST"] = pip["trusted-host"]
    if "cert" in pip and "SSL_CERT_FILE" not in os.environ:
        found["SSL_CERT_FILE"] = pip["cert"]
    if not _uv_has_indexes():
        found.update({NAMES[key]: value for key, value in pip.items() if key in NAMES})
    return found


def _pip() -> dict[str, str]:
    """The settings of pip that count for an installation, each on one line."""
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):  # pip itself says what is wrong with it
        parser.read(PIP_FILES, encoding="utf-8")
    sections = [dict(parser[name]) for name in ("global", "install") if parser.has_section(name)]
    return {key: " ".join(value.split()) for section in sections for key, value in section.items() if value.strip()}


def _uv_has_indexes() -> bool:
    with contextlib.suppress(OSError), open(UV_FILE, encoding="utf-8", errors="replace") as file:
        return OF_INDEXES.search(file.read()) is not None
    return False
