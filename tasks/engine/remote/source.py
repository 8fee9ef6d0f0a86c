"""Putting a revision's files into a release, from git objects kept on the host."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TypedDict

from . import agent, files, process, releases
from .failure import Failed

# The tree is checked out byte for byte: no attribute of the project's may convert or filter it.
KEPT = 10  # commits whose objects stay on the host, to send only differences to
PLAIN = "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst\n"


class Shared(TypedDict):
    """What outlives releases: directories; ``files`` that come with the release, ``placed`` from the deployer."""

    dirs: list[str]
    files: list[str]
    placed: list[files.File]


def repository(root: str) -> str:
    """The host's store of git objects, made where it is not there."""
    path = f"{root}/repo.git"
    if not os.path.isfile(f"{path}/info/attributes"):
        process.check(["git", "init", "--quiet", "--bare", path], "the store for sources could not be made")
        releases.write_atomically(f"{path}/info/attributes", PLAIN.encode())
    return path


def known(root: str) -> list[str]:
    """The trees whose objects are on the host already, the newest first."""
    path = f"{root}/repo.git"
    if not os.path.isdir(path):
        return []
    done = process.run(["git", f"--git-dir={path}", "for-each-ref", "--sort=-refname", "--format=%(tree)"])
    return done.lines if done.status == 0 else []


def tidy(root: str) -> None:
    """Forget the commits of all but the newest releases, and what only they needed."""
    git = ["git", f"--git-dir={repository(root)}"]
    listed = process.run([*git, "for-each-ref", "--sort=-refname", "--format=%(refname)"]).lines
    for reference in listed[KEPT:]:
        process.run([*git, "update-ref", "-d", reference])
    process.run([*git, "-c", "gc.pruneExpire=now", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"])


def receive(root: str, release: releases.Release, commit: str, owner: str, group: str, shared: Shared) -> None:
    """Begin a release with a commit's tree; the objects that are missing come as the call's data.

    :param commit: the name of a commit that holds the tree.
    :param owner: the application's user, which owns what the application writes.
    :param group: the web server's group, which may read that.
    """
    git = ["git", f"--git-dir={repository(root)}"]
    pack = agent.incoming()
    if first := next(pack, b""):
        unpack = [*git, "index-pack", "--stdin", "--fix-thin"]
        process.check(unpack, "the source did not arrive whole", stdin=_chain(first, pack), timeout=None)
    process.check([*git, "update-ref", f"refs/heads/{release['id']}", commit], "the source did not arrive whole")
    _begin(root, release, owner, group)
    public = f"{releases.directory(root, release['id'])}/public"
    index = {"GIT_INDEX_FILE": f"{public}/../index"}
    process.check([*git, "read-tree", commit], "the source could not be read", env=index)
    checkout = [*git, f"--work-tree={public}", "checkout-index", "--all", "--force"]
    process.check(checkout, "the source could not be written", env=index, cwd=public)
    os.unlink(index["GIT_INDEX_FILE"])
    _share(root, public, owner, group, shared)
    releases.update(root, release["id"], pushed=True)


def prepare(root: str, release: releases.Release, owner: str, group: str, shared: Shared) -> None:
    """Begin a release that has no source of its own: the application is a package in its environment."""
    _begin(root, release, owner, group)
    _share(root, f"{releases.directory(root, release['id'])}/public", owner, group, shared)
    releases.update(root, release["id"], pushed=True)


def _begin(root: str, release: releases.Release, owner: str, group: str) -> None:
    releases.begin(root, release)
    run = f"{releases.directory(root, release['id'])}/run"
    shutil.chown(run, owner, group)
    os.chmod(run, 0o2750)  # sockets made here belong to the web server's group; nobody else gets in


def _chain(first: bytes, rest: object) -> object:
    yield first
    yield from rest  # type: ignore[misc]


def _share(root: str, public: str, owner: str, group: str, shared: Shared) -> None:
    for name in shared["dirs"]:
        _share_directory(f"{root}/shared/{name}", _inside(public, name), owner, group)
    for name in shared["files"]:
        _share_file(f"{root}/shared/{name}", _inside(public, name), owner)
    if changed := files.install(shared["placed"]):
        agent.output(f"shared/: {', '.join(os.path.basename(path) for path in changed)} written")
    for file in shared["placed"]:
        _link(_inside(public, os.path.relpath(file["path"], f"{root}/shared")), file["path"])


def _share_directory(kept: str, path: str, owner: str, group: str) -> None:
    if not os.path.isdir(kept):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.copytree(path, kept, symlinks=True)  # what the project ships there is its first content
        os.makedirs(kept, exist_ok=True)
        for top, _, files in os.walk(kept):
            shutil.chown(top, owner, group)
            os.chmod(top, 0o2750)
            for file in files:
                os.chown(os.path.join(top, file), *_ids(owner, group), follow_symlinks=False)
    _link(path, kept)


def _share_file(kept: str, path: str, owner: str) -> None:
    if not os.path.lexists(kept):
        if not os.path.isfile(path) or os.path.islink(path):
            raise Failed(
                f"shared.files: {path.split('/public/', 1)[1]} is neither on the host nor a file of this release",
                "Put it into the project, or give the local file to take it from: files: {NAME: LOCAL-PATH}",
            )
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        with open(path, "rb") as file:
            releases.write_atomically(kept, file.read(), 0o640, (0, _ids(owner, owner)[1]))
    _link(path, kept)


def _ids(user: str, group: str) -> tuple[int, int]:
    import grp
    import pwd

    return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid


def _inside(public: str, name: str) -> str:
    """A path below public, whose directories are real ones: a link in the project must not lead out."""
    path = public
    for part in name.split("/")[:-1]:
        path = f"{path}/{part}"
        if not os.path.lexists(path):
            os.mkdir(path)
        elif not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Failed(
                f"shared: {name} cannot be linked: {path.split('/public/', 1)[1]} is no directory in this release"
            )
    return f"{public}/{name}"


def _link(path: str, target: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    releases.replace_link(path, os.path.relpath(target, os.path.dirname(path)))
