"""Several hosts side by side: every failure is told, and Ctrl-C waits for none of them."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import fabric.main
import pytest
from fabric import Connection

from fabrelease.tasks.engine import hosts
from fabrelease.tasks.engine.errors import HostError, HostErrors, UsageError
from fabrelease.tasks.engine.hosts import Host
from fabrelease.tasks.engine.remote import kinds

from .examples import example_settings


class Standing:
    """A host whose step lasts until its session is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun, self.closed = threading.Event(), threading.Event()

    def step(self) -> None:
        self.begun.set()
        self.closed.wait(300)
        raise HostError(kinds.CONNECTION_LOST, self.name, "the connection was lost")

    def close(self) -> None:
        self.closed.set()


def named(*names: str) -> list[Host]:
    return [cast(Host, SimpleNamespace(name=name)) for name in names]


def test_results_come_in_the_order_of_the_hosts() -> None:
    def late(host: Host) -> str:
        time.sleep(0.05 if host.name == "a" else 0)
        return host.name

    assert hosts.each(named("a", "b", "c"), late) == ["a", "b", "c"]


def test_one_failure_is_itself_and_several_are_told_together() -> None:
    def fail(host: Host) -> None:
        if host.name != "good":
            raise HostError(kinds.LOCKED, host.name, "no", needs_person=host.name == "b")

    with pytest.raises(HostError, match=r"^a: no$"):
        hosts.each(named("a", "good"), fail)
    with pytest.raises(HostErrors) as several:
        hosts.each(named("a", "good", "b"), fail)
    assert (str(several.value), several.value.code) == ("a: no\nb: no", 3)


def test_a_fault_of_ours_is_not_taken_for_a_hosts() -> None:
    def fault(host: Host) -> Any:
        return {}[host.name]  # type: ignore[var-annotated]

    with pytest.raises(KeyError):
        hosts.each(named("a", "b"), fault)


def test_ctrl_c_ends_every_session_and_waits_for_none() -> None:
    two = [Standing("a"), Standing("b")]

    def interrupt() -> None:
        for host in two:
            host.begun.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident or 0
    threading.Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hosts.each(cast(list[Host], two), lambda host: cast(Standing, host).step())
    assert time.monotonic() - began < 30
    assert all(host.closed.is_set() for host in two)


def at_a_closed_port(name: str) -> Host:
    """A host at whose address nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    settings = example_settings(host={"name": name, "address": "127.0.0.1", "port": port})
    return Host(settings, Connection("127.0.0.1", user="nobody", port=port))


def test_a_dead_host_is_left_behind_where_it_is_named() -> None:
    targets = [at_a_closed_port(name) for name in ("web1", "web2", "web3")]
    assert hosts.without(targets, None) == targets
    assert [host.name for host in hosts.without(targets, "web3, web1")] == ["web2"]


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("web9", "--continue-without: web9 is no host of this command. There are web1, web2"),
        ("web1,", "is no host of this command"),
        ("web1,web2", "--continue-without: no host would be left"),
    ],
)
def test_a_host_that_is_left_behind_must_be_one_of_several(names: str, why: str) -> None:
    with pytest.raises(UsageError, match=re.escape(why)):
        hosts.without([at_a_closed_port("web1"), at_a_closed_port("web2")], names)


def test_a_host_that_refuses_us_is_not_dead() -> None:
    """Who listens but speaks no SSH is up: a fault of ours or of the network must leave no host behind."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400 no\r\n" * 200), daemon=True).start()
        settings = example_settings(host={"name": "web1", "address": "127.0.0.1", "port": port})
        other = Host(settings, Connection("127.0.0.1", user="nobody", port=port))
        with pytest.raises(HostError, match=r"^web1: "):
            hosts.without([other, at_a_closed_port("web2")], "web1")


@pytest.mark.parametrize(
    ("typed", "named", "first"),
    [("web1,web2", "web1", True), ("web1,web2", "web2", False), ("web1,web1", "web1", True), ("web1", "web1", True)],
)
def test_a_transaction_over_several_names_is_done_when_the_first_comes(
    monkeypatch: pytest.MonkeyPatch, typed: str, named: str, first: bool
) -> None:
    arguments = SimpleNamespace(args=SimpleNamespace(hosts=SimpleNamespace(value=typed)))
    monkeypatch.setattr(fabric.main.program, "core", [arguments], raising=False)
    assert hosts.leads(Connection(named)) is first


def test_a_connection_of_ones_own_is_a_transaction_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = SimpleNamespace(args=SimpleNamespace(hosts=SimpleNamespace(value="web1,web2")))
    monkeypatch.setattr(fabric.main.program, "core", [arguments], raising=False)
    assert hosts.leads(Connection("web3"))
