"""Naming a release."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from fabrelease.tasks.push import Wanted, new_id

WANTED = Wanted("x", "x" * 40, "1234567", "a subject", "HEAD")


def host(*ids: str) -> Any:
    return SimpleNamespace(begin=lambda what: {"ids": list(ids)})


def test_a_second_release_of_one_second_gets_the_next_free_one(monkeypatch: Any) -> None:
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.9)
    first = new_id(WANTED, [host(), host()])
    assert re.fullmatch(r"\d{8}T\d{6}Z-1234567", first)
    second = new_id(WANTED, [host(), host(first)])
    third = new_id(WANTED, [host(second), host(first)])
    assert first < second < third
    assert (second[:8], len({first, second, third})) == (first[:8], 3)
