"""The local file of secrets, which the application's environment and the passwords of nginx come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from .settings import Settings


def read(settings: Settings) -> dict[str, str]:
    """The variables of the local file of secrets, in dotenv's syntax; nothing in it is expanded.

    :raises UsageError: the file is not there, or a line is no variable; the message holds no value.
    """
    from dotenv.parser import parse_stream

    path = settings.local(settings.secrets or "")
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"secrets: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for binding in bindings:
        named = binding.key is None or (binding.key.isascii() and binding.key.isidentifier())
        if binding.error or not named or (binding.key is not None and binding.value is None):
            raise UsageError(f"secrets: {path}:{binding.original.line} is no NAME=value line")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}
