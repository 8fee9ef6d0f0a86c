"""git push to deploy, as docs/recipes.md has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.apps import git_environment
from tests.documents import blocks
from tests.integration.support import current, revision
from tests.project import Project
from tests.target import Target


def test_a_push_to_main_goes_live_and_one_that_cannot_is_refused(server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "shop", "tinysite")
    project.stage({"web1": server}, source=None)
    home = make_home(tmp_path / "home")
    repository = project.repository
    for name in ("fabfile.py", "hosts"):
        (project.path / name).rename(repository.path / name)
    repository.commit("stage")

    def push(*what: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(repository.path), "push", str(home / "shop.git"), *what]
        return subprocess.run(command, env={**git_environment(), "HOME": str(home)}, capture_output=True, text=True)

    aside = push("HEAD:aside")
    assert aside.returncode == 0, aside.stderr
    assert server.exec(["test", "-e", "/srv/tinysite/current"], check=False).returncode != 0

    done = push("main")
    assert done.returncode == 0, done.stderr
    assert "remote: web1         switch" in done.stderr
    assert revision(server) == "two"
    live = current(server, "/srv/tinysite")
    assert live.endswith(repository.revisions["stage"][:7])

    (repository.path / "tinysite.py").write_text("raise RuntimeError('broken')\n")
    repository.commit("broken")
    refused = push("main")
    assert refused.returncode != 0
    assert "RuntimeError: broken" in refused.stderr
    assert "pre-receive hook declined" in refused.stderr
    assert current(server, "/srv/tinysite") == live
    assert git(home / "shop.git", "rev-parse", "main") == repository.revisions["stage"]


def make_home(home: Path) -> Path:
    """Of the user who deploys: what the recipe makes there, and this interpreter's fab."""
    home.mkdir()
    git(home, "init", "--quiet", "--bare", "--initial-branch=main", "shop.git")
    git(home, "clone", "--quiet", "shop.git", "shop-deploy")
    (script,) = [block for block in blocks("docs/recipes.md", "sh") if block.startswith("#!")]
    write_program(home / "shop.git/hooks/pre-receive", script)
    (home / "fab/bin").mkdir(parents=True)
    write_program(home / "fab/bin/fab", f'#!/bin/sh\nexec {sys.executable} -m fabric "$@"\n')
    return home


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    os.chmod(path, 0o755)


def git(path: Path, *words: str) -> str:
    command = ["git", "-C", str(path), *words]
    return subprocess.run(command, env=git_environment(), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
