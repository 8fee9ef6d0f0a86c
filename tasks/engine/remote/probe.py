"""Asking the application over HTTP, as the web server would: through its socket, and through nginx."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

from . import agent, process, system
from .unix import grp, pwd

if TYPE_CHECKING:
    import http.client

BODY_LINES = 5
BODY_BYTES = 2000
HOPS = 5  # that redirects are followed for
ANSWER_BYTES = 1 << 18  # with all its headers; of the body no more is read than is shown
INIT = 1
SO_PEERPIDFD = 77
GENERATIONS = 20  # from a server's process that listens up to the one the manager has started


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, what, and the status that is right.

    :ivar address: ``unix:PATH`` or ``HOST:PORT``; empty where it is known later.
    :ivar host: for the Host header, with the port where it is not the scheme's own.
    :ivar path: with the prefix that the application lives below.
    :ivar timeout: seconds it has to answer rightly.
    :ivar speaks: ``http`` or ``uwsgi``.
    :ivar certificate: the file of the certificate that has to be shown, by TLS; empty for plain HTTP.
    :ivar follow: follow redirects within the site.
    """

    address: str
    host: str
    path: str
    status: int
    timeout: float
    headers: dict[str, str] = field(default_factory=dict)
    speaks: str = "http"
    certificate: str = ""
    follow: bool = False

    @property
    def scheme(self) -> str:
        """As a visitor sees it, who may be in front of the web server."""
        return "https" if self.certificate else self.headers.get("X-Forwarded-Proto", "http")

    def at(self, address: str, speaks: str = "http") -> Endpoint:
        """The same, at another address and by what is spoken there."""
        return replace(self, address=address, speaks=speaks)


def site_of(release: Mapping[str, Any], now: Endpoint | None) -> Endpoint | None:
    """What a release was made to answer at its site: one that was gone back to may have another domain.

    :param now: what is asked by the settings of now, whose time-out it is; None where the host has no site now.
    :returns: None where it has no site.
    """
    if "asked" not in release:
        return now
    asked = release["asked"].get("site")
    made = Endpoint(**asked) if asked else None
    return replace(made, timeout=now.timeout) if made and now else made


class Answer(TypedDict):
    """What came back; ``error`` says why nothing did, ``location`` where a redirect leads."""

    status: int | None  # type: ignore[misc, unused-ignore]
    error: str
    body: list[str]
    seconds: float
    location: str


def ask(
    endpoint: Endpoint,
    user: str | None,
    timeout: float,
    program: int | None = None,
    to_the_end: bool = False,
) -> Answer:
    """Ask, and follow redirects where that is wanted. Who answers may be hostile: all of it has one time-out.

    :param user: connect with this user's rights.
    :param timeout: seconds for all of it.
    :param program: the pid of the program that has to be the one that listens there; where None, any may be.
    :param to_the_end: the answer is wanted when the deployer is gone, too.
    """
    end = time.monotonic() + timeout
    answer = _ask(endpoint, user, timeout, program, to_the_end)
    for _ in range(HOPS if endpoint.follow else 0):
        following = _followed(endpoint, answer["location"])
        if following is None or (left := end - time.monotonic()) <= 0:
            break
        endpoint = following
        answer = _ask(endpoint, user, left, program, to_the_end)
    return answer


def _followed(endpoint: Endpoint, location: str) -> Endpoint | None:
    """What a redirect asks for; None where there is none, or where it leads out of the site."""
    from urllib.parse import urljoin, urlsplit

    base = f"{endpoint.scheme}://{endpoint.host}"
    prefix = endpoint.headers.get("SCRIPT_NAME", "")
    is_stripped = not endpoint.path.startswith(f"{prefix}/")
    try:
        to = urlsplit(urljoin(f"{base}{prefix if is_stripped else ''}{endpoint.path}", location))
    except ValueError:
        return None
    if not location or f"{to.scheme}://{to.netloc}" != base or not re.fullmatch(r"/[!-~]*", to.path or "/"):
        return None
    path = (to.path[len(prefix) :] if is_stripped and to.path.startswith(f"{prefix}/") else to.path) or "/"
    return replace(endpoint, path=f"{path}?{to.query}" if to.query else path)


def _ask(endpoint: Endpoint, user: str | None, timeout: float, program: int | None, to_the_end: bool) -> Answer:
    """Ask once; of what comes, only so many bytes are read."""
    import http.client  # not needed, and slow to import, on the control machine

    from . import unix_http

    began = time.monotonic()
    try:
        with _connect(endpoint.address, user, timeout) as plain, _secured(plain, endpoint) as sock:
            connection = http.client.HTTPConnection("localhost")
            is_unwanted = (lambda: False) if to_the_end else agent.is_ending
            connection.sock = unix_http.Bounded(sock, began + timeout, ANSWER_BYTES, is_unwanted)
            response = SENDERS[endpoint.speaks](connection, endpoint)
            body = response.read(BODY_BYTES).decode(errors="replace").splitlines()[:BODY_LINES]
            if program is not None and not _listens(sock, endpoint.address, program):
                return _nothing("another program has taken the release's place there", began)
        location = response.headers.get("Location", "") if response.status in REDIRECTS else ""
        seconds = time.monotonic() - began
        return {"status": response.status, "error": "", "body": body, "seconds": seconds, "location": location}
    except TimeoutError:
        return _nothing(f"no answer within {timeout:.0f} seconds", began)
    except (OSError, http.client.HTTPException) as error:
        return _nothing(f"{getattr(error, 'strerror', None) or error or type(error).__name__}", began)


def _secured(plain: socket.socket, endpoint: Endpoint) -> socket.socket:
    """TLS over a connection, where the endpoint has it.

    Its authority may be anybody, and the certificate one that signs itself: it has to be the one in the file, which
    root alone writes. That also tells whether the web server has read the file since it was renewed.

    :raises ConnectionError: another certificate is shown.
    """
    if not endpoint.certificate:
        return plain
    import ssl

    with open(endpoint.certificate, encoding="ascii", errors="replace") as file:
        pem = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", file.read(), re.DOTALL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    sock = context.wrap_socket(plain, server_hostname=endpoint.host.rpartition(":")[0] or endpoint.host)
    shown = sock.getpeercert(binary_form=True)
    if pem is None or shown != ssl.PEM_cert_to_DER_cert(pem[0]):
        sock.close()
        raise ConnectionError(f"nginx shows another certificate than the one in {endpoint.certificate}")
    return sock


def _send(connection: http.client.HTTPConnection, endpoint: Endpoint) -> http.client.HTTPResponse:
    connection.putrequest("GET", endpoint.path, skip_host=True, skip_accept_encoding=True)
    for name, value in {**_headers(endpoint), "Connection": "close"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {"Host": endpoint.host, "User-Agent": "fabrelease", **endpoint.headers}


def _send_uwsgi(connection: http.client.HTTPConnection, endpoint: Endpoint) -> http.client.HTTPResponse:
    """Ask in uWSGI's protocol, which is answered in HTTP."""
    import http.client
    import urllib.parse

    path, _, query = endpoint.path.partition("?")
    connection.sock.sendall(
        uwsgi_request(
            {
                "REQUEST_METHOD": "GET",
                "REQUEST_URI": endpoint.path,
                "PATH_INFO": urllib.parse.unquote(path, "latin-1"),
                "QUERY_STRING": query,
                "SERVER_PROTOCOL": "HTTP/1.1",
                "SERVER_NAME": endpoint.host.partition(":")[0],
                "SERVER_PORT": "443" if endpoint.scheme == "https" else "80",
                "REQUEST_SCHEME": endpoint.scheme,
                **({"HTTPS": "on"} if endpoint.scheme == "https" else {}),
                "REMOTE_ADDR": "127.0.0.1",
                **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in _headers(endpoint).items()},
            }
        )
    )
    response = http.client.HTTPResponse(connection.sock, method="GET")
    response.begin()
    return response


def uwsgi_request(variables: Mapping[str, str]) -> bytes:
    """A request in uWSGI's protocol: a head of four bytes, then each name and value after its length in two.

    https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
    """
    texts = [text.encode("latin-1") for pair in variables.items() for text in pair]
    body = b"".join(struct.pack("<H", len(text)) + text for text in texts)
    return struct.pack("<BHB", 0, len(body), 0) + body


def _connect(address: str, user: str | None, timeout: float) -> socket.socket:
    """Connect, with another user's rights by a child that hands the socket over: seteuid is of the whole process."""
    from . import unix_http

    if user is None or os.geteuid() != 0:
        return unix_http.connect(address, timeout)
    entry = pwd.getpwnam(user)
    groups = os.getgrouplist(user, entry.pw_gid)
    near, far = socket.socketpair()
    with near, far:
        if (child := os.fork()) == 0:
            try:
                os.setgroups(groups)
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
                with unix_http.connect(address, timeout) as sock:
                    socket.send_fds(far, [b"0"], [sock.fileno()])
            except OSError as error:
                far.send(str(error.errno or errno.ETIMEDOUT).encode())
            finally:
                os._exit(0)
        far.close()
        said, handles, _, _ = socket.recv_fds(near, 16, 1, socket.MSG_CMSG_CLOEXEC)
        os.waitpid(child, 0)
    if not handles:
        number = int(said or errno.ECHILD)
        raise OSError(number, os.strerror(number))
    return socket.socket(fileno=handles[0])


REDIRECTS = (301, 302, 303, 307, 308)
SENDERS = {"http": _send, "uwsgi": _send_uwsgi}


def _listens(sock: socket.socket, address: str, program: int) -> bool:
    """Whether it is a program, itself or by a child of its own, that listens at the far end.

    An older release that was left running is the same user's, and can put its own socket where the new one's was:
    the kernel knows which process has called listen(2).
    """
    if address.startswith("unix:"):
        pids = [struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]]
    else:
        found = process.run(["ss", "-Hltnp", "sport", "=", f":{address.rpartition(':')[2]}"], keep=None)
        pids = [int(pid) for pid in re.findall(r"\bpid=(\d+)", found.text)]
    if program == INIT:  # everybody's ancestor has to have done it itself, and may have handed it on
        return INIT in pids
    is_its = bool(pids) and all(_is_of(pid, program) for pid in pids)
    return is_its and not (address.startswith("unix:") and _is_gone(sock))


def _is_gone(sock: socket.socket) -> bool:
    """Whether the process has ended that has called listen(2): its number may have come to mean another one.

    A descriptor of its is the kernel's word for it, from Linux 6.5 on; before, nobody can tell.
    """
    try:
        handle = struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD, 4))[0]
    except OSError as error:  # it may be said of one that has ended, too
        return error.errno != errno.ENOPROTOOPT
    try:
        signal.pidfd_send_signal(handle, 0)
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
    return False


def _is_of(pid: int, program: int) -> bool:
    for _ in range(GENERATIONS):
        if pid in (0, program):
            break
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return pid == program != 0


def _nothing(error: str, began: float) -> Answer:
    return {"status": None, "error": error, "body": [], "seconds": time.monotonic() - began, "location": ""}


def describe(endpoint: Endpoint, answer: Answer) -> str:
    """An answer that is not the right one, in words, with the first lines of its body."""
    if answer["status"] is None:
        return f"GET {endpoint.path}: {answer['error']}"
    hint = ""
    if answer["status"] == 400:
        hint = f" (asked as Host: {endpoint.host}; Django answers so where ALLOWED_HOSTS lacks it)"
    if answer["location"]:
        hint = f" (it leads to {answer['location'][:200]!r}; within the site, health: {{follow: true}} follows)"
    body = "".join(f"\n    > {line[:200]}" for line in answer["body"])
    return f"GET {endpoint.path} answered {answer['status']}, not {endpoint.status}{hint}{body}"


def web_user() -> str:
    """The user nginx runs its workers as."""
    name = system.here().web_user
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        return name
    return "nobody"


def web_group() -> str:
    """That user's primary group."""
    return grp.getgrgid(pwd.getpwnam(web_user()).pw_gid).gr_name
