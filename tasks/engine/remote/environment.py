"""Virtualenvs, named by the hash of what goes into them and reused while that does not change."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import time
from typing import Any, NamedTuple

from . import agent, builder, kinds, process, releases, times, tree
from .failure import Failed
from .installing import Installation, Place, Spec
from .unix import pwd

UV_PLACES = ("/usr/local/bin/uv", "/usr/bin/uv", "/opt/fabrelease/uv/bin/uv")
PYTHONS = {"UV_PYTHON_INSTALL_DIR": "/opt/fabrelease/python"}
DETECTED = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")
MARK = ".fabrelease.json"  # written last, by root: an environment without it is unfinished and made anew
EDITION = 2  # of how environments are made; another one makes each of them anew
INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)[ =]?\s*(\S+)")
LOCAL = re.compile(r"(?:(?:-e|--editable)\b|\.{0,2}/|\.$|\.\[|file:)")


def find_python(version: str | None) -> str:
    """The interpreter to build with.

    :param version: such as "3.11"; the host's python3 by default.
    :raises Failed: it is not there.
    """
    candidates = [f"python{version}", "python3"] if version else ["python3"]
    for path in filter(None, (shutil.which(name, path=process.environment(None)["PATH"]) for name in candidates)):
        real = os.path.realpath(path)
        if version is None or os.path.basename(real) == f"python{version}":
            return real
        if f"{_version(path)}.".startswith(f"{version}."):
            return real
    uv = find_uv()
    if version and uv:
        done = process.run([uv, "python", "find", "--no-project", version], env=PYTHONS)
        if done.status == 0 and os.access(done.lines[-1], os.X_OK):
            return done.lines[-1]
    there = sorted(
        {os.path.basename(path) for path in glob.glob("/usr*/bin/python3.*") + glob.glob("/usr/local/bin/python3.*")}
    )
    raise Failed(
        kinds.INTERPRETER,
        f"there is no Python {version or 3} on the host (there is: {', '.join(there) or 'none'})",
        "Change python.version in the settings, or have it installed: fab setup",
    )


def find_uv() -> str | None:
    """Where uv is, if it is on the host."""
    return next((path for path in UV_PLACES if os.access(path, os.X_OK)), None)


def _version(python: str) -> str:
    return process.run([python, "-c", "import platform; print(platform.python_version())"]).text


def has_wheels(root: str, digest: str) -> bool:
    """Whether a set of wheels is on the host already."""
    return os.path.isdir(f"{root}/wheels/{digest}")


def receive_wheels(root: str, digest: str) -> None:
    """Unpack a tar archive of wheels, which comes as the call's data, into a directory named by its digest."""
    import tarfile  # here: most deploys bring no wheels

    path, temporary = f"{root}/wheels/{digest}", releases.temporary(f"{root}/wheels/{digest}")
    os.makedirs(temporary)
    archive = f"{temporary}.tar"
    with open(archive, "wb") as file:
        for piece in agent.incoming():
            file.write(piece)
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and "/" not in member.name:
                tar.extract(member, temporary)
    os.unlink(archive)
    os.rename(temporary, path)


def ensure(root: str, user: str, name: str, spec: Spec, fresh: bool) -> dict[str, Any]:
    """Link a release's ``env`` to an environment that holds what *spec* and the release's files ask for.

    :param fresh: make it anew, from empty caches, even where there is one.
    :returns: ``name``, ``reused``, ``packages`` (a number), ``installer``, ``source`` (the file that was read).
    :raises Failed: nothing to build with, or the requirements cannot be installed.
    """
    release = releases.directory(root, name)
    made = _ensure(root, user, spec, f"{release}/public", name, fresh)
    link, target = f"{release}/env", f"../../envs/{made['name']}"
    if not os.path.islink(link) or os.readlink(link) != target:
        releases.replace_link(link, target)
    wheels = [digest for digest in (spec["wheelhouse"], spec["wheel"]) if digest]
    releases.update(root, name, environment=made["name"], wheels=wheels)
    return made


class Foreseen(NamedTuple):
    """What decides an environment: ``name`` is the hash of it, ``known`` the newest that is there."""

    name: str
    known: dict[str, Any] | None
    python: str
    source: str | None
    installer: str
    files: list[str]


def foresee(root: str, spec: Spec, public: str, name: str) -> Foreseen:
    """Which environment a release gets.

    :param public: where its source is.
    :raises Failed: none can be made.
    """
    python = find_python(spec["python"])
    source = _source(public, spec)
    installer = _installer(spec, source)
    files = files_of(public, source)
    digest = _digest(public, spec, source, files, installer, python, name)
    return Foreseen(digest, _newest(f"{root}/envs", digest), python, source, installer, files)


def _ensure(root: str, user: str, spec: Spec, public: str, name: str, fresh: bool) -> dict[str, Any]:
    digest, known, python, source, installer, files = foresee(root, spec, public, name)
    if known and not fresh:
        return {**known, "reused": True}
    builder.check(root, user)
    if fresh:
        builder.empty_home(root, user)
    # The one of this hash that is there may be live: a fresh one stands beside it, and is the newest from now on.
    own = f"{digest}-{time.time_ns():x}" if known else digest
    place = Place(root, user, public, source, files, f"{root}/envs/{own}", python)
    _make(place, spec, installer)
    count = len(glob.glob(f"{glob.escape(place.path)}/lib/python*/site-packages/*.dist-info"))
    made = {"name": own, "packages": count, "installer": installer, "source": source, "made": times.utc()}
    releases.flush_all(place.path)
    releases.write_atomically(f"{place.path}/{MARK}", json.dumps(made).encode())
    return {**made, "reused": False}


def _newest(envs: str, digest: str) -> dict[str, Any] | None:
    """What is known about the newest finished environment of a hash."""
    names = [name for name in os.listdir(envs) if name == digest or name.startswith(f"{digest}-")]
    return next(filter(None, (_marked(f"{envs}/{name}") for name in sorted(names, reverse=True))), None)


def _marked(path: str) -> dict[str, Any] | None:
    """What is known about a finished environment."""
    with contextlib.suppress(OSError, ValueError), open(f"{path}/{MARK}", encoding="utf-8") as file:
        # A build that was cut off may have left a mark of its own.
        if os.stat(path).st_uid == os.fstat(file.fileno()).st_uid == 0:
            return dict(json.load(file))
    return None


def _make(place: Place, spec: Spec, installer: str) -> None:
    """Fill an environment as the account for builds, and give it to root once nothing of the build is left."""
    account = pwd.getpwnam(builder.name(place.user))
    builder.end(place.user)  # what a build before has left, where the session had died
    releases.discard(place.path)
    os.mkdir(place.path, 0o700)
    os.chown(place.path, account.pw_uid, account.pw_gid)
    installation = Installation(place, spec)
    try:
        installation.with_uv(find_uv() or "uv") if installer == "uv" else installation.with_pip()
        builder.end(place.user)
        _seal(place)
    except BaseException:
        builder.end(place.user)
        releases.discard(place.path)
        raise


def _seal(place: Place) -> None:
    """Give a finished environment to root: neither the application nor a later build can change it.

    :raises Failed: a link in it leads elsewhere, where somebody could change what it leads to.
    """
    os.chown(place.path, 0, 0)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{place.path}/{MARK}")  # written by the build; ours says that all of it is sealed
    tree.seal(place.path)
    own = {place.python, os.path.realpath(place.python)}
    out = [path for path, target in tree.links_out(place.path).items() if target not in own]
    if out:
        raise Failed(
            kinds.ENVIRONMENT,
            f"a package has put a link into the environment that leads out of it: {', '.join(out[:5])}",
            "What is there could change under a running release. Find the package that makes it, and do without.",
        )
    os.chmod(place.path, 0o755)


def _source(public: str, spec: Spec) -> str | None:
    wanted = spec["requirements"]
    if wanted == "auto":
        return next((name for name in DETECTED if os.path.isfile(f"{public}/{name}")), None)
    if not os.path.isfile(f"{public}/{wanted}"):
        raise Failed(
            kinds.REQUIREMENTS,
            f"python.requirements names {wanted}, which is not in this revision",
            "Add the file to the project and commit it, or correct the setting.",
        )
    return wanted


def _installer(spec: Spec, source: str | None) -> str:
    needs_uv = source is not None and os.path.basename(source) in ("uv.lock", "pylock.toml")
    wanted = spec["installer"]
    if wanted == "pip" and needs_uv:
        raise Failed(kinds.REQUIREMENTS, f"pip cannot install from {source}", "Set python.installer to auto or uv.")
    if find_uv() and wanted != "pip":
        return "uv"
    if wanted == "uv" or needs_uv:
        raise Failed(
            kinds.NOT_SET_UP, f"{source or 'the environment'} needs uv, which is not on the host", "Run: fab setup"
        )
    return "pip"


def _digest(
    public: str, spec: Spec, source: str | None, files: list[str], installer: str, python: str, name: str
) -> str:
    """The hash of everything that decides what the environment holds."""
    binary = os.stat(python)  # another version of the interpreter is another file
    parts: list[object] = [EDITION, sorted(spec.items(), key=str), source, installer, os.uname().machine]
    parts.append([python, binary.st_size, binary.st_mtime_ns])
    for path in files:
        with open(path, "rb") as file:
            text = file.read()
        parts.append([os.path.relpath(path, public), hashlib.sha256(text).hexdigest()])
        if _is_requirements(path) and any(
            LOCAL.match(line.strip()) for line in text.decode(errors="replace").splitlines()
        ):
            parts.append(name)  # it installs files of the release itself: never shared with another release
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def _is_requirements(path: str) -> bool:
    return path.endswith((".txt", ".in"))


def installed(path: str) -> dict[str, str]:
    """The packages that an environment holds, and their versions."""
    there = glob.glob(f"{glob.escape(path)}/lib/python*/site-packages/*.dist-info")
    names = (os.path.basename(folder).removesuffix(".dist-info").partition("-") for folder in there)
    return {name: version for name, _, version in names}


def source_of(root: str, name: str) -> str | None:
    """The file of requirements that an environment was made from."""
    known = _marked(f"{root}/envs/{name}")
    return known["source"] if known else None


def files_of(public: str, source: str | None) -> list[str]:
    """The requirements file and those it includes."""
    found: list[str] = []
    waiting = [os.path.normpath(f"{public}/{source}")] if source else []
    if source and os.path.basename(source) == "uv.lock":
        waiting.append(f"{os.path.dirname(waiting[0])}/pyproject.toml")
    while waiting:
        path = waiting.pop()
        if (
            path in found
            or not os.path.realpath(path).startswith(f"{os.path.realpath(public)}/")
            or not os.path.isfile(path)
        ):
            continue
        found.append(path)
        if _is_requirements(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                included = INCLUDE.findall(file.read())
            waiting += [os.path.normpath(f"{os.path.dirname(path)}/{other}") for other in included]
    return sorted(found)
