"""Asking the application over HTTP, as the web server would: through its socket, and through nginx."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import select
import socket
import time
from collections.abc import Iterator
from typing import TypedDict

from . import agent

BODY_LINES = 5
BODY_BYTES = 2000


class Question(TypedDict):
    """What to ask: the path with its prefix, the Host header, other headers, and the status that is right."""

    path: str
    host: str
    headers: dict[str, str]
    status: int
    timeout: float


class Answer(TypedDict):
    """What came back; ``error`` says why nothing did."""

    status: int | None  # type: ignore[misc, unused-ignore]
    error: str
    body: list[str]
    seconds: float


@contextlib.contextmanager
def acting_as(user: str | None) -> Iterator[None]:
    """Open files and sockets with another user's rights; root again afterwards."""
    if user is None or os.geteuid() != 0:
        yield
        return
    entry, groups = pwd.getpwnam(user), os.getgroups()
    os.setgroups(os.getgrouplist(user, entry.pw_gid))
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def ask(address: str, user: str | None, question: Question, timeout: float) -> Answer:
    """Ask once.

    :param address: ``unix:PATH`` or ``HOST:PORT``.
    :param user: connect with this user's rights.
    :param timeout: seconds for connecting and for each piece of the answer.
    """
    import http.client  # not needed, and slow to import, on the control machine

    from . import unix_http

    def connect(address: str, timeout: float) -> socket.socket:
        with acting_as(user):
            return unix_http.connect(address, timeout)

    began = time.monotonic()
    connection = unix_http.Connection(address, timeout, connect)
    try:
        headers = {
            "Host": question["host"],
            "User-Agent": "fabrelease",
            "Connection": "close",
            **question["headers"],
        }
        connection.putrequest("GET", question["path"], skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        _wait_for_answer(connection.sock, began + timeout)
        response = connection.getresponse()
        body = response.read(BODY_BYTES).decode(errors="replace").splitlines()[:BODY_LINES]
        return {"status": response.status, "error": "", "body": body, "seconds": time.monotonic() - began}
    except TimeoutError:
        return _nothing(f"no answer within {timeout:.0f} seconds", began)
    except (OSError, http.client.HTTPException) as error:
        return _nothing(f"{getattr(error, 'strerror', None) or error or type(error).__name__}", began)
    finally:
        connection.close()


def _wait_for_answer(sock: socket.socket, end: float) -> None:
    """Wait for its first byte; not any longer when the deployer is gone, since nothing may hold the lock then.

    :raises TimeoutError: it did not come.
    """
    while not select.select([sock], [], [], 0.2)[0]:
        if agent.is_ending() or time.monotonic() > end:
            raise TimeoutError


def _nothing(error: str, began: float) -> Answer:
    return {"status": None, "error": error, "body": [], "seconds": time.monotonic() - began}


def describe(question: Question, answer: Answer) -> str:
    """An answer that is not the right one, in words, with the first lines of its body."""
    if answer["status"] is None:
        return f"GET {question['path']}: {answer['error']}"
    hint = ""
    if answer["status"] == 400:
        hint = f" (asked as Host: {question['host']}; Django answers so where ALLOWED_HOSTS lacks it)"
    body = "".join(f"\n    > {line[:200]}" for line in answer["body"])
    return f"GET {question['path']} answered {answer['status']}, not {question['status']}{hint}{body}"


def web_user() -> str:
    """The user nginx runs its workers as."""
    for name in ("www-data", "nginx"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    return "nobody"


def web_group() -> str:
    """That user's primary group."""
    return grp.getgrgid(pwd.getpwnam(web_user()).pw_gid).gr_name
