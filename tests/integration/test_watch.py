"""``fab status --watch``: on a terminal what runs, until q; elsewhere one clear error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.support import settle, sh
from tests.integration.terminal import typed
from tests.project import Project
from tests.target import Target

BUSY = "while True:\n    pass\n"


def test_processes_with_processor_and_memory_are_shown_until_q(
    tmp_path: Path, server: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COLUMNS", "160"), ("LINES", "40"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    project = Project(tmp_path / "project", "tinysite")
    project.repository.git("checkout", "--quiet", "one")
    (project.path / "app/busy.py").write_text(BUSY)
    project.repository.commit("busy")
    project.stage({"web1": server}, processes={"busy": "nice python busy.py"})
    project.fab("-H", "prod", "deploy", "--ref", "busy")
    settle(server)
    status, shown = typed(project, ["-H", "prod", "status", "--watch"], {" % ": "q"})
    assert status == 0
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"web1 +\d{8}T\d{6}Z-\w+ +web +RUNNING +\d+ +3 ", shown)
    (percent,) = set(re.findall(r"busy +RUNNING +\d+ +1 +(\d+) %", shown)[:1])
    assert int(percent) > 10
    assert re.search(r"\d+(\.\d)? MB", shown)
    sh(server, "systemctl stop supervisor")
    status, shown = typed(project, ["-H", "prod", "status", "--watch"], {"does not answer": "q"})
    assert status == 0


def test_without_a_terminal_it_says_what_to_take_instead(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({})
    text = (project.path / "hosts/prod.yml").read_text()
    (project.path / "hosts/prod.yml").write_text(text.replace("hosts: {}", "hosts: {web1: {address: 127.0.0.1, port: 1}}"))
    said = project.fab("-H", "prod", "status", "--watch", status=2).stderr
    assert "--watch needs a terminal: elsewhere take fab status, or fab status --json" in said
