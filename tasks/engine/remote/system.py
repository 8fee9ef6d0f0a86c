"""What families of machines call things and where they keep them: Debian's (apt, dpkg) and Red Hat's (dnf, rpm).

Packages and services are named as Debian names them; a System knows what they are called elsewhere. Which one a host
is, is found out here and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from . import agent, kinds, process
from .failure import Failed
from .unix import fcntl

NGINX = "/etc/nginx"
OS_RELEASE = "/etc/os-release"
RED_HAT = frozenset({"rhel", "fedora", "centos"})
LIST_SECONDS, INSTALL_SECONDS = 600, 1800
APT_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock", "/var/lib/dpkg/lock")
RPM_LOCKS = ("/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock")
DNF_LOCKS = ("/var/cache/dnf/metadata_lock.pid", "/var/cache/dnf/download_lock.pid", "/var/lib/dnf/rpmdb_lock.pid")
PACKAGES_OF_RED_HAT = {
    "default-mysql-client": "mysql",
    "iproute2": "iproute",
    "postgresql-client": "postgresql",
    "python3-venv": "python3",
}
SERVICES_OF_RED_HAT = {"supervisor": "supervisord", "certbot.timer": "certbot-renew.timer"}
EPEL = frozenset({"certbot", "supervisor"})  # what is in there, and not in the distribution's own repositories
Holder = Callable[[], "str | None"]


@dataclass(frozen=True)
class Programs:
    """Where supervisord looks for the programs of everybody: files of this ending in this folder."""

    config: str
    folder: str
    ending: str


class System(Protocol):
    """A family of machines.

    :ivar family: its name, for templates.
    :ivar web_user: whom nginx runs its workers as.
    :ivar authorities: the file of those whose certificates are trusted.
    :ivar supervisor: where supervisord is told of programs.
    """

    family: str
    web_user: str
    authorities: str
    supervisor: Programs

    def package(self, name: str) -> str:
        """What a package of Debian's is called here."""

    def service(self, name: str) -> str:
        """What a service of Debian's is called here."""

    def python(self, version: str) -> list[str]:
        """The packages that a version of Python is made of."""

    def site(self, app: str) -> tuple[str, str | None]:
        """Where a site's file stands, and the link that enables it, where there is one."""

    def missing(self, names: Sequence[str]) -> list[str]:
        """Those of some packages, by this family's names, that are not installed."""

    def is_available(self, name: str) -> bool:
        """Whether a package can be installed."""

    def install(self, names: Sequence[str], patience: float) -> None:
        """Install packages, by this family's names.

        :param patience: seconds to wait while another process holds the locks.
        :raises Failed: they could not be installed, or the locks are still held.
        """


class Debian(System):
    """apt and dpkg."""

    family = "debian"
    web_user = "www-data"
    authorities = "/etc/ssl/certs/ca-certificates.crt"
    supervisor = Programs("/etc/supervisor/supervisord.conf", "/etc/supervisor/conf.d", ".conf")

    def package(self, name: str) -> str:
        """Itself."""
        return name

    def service(self, name: str) -> str:
        """Itself."""
        return name

    def python(self, version: str) -> list[str]:
        """Debian keeps the module venv apart."""
        return [f"python{version}", f"python{version}-venv"]

    def site(self, app: str) -> tuple[str, str | None]:
        """As Debian's own nginx has it, or will have; nginx.org's package for Debian has conf.d alone."""
        if os.path.isdir(f"{NGINX}/conf.d") and not os.path.isdir(f"{NGINX}/sites-available"):
            return f"{NGINX}/conf.d/{app}.conf", None
        return f"{NGINX}/sites-available/{app}.conf", f"{NGINX}/sites-enabled/{app}.conf"

    def missing(self, names: Sequence[str]) -> list[str]:
        """What dpkg does not have as installed."""
        show = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\\n", *names]
        said = process.run(show, keep=None).lines
        return [name for name in names if f"installed {name}" not in said]

    def is_available(self, name: str) -> bool:
        """Whether apt has a candidate."""
        policy = process.run(["apt-cache", "policy", name]).text
        return "Candidate: " in policy and "Candidate: (none)" not in policy

    def install(self, names: Sequence[str], patience: float) -> None:
        """By apt-get, without what is only recommended."""
        _wait("apt", lambda: _holder(APT_LOCKS), patience)
        apt = ["apt-get", "--quiet", "--assume-yes", "-o", f"DPkg::Lock::Timeout={patience:.0f}"]
        env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
        hint = "Try it on the host: sudo apt-get update && sudo apt-get install " + " ".join(names)
        agent.output(f"installing {', '.join(names)}")
        failed = "the lists of packages could not be fetched"
        process.check([*apt, "update"], failed, hint, env=env, timeout=LIST_SECONDS)
        install = [*apt, "install", "--no-install-recommends", *names]
        process.check(install, "packages could not be installed", hint, env=env, timeout=INSTALL_SECONDS)


class RedHat(System):
    """dnf and rpm."""

    family = "redhat"
    web_user = "nginx"
    authorities = "/etc/pki/tls/certs/ca-bundle.crt"
    supervisor = Programs("/etc/supervisord.conf", "/etc/supervisord.d", ".ini")
    def package(self, name: str) -> str:
        """Some have other names; venv is a part of python3."""
        return PACKAGES_OF_RED_HAT.get(name, name)

    def service(self, name: str) -> str:
        """EPEL's supervisor calls its service by the daemon's name."""
        return SERVICES_OF_RED_HAT.get(name, name)

    def python(self, version: str) -> list[str]:
        """One package."""
        return [f"python{version}"]

    def site(self, app: str) -> tuple[str, str | None]:
        """There is nothing to enable."""
        return f"{NGINX}/conf.d/{app}.conf", None

    def missing(self, names: Sequence[str]) -> list[str]:
        """What rpm says of."""
        said = process.run(["rpm", "--query", *names], keep=None).lines
        return [name for name in names if f"package {name} is not installed" in said]

    def is_available(self, name: str) -> bool:
        """Whether a repository that is enabled has it."""
        return process.run(["dnf", "--quiet", "list", "--available", name], timeout=LIST_SECONDS).status == 0

    def install(self, names: Sequence[str], patience: float) -> None:
        """By dnf, without what is only recommended; EPEL is added where something of it is wanted and not there."""
        _wait("dnf", lambda: _holder(RPM_LOCKS) or _noted(DNF_LOCKS), patience)
        if any(name in EPEL and not self.is_available(name) for name in names):
            self._install(["epel-release"])
        self._install(names)

    def _install(self, names: Sequence[str]) -> None:
        agent.output(f"installing {', '.join(names)}")
        install = ["dnf", "--quiet", "--assumeyes", "--setopt=install_weak_deps=False", "install", *names]
        hint = f"Try it on the host: sudo dnf install {' '.join(names)}"
        process.check(install, "packages could not be installed", hint, timeout=INSTALL_SECONDS)


@functools.cache
def here() -> System:
    """The family of this host, by what it says of itself."""
    with contextlib.suppress(OSError), open(OS_RELEASE, encoding="utf-8") as file:
        names = set(re.findall(r"[\w.-]+", " ".join(re.findall(r"(?m)^ID(?:_LIKE)?=(.*)$", file.read()))))
        return RedHat() if names & RED_HAT else Debian()
    return Debian()


def _wait(what: str, holder: Holder, patience: float) -> None:
    end, told = time.monotonic() + patience, False
    while found := holder():
        if time.monotonic() > end:
            raise Failed(
                kinds.PACKAGES_BUSY,
                f"{what} is held by {found} for more than {patience:.0f} seconds",
                "Wait for it (it is often an automatic upgrade) or look at it: ps -fp PID; then run setup again.",
            )
        if not told:
            agent.output(f"{what} is held by {found}: waiting up to {patience:.0f} seconds")
            told = True
        time.sleep(0.5)


def _holder(paths: Sequence[str]) -> str | None:
    """Who holds one of some files' locks (POSIX record locks), such as "unattended-upgr (pid 812)"."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))
            if kind != fcntl.F_UNLCK:
                return _name(pid) or f"pid {pid}"
    return None


def _noted(paths: Sequence[str]) -> str | None:
    """Who has written its pid into one of some files, and still runs."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
            if name := _name(int(file.read(20))):
                return name
    return None


def _name(pid: int) -> str | None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
        return f"{name.read().strip()} (pid {pid})"
    return None
