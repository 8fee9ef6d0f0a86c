"""What arrives is exactly the tree of the revision."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.apps import Repository, git_environment
from tests.integration.support import current, revision, sh, unharmed
from tests.project import Project
from tests.target import Target

ROOT = "/srv/flasktodo"
LIST = """
import hashlib, json, os, sys
found = {}
for top, folders, names in os.walk(os.fsencode(sys.argv[1])):
    for name in names + [f for f in folders if os.path.islink(os.path.join(top, f))]:
        path = os.path.join(top, name)
        link = os.path.islink(path)
        content = os.readlink(path) if link else open(path, "rb").read()
        mode = "120000" if link else "100755" if os.stat(path).st_mode & 0o111 else "100644"
        blob = hashlib.sha1(b"blob %d\\0" % len(content) + content).hexdigest()
        found[os.path.relpath(path, os.fsencode(sys.argv[1])).hex()] = [mode, blob]
print(json.dumps(found))
"""
FILES: dict[bytes, bytes] = {
    b".gitattributes": b"*.txt text eol=crlf\n*.sub export-subst ident\n/hidden export-ignore\n*.lfs filter=lfs\n",
    b"windows.txt": b"one\r\ntwo\r\n",
    b"unix.txt": b"one\ntwo\n",
    b"mixed.dat": b"one\r\ntwo\n\xff\xfe\x00",
    b"version.sub": b"$Format:%H$ $Id$\n",
    b"hidden": b"not for archives, but for us\n",
    b"pointer.lfs": b"version https://git-lfs.example/spec/v1\n",
    b"a name\nof two lines": b"odd\n",
    b" leading and trailing ": b"odd\n",
    b"tab\there": b"odd\n",
    b"-n": b"dash\n",
    b"$(touch executed)": b"shell\n",
    "caf\u00e9 \u2615".encode(): b"accents\n",
    b"latin-1 \xe9": b"no utf-8\n",
    b"deep/er/and/deeper/file": b"deep\n",
    b"empty": b"",
    b"release.json": b"{}\n",
}


@pytest.fixture
def project(shared_server: Target, tmp_path: Path) -> Project:
    """A project whose repository is made of odd files."""
    project = Project(tmp_path / "project", "flasktodo")
    repository = Repository("odd", project.path / "odd", {})
    repository.path.mkdir()
    repository.git("init", "--quiet", "--initial-branch=main")
    for name, content in FILES.items():
        path = repository.path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    script = repository.path / "run me.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (repository.path / "link").symlink_to("deep/er")
    (repository.path / "dangling").symlink_to("nowhere/at all")
    (repository.path / "out").symlink_to("/etc/passwd")
    # The bytes themselves are committed: no attribute converts them on their way in.
    (repository.path / ".git/info").mkdir(exist_ok=True)
    (repository.path / ".git/info/attributes").write_text("* -text -filter -ident\n")
    repository.commit("one")
    project.repository = repository
    project.stage({"web1": shared_server}, source={"path": "odd"}, shared=None)
    return project


def pushed(server: Target) -> dict[str, list[str]]:
    """What lies in next/public: name in hexadecimal to mode and git's name of the content."""
    done = server.exec(["python3", "-c", LIST, f"{ROOT}/next/public"])
    return dict(json.loads(done.stdout))


def committed(repository: Repository, ref: str = "HEAD") -> dict[str, list[str]]:
    """The same of a revision, as git has it."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", ref],
        cwd=repository.path,
        env=git_environment(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    entries = [entry.split(b"\t", 1) for entry in listed.split(b"\0")[:-1]]
    return {name.hex(): [words.decode().split()[0], words.decode().split()[2]] for words, name in entries}


def test_the_tree_arrives_byte_for_byte(project: Project, shared_server: Target) -> None:
    project.fab("-H", "prod", "push")
    wanted = committed(project.repository)
    assert len(wanted) == len(FILES) + 4
    assert pushed(shared_server) == wanted
    assert sh(shared_server, 'find "$1/next/public/" ! -user root', ROOT) == ""
    assert shared_server.exec(["ls", "/tmp/executed"], check=False).returncode != 0


def test_a_second_push_brings_what_changed_and_takes_away_what_is_gone(
    project: Project, shared_server: Target
) -> None:
    project.fab("-H", "prod", "push")
    repository = project.repository
    (repository.path / "empty").write_bytes(b"not empty\n")
    (repository.path / "unix.txt").unlink()
    (repository.path / "link").unlink()
    (repository.path / "link").mkdir()
    (repository.path / "link/file").write_text("a directory now\n")
    (repository.path / "run me.sh").chmod(0o644)
    repository.commit("two")
    project.fab("-H", "prod", "push")
    assert pushed(shared_server) == committed(repository)
    project.fab("-H", "prod", "push", "--ref", "one")
    assert pushed(shared_server) == committed(repository, "one")


def test_a_dirty_work_tree_is_said_and_not_deployed(project: Project, shared_server: Target) -> None:
    (project.repository.path / "unix.txt").write_text("changed, not committed\n")
    (project.repository.path / "new").write_text("not added\n")
    said = project.fab("-H", "prod", "push").stderr
    assert "not deployed: 2 uncommitted changes" in said
    assert pushed(shared_server) == committed(project.repository)
    assert "uncommitted" not in project.fab("-H", "prod", "push", "--ref", "one").stderr


def test_a_submodule_is_refused_by_name(project: Project, shared_server: Target) -> None:
    entry = f"160000,{project.repository.revisions['one']},vendored/library"
    project.repository.git("update-index", "--add", "--cacheinfo", entry)
    project.repository.git("commit", "--quiet", "--message=submodule")
    before = sh(shared_server, 'ls "$1/releases"; readlink "$1/next" || true', ROOT)
    said = project.fab("-H", "prod", "push", status=2).stderr
    assert "submodules" in said
    assert "vendored/library" in said
    assert sh(shared_server, 'ls "$1/releases"; readlink "$1/next" || true', ROOT) == before


def test_a_directory_of_a_repository_is_deployed_alone(project: Project, shared_server: Target) -> None:
    project.also({"web1": shared_server}, "deep", source={"path": "odd/deep"}, shared=None)
    project.fab("-H", "deep", "push")
    assert [bytes.fromhex(name) for name in pushed(shared_server)] == [b"er/and/deeper/file"]


def test_what_a_path_is_shared_over_may_not_lead_out_of_the_release(project: Project, shared_server: Target) -> None:
    (project.repository.path / "media").symlink_to("/etc")
    project.repository.commit("hostile")
    project.also(
        {"web1": shared_server}, "hostile", source={"path": "odd"}, shared={"dirs": ["media/inner"], "files": {}}
    )
    before = sh(shared_server, "ls -la /etc")
    said = project.fab("-H", "hostile", "push", status=1).stderr
    assert "media is no directory in this release" in said
    assert sh(shared_server, "ls -la /etc") == before


def test_a_repository_elsewhere_is_deployed_by_its_url(shared_server: Target, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    url = f"file://{project.repository.path}"
    project.stage({"web1": shared_server}, source={"path": None, "git": url, "ref": "one"})
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    project.fab("-H", "prod", "deploy", **cache)
    assert revision(shared_server) == "one"
    live = current(shared_server, "/srv/djangosite")
    project.fab("-H", "prod", "deploy", "--ref", "main", **cache)
    assert revision(shared_server) == "two"
    with unharmed(shared_server):
        assert (
            "there is no revision nope"
            in project.fab("-H", "prod", "deploy", "--ref", "nope", status=2, **cache).stderr
        )
        gone = {"path": None, "git": f"file://{tmp_path}/gone"}
        project.also({"web1": shared_server}, "gone", source=gone)
        assert "cannot be cloned" in project.fab("-H", "gone", "deploy", status=2, **cache).stderr
    project.fab("-H", "prod", "rollback")
    assert current(shared_server, "/srv/djangosite") == live
