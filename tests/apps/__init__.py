"""Real applications to deploy, each as a git repository with tagged revisions.

A folder here is an application; the folders in it are its revisions. `one` is whole, `two` holds what
changed after it, and the others what changed after `two`. Files with names that no editor likes are made
here instead of being kept in the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
REVISIONS = ("one", "two", "broken-import", "broken-500", "slow-start")
ODD_FILES = {
    "odd/a name with spaces.txt": "spaces\n",
    "odd/caf\u00e9.txt": "accent\n",
    'odd/it\'s "quoted".txt': "quotes\n",
    "odd/-dash": "dash\n",
}
ODD_SCRIPT = "odd/script.sh"
ODD_LINK = "odd/link"


@dataclass(frozen=True)
class Repository:
    """A git repository; the work tree and HEAD are at `two`, branch `main`."""

    app: str
    path: Path
    revisions: dict[str, str]  # tag to the whole commit id

    def git(self, *argv: str) -> str:
        """Runs git in the repository, untouched by anybody's configuration, and gives what it prints."""
        command = ["git", "-C", str(self.path), *argv]
        return subprocess.run(
            command, env=git_environment(), stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    def commit(self, tag: str) -> str:
        """Commits all there is in the work tree, tags it and gives the commit's id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message=Revision {tag}")
        self.git("tag", tag)
        self.revisions[tag] = self.git("rev-parse", "HEAD").strip()
        return self.revisions[tag]


def make_repository(app: str, directory: Path, revisions: tuple[str, ...] = REVISIONS) -> Repository:
    """Makes the repository of an application; the commit ids are the same wherever it is made.

    Parameters:
        app: the name of a folder here.
        directory: where; it is made, and must be empty.
        revisions: the tags wanted, `one` and `two` first; those the application does not have are left out.
    """
    revisions = tuple(name for name in revisions if (HERE / app / name).is_dir())
    directory.mkdir(parents=True, exist_ok=True)
    repository = Repository(app, directory, {})
    repository.git("init", "--quiet", "--initial-branch=main")
    for revision in revisions:
        if revision not in ("one", "two"):
            repository.git("checkout", "--quiet", "--detach", "two")
        overlay(app, revision, directory)
        if revision == "one":
            write_odd_files(directory)
        repository.commit(revision)
    repository.git("checkout", "--quiet", "main")
    return repository


def make_wheel(app: str, revision: str, directory: Path) -> Path:
    """Builds the wheel of one revision of an application that is a package, and gives the wheel's path."""
    tree = directory / f"{app}-{revision}"
    for step in history(revision):
        overlay(app, step, tree)
    wheels = directory / "wheels" / revision
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, tree]
    subprocess.run(command, check=True)
    shutil.rmtree(tree)
    (wheel,) = wheels.glob("*.whl")
    return wheel


def history(revision: str) -> list[str]:
    """The revisions from `one` to this one."""
    return list(dict.fromkeys(["one", *(["two"] if revision != "one" else []), revision]))


def overlay(app: str, revision: str, directory: Path) -> None:
    """Copies what a revision brings over what is there, with new times.

    With the times of the originals, git takes a changed file of the same size and second for the old one.
    """
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(
        HERE / app / revision, directory, dirs_exist_ok=True, ignore=ignore, copy_function=shutil.copy
    )


def write_odd_files(directory: Path) -> None:
    """What a push must carry over exactly: names, an executable bit, a symlink."""
    for name, content in ODD_FILES.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    script = directory / ODD_SCRIPT
    script.write_text("#!/bin/sh\necho executable\n")
    script.chmod(0o755)
    (directory / ODD_LINK).symlink_to("a name with spaces.txt")


def git_environment() -> dict[str, str]:
    """Nobody's configuration, name, clock or surrounding repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    person = {"NAME": "Nobody", "EMAIL": "nobody@example.net", "DATE": "2026-01-01T00:00:00Z"}
    people = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
    return kept | people | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
