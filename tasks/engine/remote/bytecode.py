"""The byte code of an environment: each process would compile for itself what it imports, at each of its starts.

It is made when nobody waits for it any more, once a release with a new environment is live. The account for builds
compiles the sealed environment into a directory beside it; that is sealed like the environment, and what is in it is
moved to where Python looks for it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from . import builder, kinds, process, releases, tree
from .application import Application
from .failure import Failed
from .unix import pwd

MARK = ".compiled"  # written last
ROOM = 1 << 20  # bytes that are left on a disk that was not full meanwhile
SECONDS = 240.0  # less than the next deploy waits for this one to finish


def add(application: Application, release: str) -> None:
    """Compile the environment of a release, where that was not done yet.

    :raises Failed: it could not be; the next change of release tries it again.
    """
    name = str(releases.read(application.root, release).get("environment", ""))
    path = f"{application.root}/envs/{name}"
    if name and os.path.isdir(path) and not os.path.exists(f"{path}/{MARK}"):
        _compile(application, path)
        releases.write_atomically(f"{path}/{MARK}", b"")


def _compile(application: Application, path: str) -> None:
    root, user = application.root, application.user
    account = pwd.getpwnam(builder.check(root, user))
    made = f"{path}.byte-code"
    builder.end(user)
    releases.discard(made)
    os.mkdir(made, 0o700)
    try:
        os.chown(made, account.pw_uid, account.pw_gid)
        # Not the environment's own interpreter: that would run what packages tell it to run at each start.
        python = os.path.realpath(f"{path}/bin/python")
        argv = ["nice", python, "-S", "-m", "compileall", "-q", "-j", "0", f"{path}/lib"]
        done = builder.run(root, user, argv, cwd="/", env={"PYTHONPYCACHEPREFIX": made}, timeout=SECONDS)
        builder.end(user)
        if done.status not in (0, 1):  # 1: a package ships files that no Python 3 can compile
            raise Failed(kinds.ENVIRONMENT, f"{path} was not compiled: {process.ending(done, 'compileall', SECONDS)}")
        if (left := shutil.disk_usage(made).free) < ROOM:  # Python leaves a file cut off there, and says nothing
            raise Failed(kinds.DISK_FULL, f"{path} was not compiled: its disk has {left} bytes left")
        os.chown(made, 0, 0)
        tree.seal(made)
        for file, inside in _files(f"{made}{path}"):
            _move(file, f"{path}/{inside}")
    finally:
        builder.end(user)
        releases.discard(made)


def _files(top: str) -> Iterator[tuple[str, str]]:
    """The files below a directory that is root's alone, each with its path in there."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith(".pyc") and not os.path.islink(path):
                yield path, os.path.relpath(path, top)


def _move(file: str, beside: str) -> None:
    """Move a file to where Python looks for it, which is below the directory of its source.

    :param beside: where it would lie beside its source.
    """
    folder, name = os.path.split(beside)
    cache = f"{folder}/__pycache__"
    with contextlib.suppress(FileExistsError):
        os.mkdir(cache, 0o755)
    if not os.path.islink(cache):
        os.rename(file, f"{cache}/{name}")
