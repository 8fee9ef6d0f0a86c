"""The revision that is deployed, and the git objects that a host lacks of it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import profiling, usercache
from .errors import Error, UsageError
from .remote import kinds

PIECE = 1 << 18
SAID_BYTES = 4000  # of git's own words
# The commit that carries a tree to a host is made the same for the same tree, whoever makes it and when.
CARRIER = {
    "GIT_AUTHOR_NAME": "fabrelease",
    "GIT_AUTHOR_EMAIL": "fabrelease@localhost",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_NAME": "fabrelease",
    "GIT_COMMITTER_EMAIL": "fabrelease@localhost",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
}


@dataclass(frozen=True)
class Revision:
    """A commit of a local repository.

    ``tree`` is what is deployed: of the whole repository, or of the directory in it that ``source.path`` names.
    """

    repository: Path
    ref: str
    commit: str
    tree: str
    subject: str
    uncommitted: int

    @property
    def short(self) -> str:
        """The beginning of the commit's name, as ids and messages show it."""
        return self.commit[:7]


def resolve(path: Path, ref: str) -> Revision:
    """Find a revision in a local repository.

    :param path: the repository's work tree, or a directory in it that holds the application.
    :raises UsageError: no repository, no such revision, or a tree that cannot be sent.
    """
    prefix = _ask(path, f"{path} is no git repository", "rev-parse", "--show-prefix").strip("\n")
    is_bare, form = _ask(path, "", "rev-parse", "--is-bare-repository", "--show-object-format").split()
    if form == "sha256":
        raise UsageError(
            kinds.REPOSITORY,
            f"{path} is a repository of SHA-256 objects, and the store on the hosts takes SHA-1 objects only\n"
            "  Deploy from a repository that was made with: git init --object-format=sha1"
        )
    missing = f"there is no revision {ref} in {path}"
    commit = _ask(path, missing, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    inside = prefix.rstrip("/")
    tree = _ask(
        path, f"{inside} is not in revision {ref}", "rev-parse", "--verify", "--quiet", f"{commit}:{inside}"
    ).strip()
    _refuse_submodules(path, tree)
    subject = _ask(path, missing, "show", "--no-patch", "--format=%s", commit).strip()
    subject = subject.encode(errors="surrogateescape").decode(errors="replace")
    uncommitted = 0
    if ref == "HEAD" and is_bare == "false":
        uncommitted = len(_ask(path, "git status failed", "status", "--porcelain", "-z", "--", ".").split("\0")) - 1
    return Revision(path, ref, commit, tree, subject, uncommitted)


def is_in_work_tree(path: Path) -> bool:
    """Whether a directory is in a repository's work tree.

    :raises UsageError: git does not open the repository.
    """
    if not any((directory / ".git").exists() for directory in (path, *path.parents)):
        return False
    return _ask(path, f"{path} is no git repository", "rev-parse", "--is-inside-work-tree").strip() == "true"


def has_commits(path: Path) -> bool:
    """Whether a repository has a commit that could be deployed."""
    return _succeeds(path, "rev-parse", "--verify", "--quiet", "HEAD")


def is_tracked(path: Path, name: str) -> bool:
    """Whether a file is in the repository, or about to be."""
    return _succeeds(path, "ls-files", "--error-unmatch", "--", name)


def is_ignored(path: Path, name: str) -> bool:
    """Whether git passes over a file, there or not."""
    return _succeeds(path, "check-ignore", "--quiet", "--", name)


def _succeeds(path: Path, *arguments: str) -> bool:
    with contextlib.suppress(UsageError):
        _ask(path, "", *arguments)
        return True
    return False


@functools.cache
def first_commits(path: Path) -> list[str]:
    """The commits that a repository began with; none where its history is cut off."""
    with contextlib.suppress(UsageError, OSError):  # no mirror of it yet
        if _ask(path, "", "rev-parse", "--is-shallow-repository").strip() == "false":
            return _ask(path, "", "rev-list", "--max-parents=0", "HEAD").split()
    return []


def fetch(url: str, ref: str) -> Revision:
    """Find a revision in a repository elsewhere, by a mirror of it in the user's cache.

    :raises UsageError: it cannot be fetched, or has no such revision.
    """
    path = mirror(url)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _ask(path.parent, f"{url} cannot be cloned", "clone", "--quiet", "--mirror", "--", url, str(path))
    else:
        _ask(path, f"{url} cannot be fetched", "fetch", "--quiet", "--prune", "origin")
    return resolve(path, ref)


def mirror(url: str) -> Path:
    """Where the mirror of a repository elsewhere is, in the user's cache."""
    return usercache.folder(hashlib.sha256(url.encode()).hexdigest()[:16] + ".git")


def missing_objects(revision: Revision, known: list[str]) -> tuple[str, Iterator[bytes]]:
    """What a host lacks of a revision, as a git pack.

    :param known: trees that are on the host already.
    :returns: the name of the commit to check out there, and the pack's bytes (none where nothing is lacking).
    """
    objects = _ask(revision.repository, "", "rev-parse", "--path-format=absolute", "--git-path", "objects").strip()
    with contextlib.ExitStack() as stack:
        # Carrier commits are made in a directory of their own: the user's repository is only read.
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="fabrelease-"))
        env = {**CARRIER, "GIT_OBJECT_DIRECTORY": place, "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}
        carrier = _carrier(revision.repository, revision.tree, env)
        if revision.tree in known:
            return carrier, iter(())
        have = [_carrier(revision.repository, tree, env) for tree in _local(revision.repository, known)]
        kept = stack.pop_all()
    return carrier, _pack(revision.repository, carrier, have, env, kept)


def read_file(revision: Revision, name: str) -> str | None:
    """A text file at the top of a revision's tree; None where it has none."""
    listed = _ask(revision.repository, "git ls-tree failed", "ls-tree", revision.tree, "--", name)
    if " blob " not in listed:
        return None
    return _ask(revision.repository, f"{name} cannot be read", "cat-file", "blob", f"{revision.tree}:{name}")


@dataclass(frozen=True)
class Between:
    """What lies between two commits: short names and subjects, the newest first.

    :ivar come: in the second, and not in the first.
    :ivar gone: in the first, and not in the second.
    """

    come: list[tuple[str, str]]
    gone: list[tuple[str, str]]


def between(before: str, revision: Revision, most: int = 100) -> Between | None:
    """The commits that a revision adds to another one, and takes away; None where that one is not known here.

    :param before: a commit.
    """
    with contextlib.suppress(UsageError):
        _ask(revision.repository, "", "cat-file", "-e", f"{before}^{{commit}}")
        return Between(
            _log(revision.repository, most, before, revision.commit),
            _log(revision.repository, most, revision.commit, before),
        )
    return None


def _log(path: Path, most: int, since: str, until: str) -> list[tuple[str, str]]:
    log = ["log", f"--max-count={most}", "--abbrev=7", "--format=%h %s", "--end-of-options", f"{since}..{until}"]
    said = _ask(path, "git log failed", *log).encode(errors="surrogateescape").decode(errors="replace")
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in said.splitlines()]


def paths(revision: Revision) -> list[str]:
    """The paths of all files of a revision's tree."""
    listed = _ask(revision.repository, "git ls-tree failed", "ls-tree", "-r", "-z", "--name-only", revision.tree)
    return listed.split("\0")[:-1]


def read_files(revision: Revision, pattern: str) -> dict[str, str]:
    """The text files of a revision's tree whose path matches a regular expression as a whole."""
    listed = _ask(revision.repository, "git ls-tree failed", "ls-tree", "-r", "-z", revision.tree).split("\0")
    entries = [entry.partition("\t")[::2] for entry in listed if entry.startswith("100")]
    return {
        path: _ask(revision.repository, f"{path} cannot be read", "cat-file", "blob", known.split()[2])
        for known, path in entries
        if re.fullmatch(pattern, path)
    }


def _pack(
    path: Path, carrier: str, have: list[str], env: dict[str, str], kept: contextlib.ExitStack
) -> Iterator[bytes]:
    # --shallow makes what is excluded count as a base for deltas, although it is no ancestor.
    argv = [
        "git",
        "pack-objects",
        "--quiet",
        "--stdout",
        "--revs",
        "--thin",
        "--shallow",
        "--delta-base-offset",
    ]
    wanted = "\n".join([carrier, *(f"^{commit}" for commit in have)]) + "\n"
    with (
        kept,
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            argv,
            cwd=path,
            env=_environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):
        assert process.stdin and process.stdout  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # it ended already, and said why
            process.stdin.write(wanted.encode())
            process.stdin.close()
        while piece := process.stdout.read(PIECE):
            yield piece
        if process.wait() != 0:
            said.seek(0)
            why = said.read(SAID_BYTES).decode(errors="replace").strip()
            raise Error(
                kinds.REPOSITORY,
                f"git could not read what is to be sent from {path}: {why}\n"
                "  The repository may be damaged, or a clone of a part of it. Look at it: git fsck"
            )


def _carrier(path: Path, tree: str, env: dict[str, str]) -> str:
    return _ask(path, "git commit-tree failed", "commit-tree", "-m", "fabrelease", tree, env=env).strip()


def _local(path: Path, trees: list[str], limit: int = 2) -> list[str]:
    """Those of the trees that are in the local repository too, the newest few."""
    found = (
        _ask(path, "git cat-file failed", "cat-file", "--batch-check", input="\n".join(trees) + "\n") if trees else ""
    )
    return [line.split()[0] for line in found.splitlines() if " tree " in line][:limit]


def _refuse_submodules(path: Path, tree: str) -> None:
    entries = _ask(path, "git ls-tree failed", "ls-tree", "-r", "-z", tree).split("\0")
    modules = [entry.split("\t", 1)[1] for entry in entries if entry.startswith("160000 ")]
    if modules:
        raise UsageError(
            kinds.REPOSITORY,
            f"the revision holds git submodules, which are not sent: {', '.join(modules)}\n"
            "  Put their files into the repository (git subtree), or make them requirements."
        )


def tag(path: Path, name: str, commit: str) -> None:
    """Name a commit, without a signature or a message; one that the tag names already stays.

    :raises UsageError: the tag cannot be, or it names another commit.
    """
    with contextlib.suppress(UsageError):
        named = _ask(path, "", "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}").strip()
        if named == commit:
            return
    _ask(path, f"the tag {name} cannot be made", "update-ref", f"refs/tags/{name}", commit, "")


def _ask(path: Path, problem: str, *arguments: str, env: dict[str, str] | None = None, input: str = "") -> str:
    try:
        with profiling.span("git", f"git {arguments[0]}"):
            done = subprocess.run(
                ["git", *arguments],
                cwd=path,
                env=_environment(env),
                input=input.encode(),
                capture_output=True,
                check=False,
            )
    except FileNotFoundError as error:
        what = f"{path} does not exist" if not path.exists() else "git is not installed here"
        raise UsageError(
            kinds.NO_REPOSITORY, f"{what}; source.path is where the application's repository is"
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        if "dubious ownership" in said:
            raise UsageError(
                kinds.NOT_YOUR_REPOSITORY,
                f"git does not open the repository in {path}, because it is another user's\n"
                "  Run fab as its owner, or say that you trust it:"
                f" git config --global --add safe.directory {shlex.quote(_place(said) or str(path))}"
            )
        raise UsageError(
            kinds.REVISION,
            f"{problem}" + (f": {said}" if said else "") + "\n  See what there is: git log, git tag, git branch"
        )
    return done.stdout.decode(errors="surrogateescape")


def _place(said: str) -> str:
    """The repository that git names in its own words."""
    found = re.search(r"repository at '([^']+)'", said)
    return found[1] if found else ""


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", **(more or {})}
