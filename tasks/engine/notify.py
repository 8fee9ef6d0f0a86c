"""Tell others of a deploy or a rollback: a webhook, by mail, by a tag in the local repository.

Whatever goes wrong with that is said in a line, and changes nothing else: what was done is done.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import git, hosts, secretsource, terminal
from .errors import Error
from .hosts import Host
from .remote import times
from .rollout import of_hosts

if TYPE_CHECKING:
    from .settings import Notice, Settings

SECONDS = 10.0  # for all of it
ATTEMPT_SECONDS = 3.0
PAUSES = (0.3, 0.6)  # seconds before the second and the third attempt
TRANSIENT = {408, 425, 429}  # of HTTP, beside those from 500 on
SENDMAIL_DIRECTORIES = ("/usr/sbin", "/usr/lib")  # that a person's PATH may lack


@dataclass
class Subject:
    """What a deploy or a rollback is about, as far as it is known.

    :ivar release: the id of the release that becomes live; nothing while, or where, nothing is to change.
    """

    release: str | None = None
    revision: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Event:
    """What is told; its JSON is described in docs/json.md."""

    event: str
    outcome: str
    app: str
    stage: str
    hosts: list[str]
    release: str | None
    revision: str
    subject: str
    who: str
    began: str
    seconds: float
    error: str | None
    codes: list[str] = field(default_factory=list, kw_only=True)
    version: int = field(default=1, kw_only=True)


class NotTold(Exception):
    """Somebody could not be told; the text says why, and holds no secret.

    :ivar lasts: whether another attempt would come to the same.
    """

    def __init__(self, why: str, lasts: bool = False) -> None:
        super().__init__(why)
        self.lasts = lasts


@contextlib.contextmanager
def telling(targets: list[Host], what: str, revision: str = "", subject: str = "") -> Iterator[Subject]:
    """Tell others how it went, once it is done, as the settings of the stage say.

    :param what: deploy or rollback.
    """
    about, began = Subject(None, revision, subject), time.time()
    try:
        yield about
    except BaseException as error:
        _tell(targets, what, about, began, _words(error), _codes(error))
        raise
    if about.release:
        _tell(targets, what, about, began, None)


def _words(error: BaseException) -> str:
    """The first line of each host: what follows may be the application's own."""
    if isinstance(error, Error):
        lines = [f"{one.host}: {one.what}" for one in of_hosts(error)] or [str(error)]
        return "; ".join(line.splitlines()[0] for line in lines if line)
    return "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def _codes(error: BaseException) -> list[str]:
    return [str(one["code"]) for one in error.plain()] if isinstance(error, Error) else []


def _tell(
    targets: list[Host], what: str, about: Subject, began: float, error: str | None, codes: Sequence[str] = ()
) -> None:
    settings, outcome = targets[0].settings, "failure" if error is not None else "success"
    notices = [notice for notice in settings.notify if outcome in notice.occasions]
    if not notices:
        return
    event = Event(
        what,
        outcome,
        settings.app,
        settings.stage,
        [host.name for host in targets],
        about.release,
        about.revision,
        about.subject,
        hosts.who(),
        times.utc(began),
        round(time.time() - began, 1),
        error,
        codes=list(codes),
    )
    for name, why in send(settings, notices, event).items():
        terminal.say("", "notify", f"{name} was not told: {why}", "yellow")


def send(settings: Settings, notices: list[Notice], event: Event) -> dict[str, str]:
    """Tell all side by side.

    :returns: who was not told, and why.
    """
    failed: dict[str, str] = {}
    secrets: dict[str, str] = {}
    if any(notice.webhook and notice.webhook.secret for notice in notices):
        try:
            secrets = secretsource.read(settings)
        except Error as error:
            failed["a webhook"] = str(error).splitlines()[0]
            notices = [notice for notice in notices if not (notice.webhook and notice.webhook.secret)]
    end = time.monotonic() + SECONDS
    begun = [(_name(notice), hosts.beside(_delivery(settings, notice, event, secrets), end)) for notice in notices]
    wait([future for _, future in begun], timeout=SECONDS)
    for name, future in begun:
        if not future.done():
            failed[name] = f"no answer within {SECONDS:g} s"
        elif (problem := future.exception()) is not None:
            failed[name] = str(problem) if isinstance(problem, NotTold) else type(problem).__name__
    return failed


def _name(notice: Notice) -> str:
    """Who is told; an address of a webhook is a secret itself."""
    if notice.webhook:
        return f"the webhook {notice.webhook.secret or urlsplit(notice.webhook.url or '').hostname}"
    return f"the tag {notice.git_tag}" if notice.git_tag else ", ".join(notice.email)


def _delivery(
    settings: Settings, notice: Notice, event: Event, secrets: dict[str, str]
) -> Callable[[float], None]:
    """What tells one of them; it is given the time until which it may try."""
    if notice.git_tag:
        name = notice.git_tag.format(app=event.app, stage=event.stage, release=event.release)
        return lambda end: _tag(settings, name, event.revision)
    if notice.email:
        return lambda end: _persist(lambda seconds: _mail(notice.email, event, seconds), end)
    hook = notice.webhook
    url = (hook and (hook.url or secrets.get(hook.secret or ""))) or ""
    return lambda end: _persist(lambda seconds: _post(url, body(notice.format, event), seconds), end)


def _persist(attempt: Callable[[float], None], end: float) -> None:
    """Try up to three times.

    :param attempt: is given the seconds that it may take.
    """
    for pause in (*PAUSES, None):
        try:
            attempt(max(0.1, min(ATTEMPT_SECONDS, end - time.monotonic())))
            return
        except NotTold as error:
            if error.lasts or pause is None or time.monotonic() + pause >= end:
                raise
            time.sleep(pause)


def _post(url: str, content: bytes, seconds: float) -> None:
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """One that was redirected would arrive as a GET, or somewhere else."""

        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    if not url.startswith(("https://", "http://")):
        raise NotTold("its secret is no address that begins with https:// or http://", lasts=True)
    headers = {"Content-Type": "application/json", "User-Agent": "fabrelease"}
    try:
        request = urllib.request.Request(url, content, headers, method="POST")  # noqa: S310 - looked at above
        with urllib.request.build_opener(NoRedirect).open(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        error.close()
        raise NotTold(f"it answers {error.code}", lasts=error.code < 500 and error.code not in TRANSIENT) from None
    except (http.client.InvalidURL, UnicodeError):
        raise NotTold("its address cannot be used", lasts=True) from None
    except urllib.error.URLError as error:
        why = getattr(error.reason, "strerror", None) or type(error.reason).__name__
        raise NotTold(f"it cannot be reached: {why}") from None
    except (OSError, http.client.HTTPException) as error:
        raise NotTold(f"it cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}") from None


def _mail(addresses: list[str], event: Event, seconds: float) -> None:
    from email.message import EmailMessage

    program = shutil.which("sendmail", path=os.pathsep.join([os.environ.get("PATH", ""), *SENDMAIL_DIRECTORIES]))
    if program is None:
        raise NotTold("there is no sendmail on this machine", lasts=True)
    message = EmailMessage()
    message["To"] = ", ".join(addresses)
    message["Subject"] = text(event).splitlines()[0][:200]
    message.set_content(f"{text(event)}\n\nBegan {event.began} on {', '.join(event.hosts)}.\n")
    try:
        done = subprocess.run(
            [program, "-i", "--", *addresses], input=bytes(message), capture_output=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotTold(f"{program}: {type(error).__name__}") from None
    if done.returncode:
        said = terminal.visible(done.stderr.decode(errors="replace")).strip().split("\n")[-1]
        raise NotTold(f"{program} failed with exit status {done.returncode}" + (f": {said}" if said else ""))


def _tag(settings: Settings, name: str, commit: str) -> None:
    try:
        git.tag(settings.local(settings.source.path or "."), name, commit)
    except Error as error:
        raise NotTold(str(error).splitlines()[0], lasts=True) from None


def body(format: str, event: Event) -> bytes:
    """What a webhook is sent."""
    if format == "json":
        return json.dumps(event.__dict__).encode()
    return json.dumps({"text": _for_chat(text(event))}).encode()


def _for_chat(words: str) -> str:
    """No commit's subject and no error calls people or makes links."""
    escaped = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return escaped.replace("@", "@\u200b")  # a space without width: @channel is no mention then


def text(event: Event) -> str:
    """An event in a sentence for people."""
    what = f"{event.revision[:7]} {event.subject}".strip() if event.subject else event.revision
    by = f"{event.event} by {event.who}, {event.seconds:g} s"
    if event.outcome == "success":
        return terminal.visible(f"{event.app} {event.stage}: {what} is live ({by})")
    of = f" of {what}" if what else ""
    return terminal.visible(f"{event.app} {event.stage}: {event.event}{of} failed ({by}): {event.error}")
