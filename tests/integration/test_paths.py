"""Who may ask for what, how often and how much, by path; proxies in front, headers, logs, and many slow clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from tests.integration.support import DOMAIN, address, ask, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
APP = {"app": "pages:application"}
STRANGER = "192.0.2.7"
BRIDGES = "172.16.0.0/12"  # where the tests ask from
SECRETS = "SECRET_KEY=only-for-tests-0123456789\nUSERS='alice:wonder bob:$apr1$x7G0bBGk$Qev0pBHZJ2BBtV7lVCuBR0'\n"
PATHS = {
    "/page/admin/": {"basic_auth": "USERS"},
    "/page/admin/open/": {"basic_auth": False},
    "/page/inner/": {"allow": ["192.0.2.0/24"]},
    "/page/inner/deep/": {"timeouts": {"read": 100}},
    "/page/denied/": {"deny": ["0.0.0.0/0", "::/0"]},
    "/page/few/": {"limit_connections": 2},
    "/page/rare/": {"limit_requests": {"rate": "1r/m", "burst": 2}},
    "/upload/": {"client_max_body_size": "8m"},
    "/upload/now/": {"request_buffering": False},
    "/upload/slow/": {"request_buffering": False},
    "/big/now/": {"stream": True},
}


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("paths") / "project", "tinysite")
    (project.path / "prod.env").write_text(SECRETS)
    project.stage(
        {"web1": shared_server},
        web=APP,
        secrets="prod.env",
        site={
            "paths": PATHS,
            "static": {"/static/": "static", "/page/admin/static/": "static"},
            "trusted_proxies": [BRIDGES],
            "headers": {"secure": True, "X-Own": "mine"},
            "access_log": "json",
        },
    )
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


ASK = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", 80)
connection.request("GET", "/page/inner/", headers={"Host": sys.argv[1], "X-Forwarded-For": sys.argv[2]})
print(connection.getresponse().status)
"""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_password_is_asked_for_where_it_is_said_and_in_what_lies_there(site: Project, shared_server: Target) -> None:
    right = basic("alice", "wonder")
    for path in ("/page/admin/", "/page/admin/static/mark.txt"):
        assert ask(shared_server, path).status == 401
        assert ask(shared_server, path, Authorization=basic("alice", "x")).status == 401
        assert ask(shared_server, path, Authorization=right).status == 200
    assert [ask(shared_server, path).status for path in ("/page/admin/open/", "/page/x", "/static/mark.txt")] == [200] * 3


def test_passwords_are_on_the_host_as_hashes_that_nginx_alone_reads(site: Project, shared_server: Target) -> None:
    path = f"{ROOT}/current/config/users/USERS"
    assert sh(shared_server, 'stat -c "%U %G %a" "$1"', path).strip() == "root www-data 640"
    text = sh(shared_server, 'cat "$1"', path)
    assert "wonder" not in text
    assert text.splitlines()[1] == "bob:$apr1$x7G0bBGk$Qev0pBHZJ2BBtV7lVCuBR0"
    assert sh(shared_server, 'grep -rl USERS "$1"/current/config/environment "$1"/current/config/secrets || true', ROOT) == ""
    site.fab("-H", "prod", "push", "venv", "proxy")
    assert sh(shared_server, 'cat "$1"/next/config/users/USERS', ROOT) == text
    assert "no change" in site.fab("-H", "prod", "proxy").stderr


def test_addresses_are_let_in_by_what_a_trusted_proxy_says_and_by_nobody_else(site: Project, shared_server: Target) -> None:
    for path in ("/page/inner/", "/page/inner/deep/"):
        assert ask(shared_server, path).status == 403
        assert ask(shared_server, path, X_Forwarded_For=STRANGER).status == 200
        assert ask(shared_server, path, X_Forwarded_For=f"{STRANGER}, 198.51.100.1").status == 403
    assert ask(shared_server, "/page/denied/", X_Forwarded_For=STRANGER).status == 403
    forged = shared_server.exec(["python3", "-c", ASK, DOMAIN, STRANGER])  # from the host itself, which is no proxy
    assert forged.stdout.strip() == b"403"


def test_maintenance_lets_a_client_of_a_trusted_proxy_in_and_no_other(site: Project, shared_server: Target) -> None:
    site.fab("-H", "prod", "maintenance", "on", "-m", "Back soon.", "--allow", STRANGER)
    try:
        assert ask(shared_server, "/").status == 503
        assert ask(shared_server, "/", X_Forwarded_For=f"198.51.100.1, {STRANGER}").status == 200
        assert ask(shared_server, "/", X_Forwarded_For=f"{STRANGER}, 198.51.100.1").status == 503
    finally:
        site.fab("-H", "prod", "maintenance", "off")
    assert ask(shared_server, "/").status == 200


def test_the_application_is_told_what_a_trusted_proxy_says(site: Project, shared_server: Target) -> None:
    told = ask(shared_server, "/told/", X_Forwarded_For=STRANGER, X_Forwarded_Proto="https").json
    assert (told["HTTP_X_FORWARDED_FOR"], told["HTTP_X_FORWARDED_PROTO"], told["scheme"]) == (STRANGER, "https", "https")
    assert told["HTTP_X_FORWARDED_PORT"] == "443"
    assert ask(shared_server, "/told/", X_Forwarded_Proto="ftp").json["scheme"] == "http"


def test_who_asks_too_often_is_told_so_and_nobody_else(site: Project, shared_server: Target) -> None:
    answers = Counter(ask(shared_server, "/page/rare/").status for _ in range(6))
    assert answers == {200: 3, 429: 3}
    assert ask(shared_server, "/page/rare/", X_Forwarded_For=STRANGER).status == 200
    assert ask(shared_server, "/page/x").status == 200


def test_who_asks_too_much_at_once_is_told_so(site: Project, shared_server: Target) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda _: ask(shared_server, "/page/few/?seconds=1").status, range(8)))
    assert statuses[200] >= 2
    assert statuses[429] >= 1
    assert set(statuses) == {200, 429}


def test_a_path_takes_larger_bodies_and_passes_them_on_as_they_come(site: Project, shared_server: Target) -> None:
    large = "x" * 2_000_000
    assert ask(shared_server, "/told/", method="POST", body=large).status == 413
    assert ask(shared_server, "/upload/", method="POST", body=large).status == 200
    head = f"POST %s HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: 100000\r\n\r\n{'x' * 5000}"
    answered = {}
    for path in ("/upload/now/", "/upload/"):
        with socket.create_connection((shared_server.host, shared_server.http_port)) as sender:
            sender.sendall((head % path).encode())
            sender.settimeout(10)
            try:
                answered[path] = sender.recv(100)[:12]
            except TimeoutError:
                answered[path] = b""
    assert answered == {"/upload/now/": b"HTTP/1.1 200", "/upload/": b""}


def test_headers_of_the_documented_set_are_sent_where_the_application_sends_none(site: Project, shared_server: Target) -> None:
    for path, frame in (("/", "SAMEORIGIN"), ("/static/mark.txt", "SAMEORIGIN"), ("/page/x", "DENY")):
        headers = ask(shared_server, path).headers
        assert headers.get_all("X-Frame-Options") == [frame]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
        assert headers["X-Own"] == "mine"


def test_the_access_log_is_json_and_logs_prints_it_as_lines(site: Project, shared_server: Target) -> None:
    asked = '/page/log?"quoted"'
    ask(shared_server, asked.replace('"', "%22"), User_Agent='a "b" \\ \x80')
    done = site.fab("-H", "prod", "logs", "--which", "nginx", "--json", "--lines", "1000")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    entry = next(line for line in lines if "/page/log" in line.get("uri", ""))
    assert (entry["host"], entry["log"], entry["status"], entry["method"]) == ("web1", "nginx-access.log", "200", "GET")
    assert entry["user_agent"].startswith('a "b" \\ ')
    assert entry["seconds"] >= 0


CLIENTS = 500
PAGE = 1_000_000  # bytes: more than all buffers of sockets on the way hold; at 1 kB/s a quarter of an hour
UPLOAD = 30_000


@contextmanager
def slow_clients(server: Target, count: int, request: str) -> Iterator[list[socket.socket]]:
    """Connections that have asked, and read and send next to nothing from then on."""
    with ExitStack() as opened:
        found = [opened.enter_context(socket.socket()) for _ in range(count)]
        for client in found:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((address(server), 80))
            client.sendall(request.encode())
            client.setblocking(False)
        yield found


def get(path: str) -> str:
    return f"GET {path}?size={PAGE} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n"


def post(path: str) -> str:
    return f"POST {path} HTTP/1.1\r\nHost: {DOMAIN}\r\nContent-Length: {UPLOAD}\r\n\r\n"


def is_stuck(server: Target) -> bool:
    """Whether the application does not answer within a few seconds."""
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=3)
    try:
        connection.request("GET", "/", headers={"Host": DOMAIN})
        connection.getresponse()
    except TimeoutError:
        return True
    finally:
        connection.close()
    return False


def test_hundreds_of_slow_clients_do_not_take_the_workers(site: Project, shared_server: Target) -> None:
    took, end = [], time.monotonic() + 10
    with (
        slow_clients(shared_server, CLIENTS // 2, get("/big/")) as down,
        slow_clients(shared_server, CLIENTS // 2, post("/upload/")) as up,
    ):
        while time.monotonic() < end:
            second = time.monotonic() + 1
            for client in up:
                client.send(b"x" * 1000)
            for client in down:
                with contextlib.suppress(BlockingIOError):
                    assert client.recv(1000)
            while time.monotonic() < second:
                began = time.monotonic()
                assert ask(shared_server, "/").status == 200
                took.append(time.monotonic() - began)
    assert len(took) > 50
    assert statistics.quantiles(took, n=20)[-1] < 1


@pytest.mark.parametrize("request_of", [get("/big/now/"), post("/upload/slow/")], ids=["download", "upload"])
def test_where_nothing_is_buffered_a_few_slow_clients_take_them_all(
    site: Project, shared_server: Target, request_of: str
) -> None:
    """What the settings give up, as they say: so the pages above are larger than what the way there holds by itself."""
    with slow_clients(shared_server, 4, request_of):
        assert wait_for(lambda: is_stuck(shared_server))
    wait_for(lambda: not is_stuck(shared_server))
