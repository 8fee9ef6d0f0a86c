"""Putting a revision's files into a release, from git objects kept on the host."""

from __future__ import annotations

import os
import stat
from typing import TypedDict

from . import agent, files, kinds, probe, process, releases, selinux, tree
from .application import Application
from .failure import Failed
from .unix import grp, pwd

# The tree is checked out byte for byte: no attribute of the project's may convert or filter it.
KEPT = 10  # commits whose objects stay on the host, to send only differences to
PLAIN = "* -text -eol -ident -filter -working-tree-encoding -export-ignore -export-subst\n"


class Shared(TypedDict):
    """What outlives releases.

    ``dirs`` are directories that the application writes in, ``served`` those of them that nginx reads;
    ``files`` come with the release, ``placed`` from the deployer.
    """

    dirs: list[str]
    served: list[str]
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


def forget_old(root: str) -> None:
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
    begin(root, release, owner, group)
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
    begin(root, release, owner, group)
    _share(root, f"{releases.directory(root, release['id'])}/public", owner, group, shared)
    releases.update(root, release["id"], pushed=True)


def begin(root: str, release: releases.Release, owner: str, group: str) -> None:
    """Make a release's directories, and the one for its sockets the application's own."""
    releases.begin(root, release)
    _give(f"{releases.directory(root, release['id'])}/run", owner, group)


def give_run(application: Application, release: str) -> None:
    """Give the directory of a release's sockets to root where the manager opens them, else to the application's user.

    Root makes and chowns such a socket by its path: in a directory that was never anybody else's.
    """
    run = f"{releases.directory(application.root, release)}/run"
    units = releases.read(application.root, release).get("units", [])
    owner = "root" if any(unit["activated"] for unit in units) else application.user
    if os.lstat(run).st_uid != pwd.getpwnam(owner).pw_uid:
        releases.discard(run)
        os.mkdir(run)
        _give(run, owner, probe.web_group())


def _give(run: str, owner: str, group: str) -> None:
    selinux.restore(run)
    os.chown(run, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
    os.chmod(run, 0o2750)  # sockets made here belong to the web server's group; nobody else gets in


def _chain(first: bytes, rest: object) -> object:
    yield first
    yield from rest  # type: ignore[misc]


def _share(root: str, public: str, owner: str, group: str, shared: Shared) -> None:
    place = f"{root}/shared"
    for name in shared["dirs"]:
        link = _inside(public, name)
        _share_directory(place, name, link, owner, group if name in shared["served"] else None)
        _link(link, f"{place}/{name}")
    for name in shared["files"]:
        _share_file(place, name, _inside(public, name), owner)
    for file in shared["placed"]:
        _make_folders(place, os.path.relpath(file["path"], place))
    if changed := files.install(shared["placed"]):
        agent.output(f"shared/: {', '.join(os.path.basename(path) for path in changed)} written")
    for file in shared["placed"]:
        _link(_inside(public, os.path.relpath(file["path"], place)), file["path"])


def _share_directory(place: str, name: str, shipped: str, owner: str, group: str | None) -> None:
    """Have a directory of the application's, with what the project ships there as its first content.

    :param group: the web server's, where it serves what is in there; the application's own otherwise.
    """
    if os.path.lexists(shipped) and not os.path.islink(shipped) and not os.path.isdir(shipped):
        raise Failed(
            kinds.SHARED,
            f"shared.dirs: {name} is a file in this revision, so it cannot be a shared directory",
            "Take it out of the repository, or out of shared.dirs.",
        )
    is_new = not os.path.lexists(f"{place}/{name}")
    theirs = _make_folders(place, name, but_last=True)
    if theirs is None:
        _own_directory(place, name, owner, group)
    elif is_new:  # below a directory of the application's, where root makes nothing: by its user's own rights
        what = f"shared/{name} could not be made"
        process.check(["mkdir", "--parents", "--", f"{place}/{name}"], what, user=owner)
    if is_new and os.path.isdir(shipped) and not os.path.islink(shipped):
        copy = ["cp", "--recursive", "--no-dereference", "--no-target-directory", "--", shipped, f"{place}/{name}"]
        process.check(copy, f"shared/{name} could not be filled", user=owner)


def _own_directory(place: str, name: str, owner: str, group: str | None) -> None:
    """Make a directory whose parents are root's, and give it to the application; or see that it is so."""
    folder, last = os.path.split(f"{place}/{name}")
    uid = pwd.getpwnam(owner).pw_uid
    wanted = (uid, grp.getgrnam(group).gr_gid if group else pwd.getpwnam(owner).pw_gid, 0o2750)
    parent = os.open(folder, tree.DIRECTORY)
    try:
        if not os.path.lexists(f"{folder}/{last}"):
            os.mkdir(last, 0o700, dir_fd=parent)
        with tree.opened(parent, last) as handle:
            info = os.fstat(handle)
            if info.st_uid == 0 and os.listdir(handle):  # as remove has left it: all in it was the application's
                tree.give(f"{folder}/{last}", *wanted[:2])
            if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) != wanted:
                os.fchown(handle, *wanted[:2])
                os.fchmod(handle, wanted[2])
    except NotADirectoryError:
        raise Failed(
            kinds.IN_THE_WAY, f"{folder}/{last} is no directory", "Move it away by hand, and deploy again."
        ) from None
    finally:
        os.close(parent)


def _make_folders(place: str, name: str, but_last: bool = False) -> str | None:
    """Make the directories on the way to something below shared/, as root, as long as those before are root's.

    :param but_last: stop in silence at one of the application's, instead of refusing to write below it.
    :returns: the first directory that is the application's; None where all are root's.
    :raises Failed: one is no directory, or is not root's.
    """
    path = place
    for part in name.split("/")[:-1]:
        path = f"{path}/{part}"
        if not os.path.lexists(path):
            os.mkdir(path)
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode):
            raise Failed(kinds.SHARED, f"{path} is no directory, so {name} cannot be shared", "Move it away by hand.")
        if info.st_uid != 0:
            if but_last:
                return path
            raise Failed(
                kinds.SHARED,
                f"shared.files: {name} would lie in {path}, where the application can swap it for anything",
                "Choose a place for it outside shared.dirs.",
            )
    return None


def _share_file(place: str, name: str, path: str, owner: str) -> None:
    kept = f"{place}/{name}"
    _make_folders(place, name)
    if not os.path.lexists(kept):
        if not os.path.isfile(path) or os.path.islink(path):
            raise Failed(
                kinds.SHARED,
                f"shared.files: {path.split('/public/', 1)[1]} is neither on the host nor a file of this release",
                "Put it into the project, or give the local file to take it from: files: {NAME: LOCAL-PATH}",
            )
        with open(path, "rb") as file:
            releases.write_atomically(kept, file.read(), 0o640, (0, pwd.getpwnam(owner).pw_gid))
    _link(path, kept)


def _inside(public: str, name: str) -> str:
    """A path below public, whose directories are real ones: a link in the project must not lead out."""
    path = public
    for part in name.split("/")[:-1]:
        path = f"{path}/{part}"
        if not os.path.lexists(path):
            os.mkdir(path)
        elif not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Failed(
                kinds.SHARED,
                f"shared: {name} cannot be linked: {path.split('/public/', 1)[1]} is no directory in this release"
            )
    return f"{public}/{name}"


def _link(path: str, target: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        releases.discard(path)
    releases.replace_link(path, os.path.relpath(target, os.path.dirname(path)))
