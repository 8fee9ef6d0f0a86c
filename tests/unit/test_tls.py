"""How a host's certificate comes with a deploy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fabrelease.tasks.engine import tls
from fabrelease.tasks.engine.hosts import Host
from fabrelease.tasks.engine.session import RemoteCall

from .examples import example_settings

DOMAINS = ["demo.example.net", "www.demo.example.net"]
ON_HOST = {"certificate": "/etc/ssl/site.pem", "key": "/etc/ssl/private/site.key", "on_host": True}


def a_host(certificates: list[str], wanted: object) -> tuple[Host, list[list[str]]]:
    """A host as the control side sees it, and the functions of each round trip that is made."""
    trips: list[list[str]] = []

    def run(steps: list[RemoteCall]) -> None:
        trips.append(functions(steps))

    facts: dict[str, Any] = {"certificates": certificates, "ipv6": True, "webroot": "", "nginx_version": [1, 22, 1]}
    host = SimpleNamespace(name="web1", settings=example_settings(site={"tls": wanted}), facts=facts, run=run)
    return cast("Host", host), trips


def functions(steps: list[RemoteCall]) -> list[str]:
    return [step.call["function"].rpartition(".")[2] for step in steps]


@pytest.mark.parametrize(("wanted", "brings"), [(ON_HOST, "adopt"), ({}, "share")])
def test_where_the_site_has_tls_its_certificate_costs_no_round_trip(wanted: object, brings: str) -> None:
    host, trips = a_host(DOMAINS, wanted)
    assert functions(tls.ahead(host)) == [f"certificates:{brings}", "certificates:there"]
    assert trips == []


def test_the_first_certificate_is_brought_before_the_site_is_rendered() -> None:
    host, trips = a_host(DOMAINS[:1], ON_HOST)
    assert tls.ahead(host) == []
    assert trips == [["certificates:adopt", "certificates:there"]]


def test_a_site_without_tls_brings_nothing() -> None:
    host, trips = a_host([], None)
    assert (tls.ahead(host), trips) == ([], [])
