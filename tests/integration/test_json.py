"""The JSON output has the shape that docs/json.md gives it, whatever state a host is in."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from tests.documents import documented, flatten
from tests.integration.support import own_certificate
from tests.project import Project
from tests.target import Target, free_port

PATIENCE = 120  # seconds


def ask(project: Project, command: str) -> Any:
    return json.loads(project.fab("-H", "prod", command, "--json", status=None).stdout)


def check(command: str, said: Any) -> set[str]:
    """That every key is documented with the type it has; gives the keys that were there."""
    keys, found = documented(command), flatten(said)
    assert set(found) - set(keys) == set()
    assert {key: types - keys[key] for key, types in found.items() if types - keys[key]} == {}
    return set(found)


def check_events(written: str) -> None:
    """That a deploy which came to the start of its release and no further was told from its begin to its end."""
    told = [json.loads(line) for line in written.splitlines()]
    for event in told:
        check("events", event)
    first, *_, error, last = told
    assert (first["event"], first["version"], first["command"]) == ("begin", 1, "deploy")
    assert (error["event"], error["code"], error["host"]) == ("error", "FR-503", "web1")
    assert (last["event"], last["exit_status"]) == ("end", 1)
    assert {event["step"] for event in told if event["event"] == "step"} >= {"push", "venv"}


def test_a_host_that_cannot_be_reached(project: Project, server: Target) -> None:
    project.stage({"web1": server})
    path = project.path / "hosts/prod.yml"
    path.write_text(path.read_text().replace(f"port: {server.ssh_port}", f"port: {free_port()}"))
    said = ask(project, "status")
    check("status", said)
    (host,) = said["hosts"]
    assert (said["ok"], host["set_up"], host["current"]) == (False, None, None)
    assert re.search(r"cannot be reached: .* \[FR-201\]", host["problems"][0])
    said = ask(project, "releases")
    check("errors", said)
    assert [(error["code"], error["host"]) for error in said["errors"]] == [("FR-201", "web1")]


def test_every_documented_key_is_there_while_a_deploy_runs_on_a_frozen_host(project: Project, server: Target) -> None:
    own_certificate(project.path)
    site = {"tls": {"certificate": "site.pem", "key": "site.key"}}
    settings: dict[str, Any] = {"site": site, "schedule": {"nightly": {"run": "true", "at": "03:00"}}}
    project.stage({"web1": server}, **settings)
    check("status", ask(project, "status"))
    project.fab("-H", "prod", "deploy", "--ref", "one")
    project.fab("-H", "prod", "maintenance", "on", "-m", "Back at three.", "--allow", "192.0.2.1")
    project.fab("-H", "prod", "scale", "3")
    check_events(project.fab("-H", "prod", "deploy", "--ref", "broken-500", "--json", status=1).stdout)
    project.stage({"web1": server}, **settings, hooks={"build": ["sleep 300"]})
    with project.fab_running("-H", "prod", "deploy", "--ref", "two"):
        wait_for_next(project)
        project.fab("-H", "prod", "freeze", "-m", "freeze for the fair")
        said = ask(project, "status")
        listed = ask(project, "releases")
    assert check("status", said) == set(documented("status"))
    assert check("releases", listed) == set(documented("releases"))
    (host,) = said["hosts"]
    assert host["next"]["state"] == "building"
    assert host["lock"]["what"].startswith("deploy of")
    assert host["freeze"]["why"] == "freeze for the fair"
    assert [release["state"] for release in listed["hosts"][0]["releases"]] == ["good", "bad", "building"]


def wait_for_next(project: Project) -> None:
    end = time.monotonic() + PATIENCE
    while project.status()["next"] is None:
        assert time.monotonic() < end, "the deploy did not come to its push"
        time.sleep(0.5)
