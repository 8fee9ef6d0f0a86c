"""A manager of somebody's own, from a package of its own: one module, one folder of templates, one entry point."""

from __future__ import annotations

from pathlib import Path

from tests.integration.support import current, revision, settle, sh
from tests.project import Project
from tests.target import Target

MODULE = """\
from fabrelease.tasks.managers.systemd import Systemd


class Nightwatch(Systemd):
    templates = {**Systemd.templates, "{role}.service": "nightwatch/unit.service.j2"}


DRIVER = Nightwatch()
"""
TEMPLATE = """\
{% extends "fabrelease/systemd/unit.service.j2" %}
{% block service %}
{{ super() }}
Environment=WATCHED_BY=nightwatch
{% endblock %}
"""


def install(site: Path) -> None:
    """What pip leaves of such a package."""
    (site / "templates/nightwatch").mkdir(parents=True)
    (site / "nightwatch_driver.py").write_text(MODULE)
    (site / "templates/nightwatch/unit.service.j2").write_text(TEMPLATE)
    metadata = site / "nightwatch_driver-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nightwatch-driver\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[fabrelease.managers]\nnightwatch = nightwatch_driver\n")


def test_a_manager_from_another_package_deploys_and_goes_back(server: Target, tmp_path: Path) -> None:
    install(tmp_path / "site")
    project = Project(tmp_path / "project", "tinysite")
    more = {"PYTHONPATH": str(tmp_path / "site")}
    project.stage({"web1": server}, manager="nightwatch")
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one", **more)
    first = current(server, "/srv/tinysite")
    said = project.fab("-H", "prod", "deploy", "--ref", "two", **more)
    assert "nightwatch web: checked" in " ".join((said.stdout + said.stderr).split())
    assert revision(server) == "two"
    shown = sh(server, f"systemctl show --property=Environment tinysite-{current(server, '/srv/tinysite')}.service")
    assert "WATCHED_BY=nightwatch" in shown
    project.fab("-H", "prod", "rollback", **more)
    settle(server)
    assert (revision(server), current(server, "/srv/tinysite")) == ("one", first)
    told = project.fab("-H", "prod", "status", "--json", status=2).stderr
    assert 'or "systemd", found "nightwatch"' in told
    (project.path / "fabfile.py").write_text("from fabrelease.tasks import nightwatch, deploy, status\n")
    assert "Step 4: as manager, where that is nightwatch." in project.fab("--list", **more).stdout
