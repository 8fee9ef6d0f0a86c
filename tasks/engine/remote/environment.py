"""Virtualenvs, named by the hash of what goes into them and reused while that does not change."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import threading
from typing import Any, TypedDict

from . import agent, process, releases
from .failure import Failed

UV_PLACES = ("/usr/local/bin/uv", "/usr/bin/uv", "/opt/fabrelease/uv/bin/uv")
DETECTED = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")
MARK = ".fabrelease.json"  # written last: an environment without it is unfinished and made anew
COMPILED = ".compiled"  # written once all of it is compiled
INCLUDE = re.compile(r"(?:-r|--requirement|-c|--constraint)[ =]?\s*(\S+)")
LOCAL = re.compile(r"(?:(?:-e|--editable)\b|\.{0,2}/|\.$|\.\[|file:)")


class Spec(TypedDict):
    """What goes into an environment; ``wheels`` names directories of wheels on the host by their digest."""

    python: str | None
    requirements: str
    installer: str
    wheelhouse: str | None
    package: str | None
    wheel: str | None
    packages: list[str]


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
        done = process.run(
            [uv, "python", "find", "--no-project", version],
            env={"UV_PYTHON_INSTALL_DIR": "/opt/fabrelease/python"},
        )
        if done.status == 0 and os.access(done.lines[-1], os.X_OK):
            return done.lines[-1]
    there = sorted(
        {os.path.basename(path) for path in glob.glob("/usr*/bin/python3.*") + glob.glob("/usr/local/bin/python3.*")}
    )
    raise Failed(
        f"there is no Python {version or 3} on the host (there is: {', '.join(there) or 'none'})",
        "Change python.version in the settings, install it, or run: fab setup",
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


def ensure(root: str, user: str, name: str, spec: Spec) -> dict[str, Any]:
    """Link a release's ``env`` to an environment that holds what *spec* and the release's files ask for.

    Its compilation to byte code goes on when this returns: see compiled().

    :returns: ``name``, ``reused``, ``packages`` (a number), ``installer``, ``source`` (the file that was read).
    :raises Failed: nothing to build with, or the requirements cannot be installed.
    """
    release = releases.directory(root, name)
    made = _ensure(root, user, spec, f"{release}/public", name)
    path = f"{root}/envs/{made['name']}"
    if not os.path.exists(f"{path}/{COMPILED}"):
        _start_compiling(path, find_python(spec["python"]))
    link, target = f"{release}/env", f"../../envs/{made['name']}"
    if not os.path.islink(link) or os.readlink(link) != target:
        releases.replace_link(link, target)
    wheels = [digest for digest in (spec["wheelhouse"], spec["wheel"]) if digest]
    releases.update(root, name, environment=made["name"], wheels=wheels)
    return made


_compiling: threading.Thread | None = None


def _start_compiling(path: str, python: str) -> None:
    """Compile an environment beside what follows.

    The interpreter is not the environment's own: that would run code of packages, as root.
    """
    global _compiling

    def work() -> None:
        with contextlib.suppress(OSError):  # no room: the next deploy goes on with it
            done = process.run(["nice", python, "-I", "-S", "-m", "compileall", "-q", "-j", "0", f"{path}/lib"])
            if done.status in (0, 1):  # 1: a package ships files that no Python 3 can compile
                releases.write_atomically(f"{path}/{COMPILED}", b"")

    _compiling = threading.Thread(target=work, daemon=True)
    _compiling.start()


def compiled() -> None:
    """Wait until the environment is compiled: without that each process would compile what it imports."""
    if _compiling is not None:
        _compiling.join()


def give_up(root: str, name: str, reason: str, keep: int) -> None:
    """Leave an unfinished release alone; see releases.give_up."""
    process.kill_all()
    compiled()
    releases.give_up(root, name, reason, keep)


def _ensure(root: str, user: str, spec: Spec, public: str, name: str) -> dict[str, Any]:
    python = find_python(spec["python"])
    source = _source(public, spec)
    installer = _installer(spec, source)
    digest = _digest(public, spec, source, installer, python, name)
    path = f"{root}/envs/{digest}"
    with contextlib.suppress(OSError, ValueError), open(f"{path}/{MARK}", encoding="utf-8") as file:
        return {**json.load(file), "reused": True}
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    shutil.chown(path, user, user)
    build = _Build(root, user, spec, public, path, python, source)
    try:
        build.with_uv(find_uv() or "uv") if installer == "uv" else build.with_pip()
        _seal(path)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    count = len(glob.glob(f"{glob.escape(path)}/lib/python*/site-packages/*.dist-info"))
    made = {
        "name": digest,
        "packages": count,
        "installer": installer,
        "source": source,
        "made": releases.now(),
    }
    releases.flush_all(path)
    releases.write_atomically(f"{path}/{MARK}", json.dumps(made).encode())
    return {**made, "reused": False}


def _source(public: str, spec: Spec) -> str | None:
    wanted = spec["requirements"]
    if wanted == "auto":
        return next((name for name in DETECTED if os.path.isfile(f"{public}/{name}")), None)
    if not os.path.isfile(f"{public}/{wanted}"):
        raise Failed(
            f"python.requirements names {wanted}, which is not in this revision",
            "Add the file to the project and commit it, or correct the setting.",
        )
    return wanted


def _installer(spec: Spec, source: str | None) -> str:
    needs_uv = source is not None and os.path.basename(source) in ("uv.lock", "pylock.toml")
    wanted = spec["installer"]
    if wanted == "pip" and needs_uv:
        raise Failed(f"pip cannot install from {source}", "Set python.installer to auto or uv.")
    if find_uv() and wanted != "pip":
        return "uv"
    if wanted == "uv" or needs_uv:
        raise Failed(f"{source or 'the environment'} needs uv, which is not on the host", "Run: fab setup")
    return "pip"


def _digest(public: str, spec: Spec, source: str | None, installer: str, python: str, name: str) -> str:
    """The hash of everything that decides what the environment holds."""
    binary = os.stat(python)  # another version of the interpreter is another file
    parts: list[object] = [sorted(spec.items(), key=str), source, installer, os.uname().machine]
    parts.append([python, binary.st_size, binary.st_mtime_ns])
    for path in _files(public, source):
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


def _files(public: str, source: str | None) -> list[str]:
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


class _Build:
    """Filling one environment, as the application's user: package builds run code of strangers."""

    def __init__(
        self, root: str, user: str, spec: Spec, public: str, path: str, python: str, source: str | None
    ) -> None:
        self.root, self.user, self.spec, self.public = root, user, spec, public
        self.path, self.python, self.source = path, python, source

    def with_uv(self, uv: str) -> None:
        """Fill it with uv."""
        self._run([uv, "venv", "--quiet", "--no-project", "--python", self.python, "--allow-existing", self.path])
        if self.source and os.path.basename(self.source) == "uv.lock":
            project = os.path.dirname(f"{self.public}/{self.source}")
            sync = [
                uv,
                "sync",
                "--frozen",
                "--no-dev",
                "--no-install-project",
                "--no-editable",
                "--project",
                project,
            ]
            self._run([*sync, *self._wheels()])
        elif self.source and os.path.basename(self.source) == "pylock.toml":
            self._run(
                [
                    uv,
                    "pip",
                    "sync",
                    "--python",
                    self._interpreter,
                    *self._wheels(),
                    f"{self.public}/{self.source}",
                ]
            )
        elif self.source:
            self._run([uv, "pip", "install", "--python", self._interpreter, *self._wheels(), "-r", self.source])
        if wanted := self._more():
            self._run([uv, "pip", "install", "--python", self._interpreter, *self._wheels(), *wanted])

    def with_pip(self) -> None:
        """Fill it with pip."""
        self._run([self.python, "-m", "venv", self.path], "Run: fab setup")
        pip = [
            self._interpreter,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--no-input",
            "install",
            "--quiet",
            "--no-compile",
        ]
        if self.source and self.source.endswith(".toml"):
            if dependencies := self._dependencies():
                self._run([*pip, *self._wheels(), *dependencies])
        elif self.source:
            self._run([*pip, *self._wheels(), "-r", self.source])
        if wanted := self._more():
            self._run([*pip, *self._wheels(), *wanted])

    @property
    def _interpreter(self) -> str:
        return f"{self.path}/bin/python"

    def _more(self) -> list[str]:
        """What is installed whether or not the project names it; the server is among it."""
        return [*filter(None, [self._package()]), *self.spec["packages"]]

    def _package(self) -> str | None:
        if not self.spec["wheel"]:
            return self.spec["package"]
        return next(iter(glob.glob(f"{glob.escape(self.root)}/wheels/{self.spec['wheel']}/*.whl")))

    def _wheels(self) -> list[str]:
        house = self.spec["wheelhouse"]
        return ["--no-index", "--find-links", f"{self.root}/wheels/{house}"] if house else []

    def _dependencies(self) -> list[str]:
        code = (
            "import json, sys, tomllib; project = tomllib.load(open(sys.argv[1], 'rb'))['project']\n"
            "print(json.dumps(project.get('dependencies', [])))"
        )
        done = process.run([self.python, "-c", code, f"{self.public}/{self.source}"], user=self.user)
        if done.status != 0:
            raise Failed(
                f"pip cannot read the dependencies in {self.source} here{process.quote(done.lines[-3:])}",
                "Run fab setup, which installs uv; or use a requirements.txt.",
            )
        return list(json.loads(done.lines[-1]))

    def _run(self, argv: list[str], hint: str = "") -> None:
        env = {
            "UV_PROJECT_ENVIRONMENT": self.path,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "VIRTUAL_ENV": self.path,
        }
        process.check(
            argv,
            "the environment could not be made",
            hint or "Look at the lines above; what is live was not touched.",
            user=self.user,
            cwd=self.public,
            env=env,
            timeout=1800,
            on_line=agent.output,
        )


def _seal(path: str) -> None:
    """Give a finished tree to root: the application cannot write its own code."""
    process.check(["chown", "-hR", "root:root", path], "the environment could not be sealed")
