"""The command lines that servers are started by."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn
from granian import cli as granian
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import units
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.remote.drivers import Launch

from .examples import example_settings

RELEASE = "/srv/site/releases/20261121T104500Z-1a2b3c4"
COMMANDS: dict[str, Any] = {"uvicorn": uvicorn.main, "granian": granian.cli}
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


def launch(address: str = f"unix:{RELEASE}/run/web.sock", descriptor: str = "", path: str = "", **settings: Any) -> Launch:
    return Launch(RELEASE, "site:app", 2, address, descriptor, path, settings)


def understood(asked: Launch, server: str = "uvicorn") -> dict[str, Any]:
    """What a server itself makes of its command line."""
    argv = drivers.server(server).argv(asked)
    assert argv[:3] == [f"{RELEASE}/env/bin/python", "-m", server]
    return dict(COMMANDS[server].make_context(server, argv[3:]).params)


def test_uvicorn_listens_where_the_release_has_its_address() -> None:
    assert understood(launch())["uds"] == f"{RELEASE}/run/web.sock"
    on_port = understood(launch("[::1]:8004"))
    assert (on_port["host"], on_port["port"], on_port["uds"]) == ("::1", 8004, None)
    assert understood(launch(descriptor="3"))["fd"] == 3
    assert (understood(launch())["workers"], understood(launch())["app"]) == (2, "site:app")
    assert understood(launch(path="/shop"))["root_path"] == "/shop"


def test_uvicorn_trusts_what_nginx_says_of_the_client_and_nobody_else() -> None:
    assert understood(launch())["forwarded_allow_ips"] == "*"
    assert understood(launch("127.0.0.1:8004"))["forwarded_allow_ips"] == "127.0.0.1,::1"


def test_uvicorn_ends_though_nothing_is_said_of_it() -> None:
    assert understood(launch())["timeout_graceful_shutdown"] == 30
    assert understood(launch(timeout_graceful_shutdown=5))["timeout_graceful_shutdown"] == 5


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "timeout_keep_alive": st.integers(),
            "reload_delay": st.floats(allow_nan=False, allow_infinity=False),
            "access_log": st.booleans(),
            "proxy_headers": st.booleans(),
            "use_colors": st.booleans(),
            "factory": st.booleans(),
            "ws_per_message_deflate": st.booleans(),
            "root_path": TEXT,
            "ssl_keyfile_password": TEXT,
            "loop": st.sampled_from(["auto", "asyncio"]),
        },
    ),
    st.lists(TEXT),
)
def test_uvicorn_reads_each_setting_back_as_it_was_written(settings: dict[str, Any], headers: list[str]) -> None:
    found = understood(launch(**settings, header=headers))
    assert {name: found[name] for name in settings} == settings
    assert list(found["headers"]) == headers


def test_granian_is_told_all_that_its_own_defaults_do_not_say() -> None:
    found = understood(launch(path="/shop", ws=False, interface="wsgi"), "granian")
    told = {
        "uds_permissions": 0o666,
        "workers": 2,
        "url_path_prefix": "/shop",
        "respawn_failed_workers": True,
        "workers_kill_timeout": 30,
        "websockets": False,
    }
    assert {name: found[name] for name in told} == told
    assert (str(found["uds"]), str(found["interface"])) == (f"{RELEASE}/run/web.sock", "wsgi")
    on_port = understood(launch("127.0.0.1:8004"), "granian")
    assert (on_port["host"], on_port["port"], str(on_port["interface"])) == ("127.0.0.1", 8004, "asgi")


@pytest.mark.parametrize(
    ("settings", "lingers"),
    [
        ({}, False),
        ({"worker_class": "sync", "threads": 1}, False),
        ({"worker_class": "mine.Worker"}, False),
        ({"threads": 4}, True),
        ({"worker_class": "gthread"}, True),
        ({"worker_class": "gevent"}, True),
        ({"worker_class": "asgi"}, True),
    ],
)
def test_only_workers_that_finish_what_they_have_are_told_to_stop_early(settings: dict[str, Any], lingers: bool) -> None:
    made = units.web(example_settings(web={"server": "gunicorn", "settings": settings}), RELEASE, "unix:/x")
    assert (made.linger is not None) == lingers


def test_connections_that_nginx_keeps_are_waited_for() -> None:
    def linger(keepalive: int) -> float | None:
        settings = example_settings(web={"server": "uvicorn"}, site={"upstream_keepalive": keepalive})
        return units.web(settings, RELEASE, "unix:/x").linger

    assert (linger(0), linger(8)) == (2, 4)
