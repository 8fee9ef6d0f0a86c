"""Every combination of settings of the site that is accepted, is accepted by nginx too, and nothing is found in it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests import nginxes
from tests.integration.support import own_certificate

from .examples import example, example_settings
from .test_templates import for_crossplane, needs_programs, one_port, whole_site, write_nginx

OTHERS = list(nginxes.LIBRARIES)
PREFIXES = ["/admin/", "/admin/reports/", "/a.b+c~d@e/", "/ws/", "/blog/static/"]
PHASES = (Phase.explicit, Phase.generate)  # each example is a program's run: what fails is not made smaller
LONGEST_NAME = "a" * 31

booleans = st.booleans()
seconds = st.integers(1, 600)
networks = st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "127.0.0.1"]), unique=True, max_size=3)
cache = st.fixed_dictionaries({}, optional={"valid": seconds, "not_found": st.integers(0, 60), "stale": booleans})
served = {
    "allow": networks | st.just(["all"]),
    "deny": networks,
    "basic_auth": st.sampled_from(["USERS", "_u2"]),
    "limit_requests": st.fixed_dictionaries(
        {"rate": st.sampled_from(["1r/s", "9999999r/m"])}, optional={"burst": st.integers(0, 10**6)}
    ),
    "limit_connections": st.integers(1, 1000),
    "request_buffering": booleans,
    "cache": cache | st.just(False),
    "client_max_body_size": st.sampled_from(["0", "512k", "2G"]),
}
paths = st.fixed_dictionaries(
    {}, optional={**served, "websocket": booleans, "stream": booleans, "timeouts": st.fixed_dictionaries({"read": seconds})}
)
printable = st.text(st.characters(min_codepoint=32, exclude_characters="$\x7f", exclude_categories=["Cs"]), max_size=30)
headers = st.dictionaries(st.sampled_from(["X-Frame-Options", "X-Own", "A!#&'*+.^_|~"]), printable, max_size=3)
sites = st.fixed_dictionaries(
    {},
    optional={
        **served,
        "path": st.sampled_from(["/", "/shop", "/a.b/c+d"]),
        "port": st.sampled_from([80, 8080]),
        "paths": st.dictionaries(st.sampled_from(PREFIXES), paths, max_size=3),
        "static": st.dictionaries(
            st.sampled_from(["/static/", "/blog/static/", "/s.t+/"]),
            st.fixed_dictionaries({"directory": st.just("a b/static")}, optional={"autoindex": booleans, "immutable": booleans}),
        ),
        "public": st.sampled_from(["public", 'we "b'])  ,
        "headers": st.just("secure") | headers | headers.map(lambda own: {"secure": True, **own}),
        "session_cookies": st.lists(st.sampled_from(["sessionid", "__Host-a.b"]), unique=True),
        "cache_max_size": st.sampled_from(["1m", "10G"]),
        "cache_status": booleans,
        "trusted_proxies": networks,
        "access_log": st.sampled_from(["combined", "json"]),
        "upstream_keepalive": st.integers(0, 8),
        "redirect_domains": st.just(["www.example.org"]),
        "tls": st.fixed_dictionaries({}, optional={"redirect": booleans, "http3": booleans, "hsts": st.sampled_from([0, 300, 31536000])}),
    },
)
wholes = st.fixed_dictionaries(
    {
        "site": sites,
        "app": st.sampled_from(["shop", LONGEST_NAME]),
        "server": st.sampled_from(["gunicorn", "uwsgi", "uvicorn"]),
        "address": st.sampled_from(["", "127.0.0.1:8004"]),
        "ipv6": booleans,
    }
)


def rendered(whole: dict[str, Any], root: str, version: tuple[int, ...]) -> str:
    """The site of settings, as a version of nginx has it; examples that are refused are left out."""
    try:
        read = example_settings(app=whole["app"], site=whole["site"], web={"server": whole["server"]}, secrets="prod.env")
    except ValidationError:
        assume(False)
    found = example(read, root=root, address=whole["address"])
    found["host"].nginx_version, found["host"].ipv6, found["host"].webroot = version, whole["ipv6"], "/var/lib/acme"
    if (tls := read.site.tls) is None:
        return whole_site(found)
    found["is_secure"] = True
    found["host"].quic = tls.http3 and version >= (1, 25)
    plain = whole_site(found, "nginx/secure.conf.j2" if tls.redirect else "nginx/site.conf.j2")
    return plain + one_port({**found, "port": 443, "certificate": str(Path(root).parent)})


@dataclass(frozen=True)
class Nginx:
    """One version of it."""

    argv: list[str]
    version: tuple[int, ...]


def nginx_of(suite: str) -> Nginx:
    """That of another Debian; the empty suite is this machine."""
    try:
        argv = nginxes.ensure(suite) if suite else ["nginx"]
    except nginxes.CannotBeHad as error:
        pytest.skip(str(error))
    said = subprocess.run([*argv, "-v"], capture_output=True, text=True).stderr
    return Nginx(argv, tuple(map(int, said.split("nginx/")[1].split()[0].split("."))))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """An application's root, with its configuration and a certificate beside it."""
    with tempfile.TemporaryDirectory(prefix="site-", dir="/tmp") as made:
        (Path(made) / "my app/logs").mkdir(parents=True)
        own_certificate(Path(made))
        for name, there in (("site.pem", "fullchain.pem"), ("site.key", "privkey.pem")):
            (Path(made) / name).rename(Path(made) / there)
        yield Path(made)


@needs_programs
@pytest.mark.parametrize("suite", ["", *OTHERS])
def test_each_nginx_and_crossplane_take_what_the_settings_take(folder: Path, suite: str) -> None:
    nginx = nginx_of(suite)

    @given(whole=wholes)
    @settings(max_examples=30 if suite else 60, phases=PHASES)
    def try_it(whole: dict[str, Any]) -> None:
        text = rendered(whole, str(folder / "my app"), nginx.version)
        main = write_nginx(folder, text)
        run = subprocess.run([*nginx.argv, "-t", "-q", "-p", folder, "-c", main], capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        parsed = crossplane.parse(str(write_nginx(folder, for_crossplane(text))), strict=True)
        assert parsed["status"] == "ok", parsed["errors"]

    try_it()


@needs_programs
@given(whole=wholes, version=st.sampled_from([(1, 18, 0), (1, 22, 1), (1, 26, 3), (1, 29, 7)]))
@settings(max_examples=10, phases=PHASES)
def test_gixy_finds_nothing_in_what_the_settings_take(
    folder: Path, whole: dict[str, Any], version: tuple[int, ...]
) -> None:
    main = write_nginx(folder, rendered(whole, str(folder / "my app"), version))
    # HSTS is a setting, and stands in the application's location.
    argv = [sys.executable, "-m", "gixy.cli.main", "-f", "json", "-ll", "--skips", "hsts_header", main]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (run.stderr, json.loads(run.stdout)) == ("", [])
