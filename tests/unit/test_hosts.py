"""Several hosts side by side: every failure is told, and Ctrl-C waits for none of them."""

from __future__ import annotations

import signal
import threading
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fabrelease.tasks.engine import hosts
from fabrelease.tasks.engine.errors import HostError, HostErrors
from fabrelease.tasks.engine.hosts import Host


class Standing:
    """A host whose step lasts until its session is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.begun, self.closed = threading.Event(), threading.Event()

    def step(self) -> None:
        self.begun.set()
        self.closed.wait(300)
        raise HostError(self.name, "the connection was lost")

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
            raise HostError(host.name, "no", needs_person=host.name == "b")

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
