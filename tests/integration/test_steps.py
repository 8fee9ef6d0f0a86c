"""Each step alone, in one line, and in somebody's own fabfile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import revision, settle, sh, tree, unharmed
from tests.project import Project
from tests.target import Target

REPOSITORY = Path(__file__).parents[2]
ROOT = "/srv/djangosite"
STEPS = ("push", "venv", "server", "manager", "proxy", "switch", "cleanup")
# Somebody's own project, which has a tasks.py of its own beside its fabfile.
TASKS = """
from invoke import task

@task
def greet(c):
    print("greetings from the project's own tasks.py")
"""
FABFILE = """
import fabrelease.tasks
from fabric import Connection, task
from fabrelease.tasks import cleanup, gunicorn, nginx, push, supervisor, switch, venv

import tasks

def my_own_step(c):
    tasks.greet(c)
    assert "site-packages" in fabrelease.tasks.__file__, fabrelease.tasks.__file__

@task
def deploy(c):
    push(c); my_own_step(c); venv(c); gunicorn(c); supervisor(c); nginx(c); switch(c); cleanup(c)

@task
def ship(c):
    connection = Connection("{address}", user="deploy", port={port}, connect_kwargs={{"key_filename": "{key}"}})
    push(connection, ref="one")
    print("shipping to", connection.run("hostname", hide=True).stdout.strip())
    venv(connection); gunicorn(connection); supervisor(connection); nginx(connection); switch(connection)
"""


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on the shared server."""
    project = Project(tmp_path_factory.mktemp("steps") / "project")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtualenv with the wheel in it, as a user has it."""
    place = tmp_path_factory.mktemp("wheel")
    leave = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "bench")
    shutil.copytree(REPOSITORY, place / "source", ignore=leave)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--installer", "uv", place / "source"], check=True)
    (wheel,) = (place / "source/dist").glob("*.whl")
    subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", place / "env"], check=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", place / "env/bin/python", wheel]
    subprocess.run(install, check=True)
    return place / "env/bin"


def test_all_steps_in_one_line_bring_a_revision_live(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, source={"ref": "two"})
    said = site.fab("-H", "prod", *STEPS).stderr
    site.stage({"web1": shared_server})
    assert revision(shared_server) == "two"
    assert not sh(shared_server, 'ls "$1" | grep -x next || true', ROOT)
    for said_by in ("push", "venv", "gunicorn", "supervisor", "nginx", "switch", "cleanup"):
        assert f" {said_by} " in said


def test_each_step_is_a_process_of_its_own_and_changes_nothing_the_second_time(
    site: Project, shared_server: Target
) -> None:
    for step in STEPS:
        arguments = [step, "--ref", "one"] if step == "push" else [step]
        before = revision(shared_server)
        site.fab("-H", "prod", *arguments)
        if STEPS.index(step) < STEPS.index("switch"):
            assert revision(shared_server) == before == "two"  # nothing live is touched
        settle(shared_server)
        there = tree(shared_server, ROOT, "/etc/nginx", "/etc/supervisor")
        said = site.fab("-H", "prod", *arguments).stderr
        assert tree(shared_server, ROOT, "/etc/nginx", "/etc/supervisor") == there, step
        assert any(words in said for words in ("nothing to do", "no change", "reused")), (step, said)
    assert revision(shared_server) == "one"
    assert site.status()["ok"]


def test_a_step_without_the_one_before_says_which(site: Project, shared_server: Target) -> None:
    with unharmed(shared_server):
        for step in ("venv", "gunicorn", "supervisor", "nginx"):
            assert "fab push" in site.fab("-H", "prod", step, status=1).stderr
    site.fab("-H", "prod", "push", "--ref", "two")
    with unharmed(shared_server):
        said = site.fab("-H", "prod", "switch", status=1).stderr
        assert "is not complete" in said
        assert "fab push venv server manager proxy" in said


def own(project: Project, server: Target, installed: Path) -> Any:
    """Somebody's own fabfile and tasks.py in the project; gives what runs its tasks."""
    (project.path / "tasks.py").write_text(TASKS)
    text = FABFILE.format(address=server.host, port=server.ssh_port, key=server.key_path)
    (project.path / "fabfile.py").write_text(text)

    def fab(*arguments: str) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        command = [installed / "fab", *arguments]
        done = subprocess.run(
            command,
            cwd=project.path,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return fab


def test_somebodys_own_fabfile_deploys_with_the_wheel_installed(
    installed: Path, shared_server: Target, site: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project")
    project.stage({"web1": shared_server})
    fab = own(project, shared_server, installed)
    assert "greetings from the project's own tasks.py" in fab("-H", "prod", "deploy")
    assert revision(shared_server) == "two"
    # By a plain connection to an address, which is matched to the host of the stage.
    name = sh(shared_server, "hostname").strip()
    assert f"shipping to {name}" in fab("ship")
    assert revision(shared_server) == "one"
    assert (
        "greet"
        in subprocess.run([installed / "inv", "--list"], cwd=project.path, capture_output=True, text=True).stdout
    )


def test_the_wheel_brings_templates_and_no_package_called_tasks(installed: Path) -> None:
    code = (
        "import fabrelease.tasks, importlib.util as u, pathlib\n"
        "place = pathlib.Path(fabrelease.tasks.__file__).parents[1]\n"
        "assert u.find_spec('tasks') is None and u.find_spec('templates') is None and u.find_spec('tests') is None\n"
        "print(*sorted(str(p.relative_to(place)) for p in place.rglob('*')))"
    )
    done = subprocess.run([installed / "python", "-I", "-c", code], capture_output=True, text=True, check=True)
    there = done.stdout.split()
    wanted = [
        *REPOSITORY.glob("templates/**/*.j2"),
        *REPOSITORY.glob("templates/*.sh"),
        *REPOSITORY.glob("tasks/**/*.py"),
    ]
    assert len(wanted) > 40
    assert {str(path.relative_to(REPOSITORY)) for path in wanted} <= set(there)
    assert {"tasks/py.typed", "hosts/example.yml", "hosts/schema.json"} <= set(there)
