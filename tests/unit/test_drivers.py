"""The servers and managers there are: this package's, and those that another package adds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from fabrelease.tasks.engine import planning
from fabrelease.tasks.engine.mistakes import mistakes
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings

WAITRESS = """\
from fabrelease.tasks.engine.remote.drivers import Server


class Waitress(Server):
    speaks, longest_path = "http", 107
    refused = {"listen": "set web.bind", "expose_tracebacks": "visitors would see them"}
    switches = frozenset({"expose_tracebacks"})
    takes = gives = frozenset({"path"})
    prefix = "option"

    def timeout(self, settings):
        return 0


DRIVER = Waitress()
"""


@pytest.fixture
def waitress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package, as pip installs it, that adds a server and a manager."""
    (tmp_path / "waitress_driver.py").write_text(WAITRESS)
    metadata = tmp_path / "waitress_driver-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: waitress-driver\nVersion: 1.0\n")
    points = "[fabrelease.servers]\nwaitress = waitress_driver\n[fabrelease.managers]\nhand = waitress_driver\n"
    (metadata / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    drivers.outside.cache_clear()
    yield
    drivers.outside.cache_clear()


def refusals(**more: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        example_settings(**more)
    return [(".".join(map(str, found.path)), found.message) for found in mistakes(caught.value, Settings)]


def test_the_packaged_ones_are_the_modules() -> None:
    tasks = Path(drivers.__file__).parents[2]
    for kind in ("servers", "managers"):
        modules = {path.stem for path in (tasks / kind).glob("*.py")} - {"__init__"}
        assert set(drivers.packaged(kind)) == modules
        assert modules <= set(drivers.names(kind))


@pytest.mark.usefixtures("waitress")
def test_another_package_adds_a_server_and_a_manager() -> None:
    assert {"gunicorn", "waitress"} <= set(drivers.names("servers"))
    assert {"supervisor", "hand"} <= set(drivers.names("managers"))
    settings = example_settings(web={"server": "waitress"}, manager="hand")
    assert planning.server_of(settings).refused["listen"] == "set web.bind"
    assert planning.manager_of(settings) is planning.server_of(settings)


@pytest.mark.usefixtures("waitress")
def test_an_unknown_name_is_told_with_all_that_there_are() -> None:
    (found,) = refusals(web={"server": "waitres"})
    known = " or ".join(f'"{name}"' for name in drivers.names("servers"))
    assert found == ("web.server", f'expected {known}, found "waitres"')
    assert '"waitress"' in known


@pytest.mark.usefixtures("waitress")
def test_a_server_says_what_its_settings_may_not_be() -> None:
    (found,) = refusals(web={"server": "waitress", "settings": {"listen": "*:80", "threads": 4}})
    assert found == ("web.settings.listen", "listen cannot be set here: set web.bind")
    (found,) = refusals(web={"server": "waitress", "settings": {"expose_tracebacks": True}})
    assert found[0] == "web.settings.expose_tracebacks"
    settings = example_settings(web={"server": "waitress", "settings": {"expose_tracebacks": False, "bind": "x"}})
    assert settings.web.settings == {"expose_tracebacks": False, "bind": "x"}  # gunicorn's refusals are gunicorn's


@pytest.mark.usefixtures("waitress")
def test_nginx_waits_longer_only_where_the_server_gives_up_at_all() -> None:
    short = {"domains": ["demo.example.net"], "timeouts": {"read": 5}}
    assert example_settings(web={"server": "waitress"}, site=short).site.timeouts.read == 5
    (found,) = refusals(web={"server": "gunicorn"}, site=short)
    assert found[0] == "site.timeouts.read"


def test_for_a_packaged_name_no_other_package_is_looked_at() -> None:
    code = """if True:
        import contextlib, sys
        from pydantic import TypeAdapter
        from fabrelease.tasks.engine.settings import ServerName
        name, opened = TypeAdapter(ServerName), []
        sys.addaudithook(lambda event, detail: opened.append(str(detail[0])) if event == "open" else None)
        for given in ("gunicorn", "another"):
            opened.clear()
            with contextlib.suppress(ValueError):
                name.validate_python(given)
            print(any(path.endswith("entry_points.txt") for path in opened))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_what_uwsgi_cannot_do_is_refused_and_gunicorn_may() -> None:
    root = f"/srv/{'a' * 47}"
    long = {"root": root, "layout": "standard"}
    assert example_settings(**long).root == root
    (found,) = refusals(**long, web={"server": "uwsgi"})
    assert "2 bytes too long for uwsgi: a release's socket below it would have 104 bytes" in found[1]
    kept = {"domains": ["demo.example.net"], "upstream_keepalive": 8}
    assert example_settings(site=kept).site.upstream_keepalive == 8
    (found,) = refusals(site=kept, web={"server": "uwsgi"})
    assert found[0] == "site.upstream_keepalive"
    (found,) = refusals(web={"server": "uwsgi", "settings": {"processes": 4}})
    assert found == ("web.settings.processes", "processes cannot be set here: set web.workers")


@pytest.mark.parametrize(
    ("given", "requirements", "packages"),
    [
        ({}, ["pyuwsgi>=2.0.28"], []),
        ({"plugins": "python3"}, [], ["uwsgi-core", "uwsgi-plugin-python3"]),
        ({"plugins": "python3, gevent"}, [], ["uwsgi-core", "uwsgi-plugin-python3", "uwsgi-plugin-gevent"]),
    ],
)
def test_uwsgi_comes_as_a_wheel_or_by_its_plugins_from_debian(
    given: dict[str, str], requirements: list[str], packages: list[str]
) -> None:
    server = drivers.server("uwsgi")
    assert [*server.requires(given)] == requirements
    assert [*server.packages(given)] == packages
