"""Every kind of requirements makes a working environment, and is made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.apps import Repository
from tests.integration.support import settle, sh
from tests.project import Project
from tests.target import Target

ROOT = "/srv/flasktodo"
PROJECT = '[project]\nname = "tiny"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["iniconfig==2.0.0"]\n'
KINDS = ("requirements.txt", "pyproject.toml", "uv.lock", "pylock.toml", "pip", "pip pyproject.toml", "wheelhouse")


def write(kind: str, place: Path) -> dict[str, Any]:
    """Write the files of a kind into a repository, and give the settings it needs."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    if kind in ("requirements.txt", "pip", "wheelhouse"):
        (place / "requirements.txt").write_text("-r more.txt\n")
        (place / "more.txt").write_text("iniconfig==2.0.0\n")
    else:
        (place / "pyproject.toml").write_text(PROJECT)
    if kind == "uv.lock":
        subprocess.run([*uv, "lock"], cwd=place, check=True)
    if kind == "pylock.toml":
        subprocess.run(
            [*uv, "pip", "compile", "--python-version", "3.10", "--output-file", "pylock.toml", "pyproject.toml"],
            cwd=place,
            check=True,
        )
    if kind == "wheelhouse":
        house = place.parent / "house"
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", house]
        subprocess.run([*download, "iniconfig==2.0.0", "gunicorn"], check=True)
        return {"wheelhouse": str(house)}
    return {"installer": "pip"} if kind.startswith("pip") else {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_is_made_from(kind: str, shared_server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "flasktodo")
    repository = Repository("tiny", project.path / "tiny", {})
    repository.path.mkdir()
    repository.git("init", "--quiet", "--initial-branch=main")
    python = write(kind, repository.path)
    repository.commit("one")
    project.stage({"web1": shared_server}, source={"path": "tiny"}, shared=None, python=python)
    said = project.fab("-H", "prod", "push", "venv").stderr
    source = "requirements.txt" if kind in ("pip", "wheelhouse") else kind.split()[-1]
    installer = "pip" if kind.startswith("pip") else "uv"
    assert f"made with {installer}" in said
    assert source in said
    assert versions(shared_server)[0] == "2.0.0"
    # Another revision that requires the same things: the same environment.
    (repository.path / "code.py").write_text("pass\n")
    repository.commit("two")
    before = sh(shared_server, 'realpath "$1/next/env"', ROOT)
    assert "reused" in project.fab("-H", "prod", "push", "venv").stderr
    assert sh(shared_server, 'realpath "$1/next/env"', ROOT) == before
    assert sh(shared_server, 'find "$1/next/env/" ! -user root | head -1', ROOT) == ""


def versions(server: Target) -> list[str]:
    """The versions of what was asked for and of gunicorn, which is there unasked, as the environment tells."""
    code = "import iniconfig, gunicorn, importlib.metadata as m; print(m.version('iniconfig'), m.version('gunicorn'))"
    return sh(server, '"$1/next/env/bin/python" -I -c "$2"', ROOT, code).split()


def test_pip_refuses_a_lock_it_cannot_read(shared_server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "flasktodo")
    (project.repository.path / "uv.lock").write_text("version = 1\n")
    project.repository.commit("locked")
    project.stage({"web1": shared_server}, python={"installer": "pip"})
    said = project.fab("-H", "prod", "push", "venv", status=1).stderr
    assert "pip cannot install from uv.lock" in said


def test_a_file_of_requirements_that_is_not_there_is_said(shared_server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "flasktodo")
    project.stage({"web1": shared_server}, python={"requirements": "requirements/prod.txt"})
    said = project.fab("-H", "prod", "push", "venv", status=1).stderr
    assert "python.requirements names requirements/prod.txt, which is not in this revision" in said


def test_a_python_that_is_not_there_is_said(shared_server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", "flasktodo")
    project.stage({"web1": shared_server}, python={"version": "3.99"})
    said = project.fab("-H", "prod", "push", "venv", status=1).stderr
    assert "there is no Python 3.99 on the host (there is: python3.11)" in said


@pytest.mark.parametrize("verbs", [["push", "venv"], ["deploy"]], ids=" ".join)
def test_an_environment_is_compiled_and_what_was_left_of_that_is_made_up_for(
    verbs: list[str], shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    # A package of its own each time: an environment that another test made is compiled already.
    packages = [f"iniconfig=={'2.1.0' if 'deploy' in verbs else '1.1.1'}"]
    project.stage({"web1": shared_server}, python={"packages": packages})
    project.fab("-H", "prod", *verbs)
    settle(shared_server)
    env = sh(shared_server, "readlink -f /srv/tinysite/next/env || readlink -f /srv/tinysite/env").split()[0]
    compiled = f"find {env}/lib -user root -path '*/iniconfig/__pycache__/*.pyc' | wc -l"
    assert int(sh(shared_server, compiled)) >= 1
    sh(shared_server, f"find {env} -name '*.pyc' -delete; rm {env}/.compiled")
    project.fab("-H", "prod", "push", "--ref", "one", "venv")
    assert int(sh(shared_server, compiled)) >= 1
    assert sh(shared_server, f"ls {env}/.compiled").strip()
