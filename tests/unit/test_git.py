"""The revision that is deployed: any repository that holds it will do, and what is wrong with one is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fabrelease.tasks.engine import git
from fabrelease.tasks.engine.errors import Error, UsageError
from tests.apps import Repository, git_environment, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository("tinysite", tmp_path / "app", ("one", "two"))


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, env=git_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout


def test_a_bare_clone_will_do(repository: Repository, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    run("git", "clone", "--quiet", "--bare", repository.path, bare)
    found, wanted = git.resolve(bare, "HEAD"), git.resolve(repository.path, "HEAD")
    assert (found.commit, found.tree, found.uncommitted) == (wanted.commit, wanted.tree, 0)
    assert b"".join(git.missing_objects(found, [])[1]).startswith(b"PACK")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a repository away")
def test_a_repository_of_another_users_is_said_with_what_to_type(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.delenv("SUDO_UID", raising=False)
    for path in (repository.path, repository.path / ".git"):
        os.chown(path, 65534, 65534)
    with pytest.raises(UsageError) as refused:
        git.resolve(repository.path, "HEAD")
    assert "because it is another user's" in str(refused.value)
    assert f"git config --global --add safe.directory {repository.path}" in str(refused.value)
    assert "is no git repository" not in str(refused.value)


def test_a_repository_of_sha256_objects_is_refused_by_name(tmp_path: Path) -> None:
    run("git", "init", "--quiet", "--object-format=sha256", tmp_path / "new")
    (tmp_path / "new/file").touch()
    run("git", "-C", tmp_path / "new", "add", "file")
    run("git", "-C", tmp_path / "new", "-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "-mone")
    with pytest.raises(UsageError, match=r"SHA-256 objects.*\n.*--object-format=sha1"):
        git.resolve(tmp_path / "new", "HEAD")


def test_a_damaged_repository_is_said_in_gits_words(repository: Repository) -> None:
    blob = repository.git("rev-parse", "two:revision.py").strip()
    (repository.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    found = git.resolve(repository.path, "two")
    with pytest.raises(Error) as failed:
        list(git.missing_objects(found, [])[1])
    assert failed.value.code == 1
    assert blob in str(failed.value)
    assert "git fsck" in str(failed.value)


def test_a_git_that_says_very_much_is_waited_for(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin/git"
    wrapper.write_text(
        f'#!/bin/sh\n[ "$1" = pack-objects ] || exec {real} "$@"\nhead -c 1000000 /dev/zero | tr "\\0" e >&2; exit 3\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(Error, match=r"e{100}"):
        list(git.missing_objects(git.resolve(repository.path, "two"), [])[1])


def test_a_subject_that_is_not_utf8_can_be_shown(repository: Repository) -> None:
    repository.git("-c", "i18n.commitEncoding=UTF-8", "commit", "--quiet", "--allow-empty", "-m", "plain")
    raw = run("git", "-C", repository.path, "cat-file", "commit", "HEAD").replace("plain", "caf\udce9")
    made = subprocess.run(
        ["git", "-C", repository.path, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=raw.encode(errors="surrogateescape"),
        env=git_environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert git.resolve(repository.path, made.stdout.decode().strip()).subject == "caf\ufffd"
