"""Names and passwords that nginx asks for, from the secrets, hashed before they leave this machine."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from . import secretsource
from .errors import UsageError
from .remote import kinds

if TYPE_CHECKING:
    from .settings import Settings

# nginx asks for it with each request, and answers nobody meanwhile: htpasswd's own default, some milliseconds.
COST = 5
LONGEST = 72  # bytes, that bcrypt looks at
HASHED = re.compile(r"\$(apr1|1|2[abxy]|5|6|y)\$.+|\{SSHA\}.+")
STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def variables(settings: Settings) -> set[str]:
    """The secrets that hold names and passwords; the application is not given them."""
    return {said.basic_auth for said in settings.site.places.values() if said.basic_auth}


def of_application(settings: Settings) -> dict[str, str]:
    """The secrets for the application's environment: those that nothing else uses."""
    others = variables(settings) | secretsource.of_webhooks(settings)
    return {name: value for name, value in secretsource.read(settings).items() if name not in others}


def check(settings: Settings) -> None:
    """Look at all of them.

    :raises UsageError: one is not there, or cannot be read.
    """
    for variable in variables(settings):
        _read(settings, variable)


def file_of(settings: Settings, variable: str, key: str) -> str:
    """What nginx reads: a line for each name, with the password's hash.

    :param key: a secret of the host's, so that salts are the same each time, and nobody else's.
    :raises UsageError: see check().
    """
    given = _read(settings, variable)
    hashes = {user: _hash(password, _salt(f"{settings.app} {user}", key)) for user, password in given.items()}
    return "".join(f"{user}:{password}\n" for user, password in hashes.items())


def _read(settings: Settings, variable: str) -> dict[str, str]:
    """The passwords by their names."""
    value = secretsource.read(settings).get(variable, "")
    if settings.secrets and not value.strip():
        raise UsageError(
            kinds.SECRETS,
            f"secrets: there is no {variable} in {secretsource.described(settings.secrets)}, "
            f"which basic_auth in site: names\n  Add it: {variable}=alice:password"
        )
    found = {}
    for number, pair in enumerate(value.split(), 1):
        user, colon, password = pair.partition(":")
        if not (user and colon and password) or user in found:
            raise UsageError(
                kinds.SECRETS,
                f"secrets: entry {number} of {variable} is no name:password, or its name is there twice",
            )
        if not HASHED.fullmatch(password) and len(password.encode()) > LONGEST:
            raise UsageError(
                kinds.SECRETS,
                f"secrets: the password of entry {number} of {variable} has more than {LONGEST} bytes\n"
                "  More of them do not count. Shorten it, or give its hash: openssl passwd -6"
            )
        found[user] = password
    return found


def _salt(of: str, key: str) -> bytes:
    digest = hmac.new(key.encode(), of.encode(), hashlib.sha256).digest()[:16]
    return base64.b64encode(digest).rstrip(b"=").translate(bytes.maketrans(STANDARD, BCRYPT))


def _hash(password: str, salt: bytes) -> str:
    if HASHED.fullmatch(password):
        return password
    import bcrypt  # most need none of it

    return bcrypt.hashpw(password.encode(), b"$2b$%02d$%s" % (COST, salt)).decode()
