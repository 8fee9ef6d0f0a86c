"""How the tests look at a live server from outside."""

from __future__ import annotations

import datetime
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.project import Project
from tests.target import Target
from tests.target.proxy import Proxy

DOMAIN = "demo.example.net"
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What nginx answered; redirects are not followed."""

    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


def ask(
    server: Target,
    path: str = "/",
    host: str = DOMAIN,
    method: str = "GET",
    body: str | None = None,
    **headers: str,
) -> Answer:
    """Ask a site of the server through nginx; _ in a header's name means -."""
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=120)
    sent = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        connection.request(method, path, body=None if body is None else body.encode(), headers=sent)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def revision(server: Target, host: str = DOMAIN, path: str = "/") -> str | None:
    """Which revision of a sample application answers."""
    return ask(server, path, host).headers["X-Revision"]


def is_refused(server: Target, host: str) -> bool:
    """Whether a name gets no answer at all."""
    try:
        ask(server, host=host)
    except http.client.RemoteDisconnected:
        return True
    return False


def is_nobody_s(server: Target, path: str, host: str = DOMAIN) -> bool:
    """Whether a path is answered 404 by nginx itself: an application would do so, too, and say its revision."""
    answer = ask(server, path, host)
    return (answer.status, answer.headers["X-Revision"]) == (404, None)


def address(server: Target) -> str:
    """The server's own address, where all its ports are."""
    server.container.reload()
    networks = server.container.attrs["NetworkSettings"]["Networks"].values()
    return next(network["IPAddress"] for network in networks)


def sh(server: Target, script: str, *arguments: str) -> str:
    """What a shell script prints that root runs in the server; it has to succeed."""
    return server.exec(["sh", "-eu", "-c", script, "sh", *arguments]).stdout.decode()


def wait_for(what: Callable[[], T], seconds: float = 60) -> T:
    """Ask again and again until the answer is true, and give it.

    Raises AssertionError, with the last answer, when the time is up.
    """
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"waited {seconds:g} seconds; the last answer was {found!r}"
        time.sleep(0.1)
    return found


def programs(server: Target) -> dict[str, tuple[str, int]]:
    """What supervisor runs: name to state and pid."""
    code = (
        "import json, sys; sys.path.insert(0, '/usr/lib/python3/dist-packages')\n"
        "from supervisor.xmlrpc import SupervisorTransport; import xmlrpc.client\n"
        "t = SupervisorTransport(serverurl='unix:///var/run/supervisor.sock')\n"
        "s = xmlrpc.client.ServerProxy('http://127.0.0.1', transport=t).supervisor\n"
        "print(json.dumps({p['name']: [p['statename'], p['pid']] for p in s.getAllProcessInfo()}))"
    )
    found = json.loads(server.exec(["python3", "-c", code]).stdout)
    return {name: (state, pid) for name, (state, pid) in found.items()}


def current(server: Target, root: str) -> str:
    """The id of the release that is live, as the link says it."""
    return sh(server, 'basename "$(readlink "$1/current")"', root).strip()


def children(server: Target, pid: int) -> list[int]:
    """The processes a process has started."""
    return [int(child) for child in sh(server, 'cat "/proc/$1/task/$1/children"', str(pid)).split()]


def environment_of(server: Target, pid: int) -> dict[str, str]:
    """A running process's environment, as the kernel has it."""
    entries = server.exec(["cat", f"/proc/{pid}/environ"]).stdout.decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def read_json(server: Target, path: str) -> Any:
    """A file of JSON on the server."""
    return json.loads(server.exec(["cat", path]).stdout)


def tree(server: Target, *places: str) -> list[str]:
    """All files below some places, with owners, modes, sizes, link targets, inodes and times; logs are left out.

    A directory's own time and size change with a temporary file that comes and goes.
    """
    found = "find \"$@\" -name logs -prune -o -type d -printf '%p %m %u %g\\n' -o -printf '%p %y %m %u %g %s %l %i %T@\\n'"
    return sorted(sh(server, found, *places).splitlines())


def settle(server: Target) -> None:
    """Wait until nothing is left to be done: a deploy leaves the old release stopping, and holds the lock until then."""
    wait = 'for lock in /run/fabrelease/locks/*.lock; do [ ! -e "$lock" ] || flock --shared --timeout 60 "$lock" true; done'
    sh(server, wait)


def live_state(server: Target, root: str) -> dict[str, Any]:
    """All that a deploy which fails must leave as it was."""
    settle(server)
    owned = 'for p in /proc/[0-9]*; do case $(readlink $p/cwd) in "$1"/releases/*) echo ${p#/proc/};; esac; done'
    link = server.exec(["readlink", f"{root}/current"], check=False).stdout.decode().strip()
    return {
        "current": link,
        "programs": {name: pid for name, (_, pid) in programs(server).items()},
        # Workers come and go; masters and background processes do not.
        "strangers": strangers(server, root, link, sh(server, owned, root).split()),
        "etc": tree(server, "/etc/nginx", "/etc/supervisor", "/etc/logrotate.d"),
    }


def strangers(server: Target, root: str, link: str, pids: list[str]) -> list[str]:
    """Processes that run in a release which is not the current one."""
    places = [server.exec(["readlink", f"/proc/{pid}/cwd"], check=False).stdout.decode() for pid in pids]
    return [place for place in places if not place.startswith(f"{root}/{link}/")]


@contextmanager
def unharmed(server: Target, app: str = "djangosite", root: str | None = None, path: str = "/") -> Iterator[None]:
    """What is done inside leaves the live site as it is."""
    root = root or f"/srv/{app}"
    before, served = live_state(server, root), revision(server, path=path)
    assert served
    yield
    assert live_state(server, root) == before
    assert revision(server, path=path) == served


@contextmanager
def running(server: Target, *argv: str) -> Iterator[None]:
    """A program of somebody else's on the server, for as long as it is needed."""
    unit = f"other-{time.monotonic_ns()}"
    server.exec(["systemd-run", "--quiet", "--unit", unit, *argv])
    try:
        yield
    finally:
        server.exec(["systemctl", "stop", unit], check=False)


@contextmanager
def through(project: Project, server: Target, proxy: Proxy) -> Iterator[None]:
    """Let the project's stage reach its server through a proxy."""
    path = project.path / "hosts/prod.yml"
    before, known = path.read_text(), server.known_hosts.read_text()
    path.write_text(before.replace(f"port: {server.ssh_port}", f"port: {proxy.port}"))
    server.known_hosts.write_text(known + known.replace(f":{server.ssh_port} ", f":{proxy.port} "))
    try:
        yield
    finally:
        path.write_text(before)


@contextmanager
def meanwhile(*visits: Callable[[], object]) -> Iterator[None]:
    """Do some things again and again, side by side and without a pause, as long as this lasts."""
    is_over = threading.Event()

    def go_on(visit: Callable[[], object]) -> None:
        while not is_over.is_set():
            visit()

    threads = [threading.Thread(target=go_on, args=(visit,)) for visit in visits]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def own_certificate(folder: Path, days: int = 90, names: tuple[str, ...] = (DOMAIN,)) -> None:
    """A certificate that signs itself, as site.pem and site.key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo")])
    begun = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    signed = begun.sign(key, hashes.SHA256())
    (folder / "site.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "site.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))


LEFT = """\
app=$1
find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/docker -o -path "/srv/$app/shared" \\) -prune -o -name "*$app*" -print
find /run -name "*$app*" -print
find / -xdev \\( -path /proc -o -path /sys \\) -prune -o \\( -nouser -o -nogroup \\) -print
getent passwd | grep "$app" || true
getent group | grep "$app" || true
systemctl list-units --all --no-legend "$app-*" "fabrelease-$app*"
for p in /proc/[0-9]*; do case $(readlink $p/cwd) in /srv/$app*) echo "$p";; esac; done
"""


def left(server: Target, app: str) -> list[str]:
    """Whatever on a host has an application's name or is owned by nobody who is there; journals and logs of others apart."""
    found = sh(server, LEFT, app).splitlines()
    return [line for line in found if not line.startswith(("/var/log/", f"/srv/{app}/shared")) and line != f"/srv/{app}"]
