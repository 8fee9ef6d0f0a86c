"""``fab maintenance on`` and ``off``: visitors get 503 and a page, at once and without a reload of nginx."""

from __future__ import annotations

import ipaddress

from invoke.context import Context

from .engine import configuration, hosts, planning
from .engine.errors import UsageError
from .engine.hosts import Host
from .engine.remote import kinds
from .engine.remote import maintenance as remote
from .engine.verb import verb

PAGE = "nginx/maintenance.html.j2"
RETRY_AFTER = 600
LONGEST = 10**9  # thirty years; nginx hands on the digits as they are


@verb(
    help={
        "switch": "on or off",
        "message": "what visitors read, and whoever asks for the status",
        "allow": "an IP address that sees the site all the same; once for each",
        "retry-after": "in how many seconds visitors, and search engines, are asked to come again",
    },
    iterable=["allow"],
)
def maintenance(
    c: Context, switch: str, message: str = "", allow: list[str] | None = None, retry_after: int = RETRY_AFTER
) -> None:
    """Main: show visitors a page with 503, on or off; deploys go on, and are checked, behind it."""
    if switch == "off":
        hosts.each(_doors(c), _switch_off)
    elif switch == "on":
        addresses = _checked(message, allow or [], retry_after)
        hosts.each(_doors(c), lambda host: _switch_on(host, message, addresses, retry_after))
    else:
        raise UsageError(kinds.ARGUMENT, f'maintenance: expected on or off, found "{switch}"')


def _doors(c: Context) -> list[Host]:
    """The hosts that visitors come to: behind them the site stays open.

    :raises UsageError: there is none among those that were named.
    """
    found = hosts.of(c)
    doors = [host for host in found if host.settings.faces_visitors]
    if not doors:
        names, stage = ", ".join(host.name for host in found), found[0].settings.stage
        what = f"{names}: visitors come by the stage's proxies; close these: fab -H {stage} maintenance …"
        raise UsageError(kinds.ROLE, what)
    return doors


def _checked(message: str, allow: list[str], retry_after: int) -> list[str]:
    """The addresses that may pass, in the form that nginx knows them by.

    :raises UsageError: something that was typed makes no sense.
    """
    if not message.strip():
        raise UsageError(
            kinds.ARGUMENT, 'Say what visitors are to read: fab maintenance on -m "Back at three o\'clock."'
        )
    if not 0 < retry_after < LONGEST:
        raise UsageError(
            kinds.ARGUMENT, f"--retry-after: expected a number of seconds from 1 on, found {retry_after}"
        )
    return list(dict.fromkeys(map(_address, allow)))


def _address(text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(
            kinds.ARGUMENT,
            f'--allow: expected an IP address, found "{text}"\n  Name each by itself, networks are not taken:'
            " --allow 203.0.113.7 --allow 2001:db8::7"
        ) from None
    return str(found)


def _switch_on(host: Host, message: str, allow: list[str], retry_after: int) -> None:
    settings = host.settings
    page = configuration.render_alone(host, PAGE, message=message, retry_after=retry_after)
    notice = remote.Notice(hosts.who(), message, page, retry_after, allow)
    host.call(remote.switch_on, host.owner(), settings.root, settings.user, planning.site(settings), notice)
    but = f", but {', '.join(allow)}" if allow else ""
    host.say("maintenance", f"visitors{but} get 503 from now on, until: fab maintenance off")


def _switch_off(host: Host) -> None:
    settings = host.settings
    was_on = host.call(remote.switch_off, host.owner(), settings.root, settings.user)
    host.say("maintenance", "visitors see the site again" if was_on else "there was no maintenance", "green")
