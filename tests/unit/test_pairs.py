"""Servers and managers that do not go together are refused before anything is connected to."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fabrelease.tasks.engine import pairs
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.mistakes import mistakes
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.settings import Settings
from fabrelease.tasks.engine.stages import load_stages

from .examples import example_settings

PAIRS = list(product(drivers.packaged("servers"), drivers.packaged("managers")))


@pytest.mark.parametrize(("server", "manager"), PAIRS)
def test_a_pair_is_refused_where_the_manager_cannot_give_what_the_server_takes(server: str, manager: str) -> None:
    common = drivers.server(server).takes & drivers.manager(manager).gives
    assert (pairs.problem(server, manager) is None) == bool(common)
    given: dict[str, Any] = {"web": {"server": server, "workers": 1}, "manager": manager}
    if common:
        assert example_settings(**given).manager.name == manager
        return
    with pytest.raises(ValidationError) as refused:
        example_settings(**given)
    (mistake,) = mistakes(refused.value, Settings)
    assert mistake.path == ("web", "server")
    assert mistake.message == (
        f"{server} takes only a socket that its manager has opened, and {manager} does not go with that"
    )
    assert mistake.hint == f"with {server}: manager: {' or '.join(pairs.managers_for(server))}"


def test_a_server_that_cannot_be_told_of_a_path_is_refused_below_one() -> None:
    with pytest.raises(ValidationError) as refused:
        example_settings(web={"server": "chaussette"}, manager="circus", site={"path": "/shop"})
    (mistake,) = mistakes(refused.value, Settings)
    assert (mistake.path, mistake.message[:25]) == (("site", "path"), "chaussette cannot be told")


def test_workers_of_a_server_of_one_process_are_copies_of_it() -> None:
    from fabrelease.tasks.engine import units

    settings = example_settings(web={"server": "chaussette", "workers": 3}, manager="circus")
    web = units.web(settings, "/srv/x/releases/20261121T104500Z-1a2b3c4", "unix:/x.sock")
    assert (web.copies, web.activated) == (3, True)
    assert "$(circus.sockets.flask-todo-20261121T104500Z-1a2b3c4)" in web.argv


def test_the_message_names_file_line_key_and_what_would_work(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts/prod.yml").write_text(
        "app: shop\nweb:\n  app: shop:app\n  server: chaussette\nmanager: runit\n"
        "site: {domains: [shop.example.net]}\nhosts: {web1: {}}\n"
    )
    with pytest.raises(SettingsError) as refused:
        load_stages(tmp_path)
    assert str(refused.value) == (
        "hosts/prod.yml:4: web.server: chaussette takes only a socket that its manager has opened, "
        "and runit does not go with that; with chaussette: manager: circus or systemd"
    )
