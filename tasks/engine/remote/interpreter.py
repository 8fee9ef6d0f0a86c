"""The Python that a virtualenv is made with, where it is not the host's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from . import agent, environment, indexes, kinds, process, system
from .failure import Failed
from .resources import Common, Packages

FETCH_SECONDS = 600.0


@dataclass(frozen=True)
class Interpreter(Common):
    """A version of Python: from the system's packages, or from uv where it can fetch one.

    :ivar version: such as "3.11".
    :ivar mirror: an address or a directory on the host, which uv fetches it from; None for its usual address.
    :ivar patience: seconds to wait while another process installs packages.
    """

    version: str
    mirror: str | None
    patience: float
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Whether it is there."""
        try:
            environment.find_python(self.version)
        except Failed as missing:
            return missing.message
        return ""

    def apply(self) -> list[str]:
        """Install it where it is not there.

        :raises Failed: it is to be had from nowhere.
        """
        missing = self.drift()
        if not missing:
            return []
        packages = system.here().python(self.version)
        if system.here().is_available(packages[0]):
            return Packages(packages, self.patience).apply()
        self._fetch(missing)
        environment.find_python(self.version)
        return [f"Python {self.version}"]

    def _fetch(self, missing: str) -> None:
        hint = (
            "Choose one of these, and run setup again: a python.version that is there; python.mirror, an address or a"
            " directory on the host that holds the files of python-build-standalone, which uv installs; or install"
            f" Python {self.version} by hand, as /usr/local/bin/python{self.version}."
        )
        uv = environment.find_uv()
        if uv is None:
            raise Failed(
                kinds.INTERPRETER, f"{missing}; the system has none, and uv, which could fetch it, is not there", hint
            )
        mirror = self.mirror
        env = {**environment.PYTHONS, **indexes.CERTIFICATES, "UV_PYTHON_INSTALL_BIN": "0"}
        if mirror:
            env["UV_PYTHON_INSTALL_MIRROR"] = f"file://{mirror}" if mirror.startswith("/") else mirror
        agent.output(f"fetching Python {self.version} with uv" + (f" from {mirror}" if mirror else ""))
        done = process.run([uv, "python", "install", "--no-progress", self.version], env=env, timeout=FETCH_SECONDS)
        if done.status != 0:
            place = f"uv could not fetch it from {mirror or 'its usual address'}"
            raise Failed(
                kinds.INTERPRETER,
                f"{missing}; the system has none, and {place}{process.quote(done.lines[-5:])}",
                hint,
            )
