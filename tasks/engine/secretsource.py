"""Where secrets come from: a local file, what a command prints, or this machine's own environment.

The application's environment and the passwords of nginx are made from them.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from . import command
from .errors import UsageError
from .remote import kinds

if TYPE_CHECKING:
    from .settings import Secrets, Settings


def read(settings: Settings) -> dict[str, str]:
    """The variables and their values; nothing in a value is expanded. None where no source is named.

    :raises UsageError: they cannot be had, or one is missing or no variable; the message holds no value.
    """
    source = settings.secrets
    if source is None:
        return {}
    if source.environment:
        return _from_environment(settings, source.environment)
    return _from_command(settings, source.command) if source.command else _from_file(settings, source.file or "")


def check(settings: Settings) -> None:
    """Look at all that is needed, before anything is connected to.

    :raises UsageError: see read(), or a webhook's address is not among them.
    """
    there = read(settings)
    for name in sorted(of_webhooks(settings)):
        if settings.secrets and not there.get(name):
            what = f"there is no {name} in {described(settings.secrets)}, which notify: names"
            raise _refused(settings, what, f"Add it: {name}=https://…")


def of_webhooks(settings: Settings) -> set[str]:
    """The secrets that are addresses of webhooks; the application is not given them."""
    return {notice.webhook.secret for notice in settings.notify if notice.webhook and notice.webhook.secret}


def kind(source: Secrets) -> str:
    """Which of the three it is: file, command or environment."""
    return "file" if source.file else "command" if source.command else "environment"


def described(source: Secrets) -> str:
    """A source, as messages name it."""
    return source.file or (f"what `{source.command}` prints" if source.command else "secrets.environment")


def _from_file(settings: Settings, name: str) -> dict[str, str]:
    path = settings.local(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(settings, f"{path} cannot be read: {error.strerror}", "Make it, or name another.") from error
    return _variables(settings, content, f"{path}:{{line}}", str(path))


def _from_command(settings: Settings, typed: str) -> dict[str, str]:
    by_hand = f"Run it by hand: cd {settings.project} && {typed}"
    try:
        content = command.output(typed, settings.project)
    except command.Failed as error:
        raise _refused(settings, f"`{typed}` {error}", by_hand) from error
    where = f"what `{typed}` printed"
    found = _variables(settings, content, f"line {{line}} of {where}", where)
    if not found:
        raise _refused(settings, f"there is no NAME=value line in {where}", by_hand)
    return found


def _from_environment(settings: Settings, names: list[str]) -> dict[str, str]:
    missing = [name for name in names if not os.environ.get(name)]  # CI gives an unknown secret as an empty one
    if missing:
        raise _refused(
            settings,
            f"{', '.join(missing)} of secrets.environment not set, or empty, in the environment of this machine",
            f"Set it where fab runs: export {missing[0]}=…",
        )
    found = {name: os.environ[name] for name in names}
    for name, value in found.items():
        if not _is_text(value):
            raise _refused(settings, f"the value of {name} in the environment is no UTF-8", "Encode it: base64")
    return found


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)  # what stands for bytes that are none


def _variables(settings: Settings, content: bytes, line: str, whole: str) -> dict[str, str]:
    """Those of a text in dotenv's syntax.

    :param line: how a message names one of its lines, with {line} for the number.
    :param whole: how it names the text.
    """
    from dotenv.parser import parse_stream

    try:
        bindings = list(parse_stream(io.StringIO(content.decode("utf-8"), newline=None)))
    except UnicodeDecodeError as error:
        raise _refused(settings, f"{whole} cannot be read: {error.reason}", "Write it in UTF-8.") from error
    for binding in bindings:
        named = binding.key is None or (binding.key.isascii() and binding.key.isidentifier())
        if binding.error or not named or (binding.key is not None and binding.value is None):
            place = line.replace("{line}", str(binding.original.line))
            raise _refused(settings, f"{place} is no NAME=value line", "Write it as NAME='value', or take it out.")
    return {binding.key: binding.value for binding in bindings if binding.key and binding.value is not None}


def _refused(settings: Settings, what: str, hint: str) -> UsageError:
    return UsageError(kinds.SECRETS, f"{settings.stage}: secrets: {what}\n  {hint}")
