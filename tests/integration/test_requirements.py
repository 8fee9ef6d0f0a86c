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
HASHED = "iniconfig==2.0.0 --hash=sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374\n"
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


def compiled(path: str) -> str:
    """Where Python 3.11 keeps the byte code of a source."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-311.pyc"


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_an_environment_is_compiled_once_it_is_live_by_the_account_for_builds_and_sealed(
    installer: str, shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": shared_server}, python={"packages": ["iniconfig==2.1.0"], "installer": installer})
    project.fab("-H", "prod", "deploy", "--fresh")
    settle(shared_server)
    env = sh(shared_server, "readlink -f /srv/tinysite/env").strip()
    sources = sh(shared_server, "find \"$1\"/lib -name '*.py' -printf '%P\n'", env).splitlines()
    caches = sh(shared_server, "find \"$1\"/lib -path '*/__pycache__/*.cpython-*.pyc' -printf '%P\n'", env).splitlines()
    assert {compiled(path) for path in sources if "/iniconfig/" in path or "/gunicorn/" in path} <= set(caches)
    start = 'cd / && runuser -u tinysite -- "$1/bin/python" -v -c "import iniconfig" 2>&1 | grep "matches.*iniconfig/__init__"'
    assert sh(shared_server, start, env)  # Python takes it for that of its source
    assert sh(shared_server, "ls /srv/tinysite/envs | grep byte-code || true") == ""
    loose = sh(shared_server, 'find "$1" ! -user root -o ! -group root -o ! -type l -perm /7022', env)
    assert loose == ""
    assert sh(shared_server, 'stat -c %a "$1"', env).strip() == "755"
    assert sh(shared_server, "ps -o args= -u tinysite-build || true") == ""


def test_a_fresh_environment_stands_beside_the_live_one_and_is_the_one_from_then_on(
    shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    before = sh(shared_server, "readlink -f /srv/tinysite/env").strip()
    inode = sh(shared_server, 'stat -c %i "$1"', before)
    sh(shared_server, "touch /srv/tinysite/build/planted && chown tinysite-build /srv/tinysite/build/planted")
    said = project.fab("-H", "prod", "deploy", "--ref", "one", "--fresh").stderr
    assert "made with uv" in said
    settle(shared_server)
    after = sh(shared_server, "readlink -f /srv/tinysite/env").strip()
    assert after.startswith(before.split("-")[0])
    assert after != before
    assert sh(shared_server, "ls /srv/tinysite/build") == ""
    assert sh(shared_server, 'stat -c %i "$1"', before) == inode  # the release before can be gone back to
    assert "reused" in project.fab("-H", "prod", "push", "--ref", "two", "venv").stderr
    assert sh(shared_server, "readlink -f /srv/tinysite/next/env").strip() == after
    project.fab("-H", "prod", "rollback")
    assert sh(shared_server, "readlink -f /srv/tinysite/env").strip() == before


def pinned(kind: str) -> str:
    """A file of requirements that names a server: with its hashes, without them, or too old a one."""
    if kind != "hashed":
        return {"old": "gunicorn<20\n", "own": "gunicorn==23.0.0\n", "bare": HASHED}[kind]
    uv = [sys.executable, "-m", "uv", "--quiet", "pip", "compile", "--generate-hashes", "--python-version", "3.10", "-"]
    return subprocess.run(uv, input="iniconfig==2.0.0\ngunicorn==23.0.0\n", capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("installer", ["uv", "pip"])
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("old", "gunicorn<20"),
        ("bare", "requirements.txt pins by hashes, and what is needed beside it is not all in it: gunicorn>=23"),
        ("own", "23.0.0"),
        ("hashed", "23.0.0"),
    ],
)
def test_what_the_project_pins_is_neither_overridden_nor_added_to_without_a_hash(
    kind: str, outcome: str, installer: str, shared_server: Target, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", "tinysite")
    (project.repository.path / "requirements.txt").write_text(pinned(kind))
    project.repository.commit("pinned")
    project.stage({"web1": shared_server}, python={"installer": installer})
    done = project.fab("-H", "prod", "push", "venv", status=0 if kind in ("own", "hashed") else 1)
    if done.returncode:
        assert outcome in done.stderr
        assert "gunicorn>=23" in done.stderr
    else:
        code = "import importlib.metadata as m; print(m.version('gunicorn'))"
        python = "/srv/tinysite/next/env/bin/python"
        assert sh(shared_server, '"$1" -I -c "$2"', python, code).strip() == outcome
