"""SELinux, where it is on: nginx may connect to the application, and reach its sockets, files and logs.

What the policy calls things: https://docs.fedoraproject.org/en-US/quick-docs/selinux-getting-started/
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from . import process
from .resources import Common, Resource

BOOLEAN = "httpd_can_network_connect"
TYPES = {
    "": "httpd_sys_content_t",
    "/cache": "httpd_cache_t",
    "/logs": "httpd_log_t",
    "/releases/[^/]+/run": "httpd_var_run_t",
}
TOOLS = "policycoreutils-python-utils"  # semanage is in there
SECONDS = 120.0


def is_on() -> bool:
    """Whether this host has SELinux, and it is on."""
    return _has("selinuxenabled") and process.run(["selinuxenabled"], timeout=SECONDS).status == 0


def packages() -> Sequence[str]:
    """What is needed to tell the policy something."""
    return [TOOLS] if is_on() else []


def resources(root: str) -> list[Resource]:
    """What the policy has to know of an application; nothing where there is none."""
    labels = [Label(f"{re.escape(root)}{below}", type) for below, type in TYPES.items()]
    return [Boolean(BOOLEAN), *labels] if is_on() else []


def restore(path: str) -> None:
    """Give something new the label that the policy has for it."""
    if is_on():
        process.run(["restorecon", path], timeout=SECONDS)


@dataclass(frozen=True)
class Boolean(Common):
    """A switch of the policy's that is on, for ever."""

    name: str
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Whether it is on."""
        done = process.run(["getsebool", self.name], timeout=SECONDS)
        return "" if done.text.endswith("on") else f"SELinux: {self.name} is off"

    def apply(self) -> list[str]:
        """Switch it on."""
        if not self.drift():
            return []
        process.check(["setsebool", "-P", self.name, "on"], f"{self.name} could not be set", timeout=SECONDS)
        return [f"SELinux: {self.name} on"]


@dataclass(frozen=True)
class Label:
    """The type of files below a path.

    :ivar path: a regular expression, as the policy takes it.
    """

    path: str
    type: str
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Whether the policy says so."""
        return "" if self._is_known() else f"SELinux: {self.path} has no label"

    def apply(self) -> list[str]:
        """Tell the policy, and label what is there."""
        if self._is_known():
            return []
        add = ["semanage", "fcontext", "--add", "--type", self.type, self._pattern]
        hint = "Look at it on the host: semanage fcontext --list -C"
        process.check(add, f"{self.path} could not be labelled", hint, timeout=SECONDS)
        process.run(["restorecon", "-R", re.sub(r"\\(.)", r"\1", self.path.split("/releases/")[0])], timeout=SECONDS)
        return [f"SELinux: {self.type} for {self.path}"]

    def removable(self) -> list[str]:
        """What the policy knows."""
        return [f"SELinux: {self.type} for {self.path}"] if self._is_known() else []

    def remove(self) -> None:
        """Have the policy forget it."""
        if self._is_known():
            process.run(["semanage", "fcontext", "--delete", self._pattern], timeout=SECONDS)

    @property
    def _pattern(self) -> str:
        return f"{self.path}(/.*)?"

    def _is_known(self) -> bool:
        listed = process.run(["semanage", "fcontext", "--list", "-C", "-n"], timeout=SECONDS, keep=None).lines
        return any(line.split(None, 1)[:1] == [self._pattern] and f":{self.type}:" in line for line in listed)


def _has(program: str) -> bool:
    return shutil.which(program, path=process.environment(None)["PATH"]) is not None
