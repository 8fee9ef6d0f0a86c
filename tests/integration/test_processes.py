"""Background processes: started and stopped around the switch, on their own release's code, never two at once."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.support import wait_for
from tests.project import Project
from tests.target import Target

WORKER = """\
import os, pathlib, signal, sys, time
log = open(os.environ["WORKER_LOG"], "a", buffering=1)
release = pathlib.Path.cwd().resolve().parent.name
signal.signal(signal.SIGTERM, lambda *_: (print("stop", release, file=log), sys.exit(0)))
print("start", release, file=log)
while True:
    time.sleep(0.1)
"""


def test_a_procfile_s_worker_is_stopped_before_the_next_release_s_one_starts(
    project: Project, server: Target
) -> None:
    log = "/srv/djangosite/shared/data/worker.log"
    project.stage({"web1": server}, env={"WORKER_LOG": log})
    project.repository.git("checkout", "--quiet", "one")
    (project.path / "app/worker.py").write_text(WORKER)
    (project.path / "app/Procfile").write_text("web: gunicorn djangosite.wsgi\nworker: python worker.py\n")
    project.repository.commit("with-worker")
    project.fab("-H", "prod", "deploy", "--ref", "with-worker")
    (project.path / "app/more.txt").write_text("more\n")
    project.repository.commit("with-worker-two")
    project.fab("-H", "prod", "deploy", "--ref", "with-worker-two")
    status = project.status()
    assert {program["role"]: program["state"] for program in status["programs"]}.keys() == {"web", "worker"}
    project.fab("-H", "prod", "rollback")
    events = wait_for(lambda: all_of(server, log, 5))
    assert [event for event, _ in events] == ["start", "stop", "start", "stop", "start"]
    one, two = events[0][1], events[2][1]
    assert [release for _, release in events] == [one, one, two, two, one]
    assert re.match(r"\d{8}T\d{6}Z-", one)
    assert project.status()["current"]["id"] == one


def all_of(server: Target, log: str, count: int) -> list[list[str]]:
    """The events in the worker's log, once there are so many: a worker writes when it has started."""
    events = [line.split() for line in server.exec(["cat", log]).stdout.decode().splitlines()]
    return events if len(events) >= count else []


def test_a_line_of_the_procfile_that_is_none_is_refused_before_anything_is_sent(
    project: Project, tmp_path: Path
) -> None:
    project.stage({})
    text = (project.path / "hosts/prod.yml").read_text()
    (project.path / "hosts/prod.yml").write_text(
        text.replace("hosts: {}", "hosts: {web1: {address: 127.0.0.1, port: 1}}")
    )
    (project.path / "app/Procfile").write_text("this is no process\n")
    project.repository.commit("bad-procfile")
    done = project.fab("-H", "prod", "deploy", "--ref", "bad-procfile", status=2)
    commit = project.repository.git("rev-parse", "--short=7", "bad-procfile").strip()
    assert f"Procfile of {commit}:1 is no NAME: COMMAND line" in done.stderr
