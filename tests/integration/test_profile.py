"""``--profile`` and ``--write-report`` on a real server."""

from __future__ import annotations

import json

from tests.project import Project
from tests.target import Target


def test_a_profile_and_a_report_say_what_a_deploy_waited_for(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    said = project.fab("-H", "prod", "deploy", "--ref", "two", "--profile", "--write-report", "deploy.html").stderr
    saved = project.path / ".fabrelease/profile"
    (data,), (picture,) = saved.glob("deploy-*.json"), saved.glob("deploy-*.svg")
    assert str(data) in said
    assert picture.read_text().startswith("<svg ")
    profile = json.loads(data.read_text())
    seen, spans = profile["traffic"]["web1"], profile["spans"]
    assert seen["channels"] == 1
    page = (project.path / "deploy.html").read_text()
    assert [shown for shown in ("Revision two", "cutover.switch", "is live: the site answers 200") if shown not in page] == []
    assert 5 <= seen["turns"] <= 30
    assert seen["up"] > 2000 < seen["down"]
    on_host = {span["name"] for span in spans if span["kind"] == "host"}
    assert {"entry.begin", "source.receive", "configure.apply", "cutover.start", "cutover.switch"} <= on_host
    assert {span["kind"] for span in spans} == {"start", "local", "git", "connect", "way", "host"}
    assert min(span["start"] for span in spans) >= 0
    assert max(span["end"] for span in spans) <= profile["seconds"]
    assert "cutover.start" in said
    assert "1 SSH channel" in said


def test_a_profile_does_not_disturb_json_and_is_there_after_a_failure(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    done = project.fab("-H", "prod", "status", "--json", "--profile", status=1)
    assert json.loads(done.stdout)["ok"] is False
    assert "status took " in done.stderr
    assert len(list((project.path / ".fabrelease/profile").iterdir())) == 2
