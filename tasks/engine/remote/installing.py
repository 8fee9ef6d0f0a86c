"""Filling one environment with uv or pip, as the account for builds: package builds run code of strangers."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

from . import agent, builder, indexes, kinds, process
from .failure import Failed

SECONDS = 1800.0  # that one command of an installer gets
PINNED = re.compile(r"[A-Za-z0-9._-]+==\S+")
HASHED = re.compile(r"(?:^|\s)--(?:hash[=\s]|require-hashes)", re.M)
LOCKS = ("uv.lock", "pylock.toml")


class Spec(TypedDict):
    """What goes into an environment; ``wheels`` names directories of wheels on the host by their digest."""

    python: str | None
    requirements: str
    installer: str
    wheelhouse: str | None
    package: str | None
    wheel: str | None
    packages: list[str]


class Place(NamedTuple):
    """Where an environment is made, and of what.

    ``public`` is the release's source, ``source`` the file of requirements in it, ``files`` that and those it
    includes, ``path`` the environment's directory, ``python`` the interpreter.
    """

    root: str
    user: str
    public: str
    source: str | None
    files: list[str]
    path: str
    python: str


class Installation:
    """The filling of one environment."""

    def __init__(self, place: Place, spec: Spec) -> None:
        self.place, self.spec = place, spec
        self.interpreter = f"{place.path}/bin/python"

    def with_uv(self, uv: str) -> None:
        """Fill it with uv."""
        place, source = self.place, self.place.source
        self._run([uv, "venv", "--quiet", "--no-project", "--python", place.python, "--allow-existing", place.path])
        install = [uv, "pip", "install", "--python", self.interpreter, *self._wheels()]
        if source and os.path.basename(source) in LOCKS:
            self._run(self._uv_lock(uv, source))
            if more := self._more():
                frozen = self._output([uv, "pip", "freeze", "--python", self.interpreter])
                pins = [line for line in frozen if PINNED.fullmatch(line)]
                self._run([*install, *more, *pins], self._agreement())
        else:
            self._requirements(install, ["-r", source] if source else [])

    def with_pip(self) -> None:
        """Fill it with pip."""
        source = self.place.source
        # -I: the current directory is the source, and a shared directory in it may have the name of a module.
        self._run([self.place.python, "-I", "-m", "venv", self.place.path], "Run: fab setup")
        pip = [self.interpreter, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        wanted = ["-r", source] if source else []
        if source and source.endswith(".toml"):
            wanted = self._dependencies()
        self._requirements([*pip, "--quiet", "--no-compile", *self._wheels()], wanted)

    def _requirements(self, install: Sequence[str], wanted: Sequence[str]) -> None:
        """Install what the project wants, and what is wanted beside it, in one: they have to agree.

        Where the project pins by hashes nothing without a hash is installed, so all has to be among its own.
        """
        more = self._more()
        if not self._is_hashed():
            if wanted or more:
                self._run([*install, *wanted, *more], self._agreement())
            return
        self._run([*install, "--require-hashes", *wanted])
        if more and self._try([*install, "--no-index", *more]).status != 0:
            source = self.place.source
            raise Failed(
                kinds.REQUIREMENTS,
                f"{source} pins by hashes, and what is needed beside it is not all in it: {', '.join(more)}",
                f"Add it to {source} with its hashes (uv pip compile --generate-hashes, or pip-compile"
                " --generate-hashes): nothing without one is installed.",
            )

    def _uv_lock(self, uv: str, source: str) -> list[str]:
        if os.path.basename(source) == "pylock.toml":
            path = f"{self.place.public}/{source}"
            return [uv, "pip", "sync", "--python", self.interpreter, *self._wheels(), path]
        project = os.path.dirname(f"{self.place.public}/{source}")
        options = ["--frozen", "--no-dev", "--no-install-project", "--no-editable", "--project", project]
        return [uv, "sync", *options, *self._wheels()]

    def _is_hashed(self) -> bool:
        return any(_is_requirements(path) and HASHED.search(_text(path)) for path in self.place.files)

    def _more(self) -> list[str]:
        """What is installed whether or not the project names it; the server is among it."""
        return [*filter(None, [self._package()]), *self.spec["packages"]]

    def _agreement(self) -> str:
        if not (self.place.source and self.spec["packages"]):
            return ""
        beside = ", ".join(self.spec["packages"])
        return (
            f"Look at the lines above. {self.place.source} has to agree with what the server and python.packages"
            f" ask for: {beside}. What is live was not touched."
        )

    def _package(self) -> str | None:
        if not self.spec["wheel"]:
            return self.spec["package"]
        return next(iter(glob.glob(f"{glob.escape(self.place.root)}/wheels/{self.spec['wheel']}/*.whl")))

    def _wheels(self) -> list[str]:
        house = self.spec["wheelhouse"]
        return ["--no-index", "--find-links", f"{self.place.root}/wheels/{house}"] if house else []

    def _dependencies(self) -> list[str]:
        code = (
            "import json, sys, tomllib; project = tomllib.load(open(sys.argv[1], 'rb'))['project']\n"
            "print(json.dumps(project.get('dependencies', [])))"
        )
        done = self._try([self.place.python, "-I", "-c", code, f"{self.place.public}/{self.place.source}"])
        if done.status != 0:
            raise Failed(
                kinds.REQUIREMENTS,
                f"pip cannot read the dependencies in {self.place.source} here{process.quote(done.lines[-3:])}",
                "Run fab setup, which installs uv; or use a requirements.txt.",
            )
        return list(json.loads(done.lines[-1]))

    def _run(self, argv: Sequence[str], hint: str = "") -> None:
        done = self._try(argv, shown=True)
        if done.status != 0:
            how = process.ending(done, argv[0], SECONDS)
            raise Failed(
                kinds.ENVIRONMENT,
                f"the environment could not be made: {how}{process.quote(done.lines)}",
                hint or "Look at the lines above; what is live was not touched.",
            )

    def _output(self, argv: Sequence[str]) -> list[str]:
        done = self._try(argv, keep=None)
        if done.status != 0:
            raise Failed(
                kinds.ENVIRONMENT,
                f"the environment could not be looked at{process.quote(done.lines[-process.TAIL_LINES :])}",
            )
        return done.lines

    def _try(
        self, argv: Sequence[str], shown: bool = False, keep: int | None = process.TAIL_LINES
    ) -> process.Completed:
        path = self.place.path
        env = {
            "UV_PROJECT_ENVIRONMENT": path,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_LINK_MODE": "copy",  # a file that the cache shares would have to be copied when it is sealed
            "VIRTUAL_ENV": path,
            **indexes.variables(),
        }
        on_line = agent.output if shown else None
        place = self.place
        return builder.run(
            place.root, place.user, argv, cwd=place.public, env=env, timeout=SECONDS, on_line=on_line, keep=keep
        )


def _is_requirements(path: str) -> bool:
    return path.endswith((".txt", ".in"))


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
