"""Naming a release, and what its Procfile says."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabrelease.tasks.push import Wanted, new_id, revision
from tests.apps import make_repository
from tests.unit.examples import example_settings

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


@pytest.mark.parametrize(("hooks", "is_said"), [({}, True), ({"before_switch": ["flask db upgrade"]}, False)])
def test_the_release_line_of_a_procfile_is_no_process(
    hooks: dict[str, Any], is_said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = make_repository("tinysite", tmp_path / "app", ("one",))
    (tmp_path / "app/Procfile").write_text("web: gunicorn x\nrelease: flask db upgrade\nworker: python worker.py\n")
    repository.commit("with-procfile")
    settings = example_settings(project=tmp_path, source={"path": "app"}, hooks=hooks)
    assert revision(settings, None).procfile == {"worker": "python worker.py"}
    assert ("hooks: {before_switch: [flask db upgrade]}" in capsys.readouterr().err) == is_said
