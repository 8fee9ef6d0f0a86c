"""Debian's own site in nginx: as the default server of port 80, it answers every name that nobody has."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from typing import ClassVar

from . import agent, process, releases, system
from .resources import Common

PAGES = "/var/www/html"
OWN_PAGE = "index.nginx-debian.html"
CONFFILE = r"(?m)^ *{} ([0-9a-f]{{32}})\b"


@dataclass(frozen=True)
class Welcome(Common):
    """It goes, as long as nobody has made it theirs; nginx sees that with its next reload.

    :ivar name: what it is called in ``sites-available`` and ``sites-enabled``.
    """

    name: str = "default"
    cheap: ClassVar[bool] = False

    @property
    def link(self) -> str:
        """What nginx reads it by."""
        return f"{system.NGINX}/sites-enabled/{self.name}"

    def drift(self) -> str:
        """Whether it is there, and nobody's."""
        return f"Debian's welcome page answers for unknown names: {self.link}" if self._is_nobody_s() else ""

    def apply(self) -> list[str]:
        """Take away the link that enables it; the file stays."""
        if self._is_nobody_s():
            releases.unlink(self.link)
            return [f"no link {self.link}: Debian's welcome page"]
        if os.path.lexists(self.link):
            agent.output(
                f"{self.link} is not as Debian's nginx brings it, and stays: as the default server, it answers "
                f"for names that no site has. To give those no answer: sudo rm {self.link}; fab deploy --force"
            )
        return []

    def _is_nobody_s(self) -> bool:
        """Whether the link, the file and the pages are those that the package has put there."""
        file = f"{system.NGINX}/sites-available/{self.name}"
        with contextlib.suppress(OSError):
            is_own = os.path.islink(self.link) and os.path.realpath(self.link) == os.path.realpath(file)
            return is_own and os.listdir(PAGES) == [OWN_PAGE] and _md5(file) == _packaged(file)
        return False


def _md5(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


def _packaged(path: str) -> str | None:
    """The digest that dpkg knows a file of configuration by."""
    said = process.run(["dpkg-query", "--show", "--showformat=${Conffiles}\\n", "nginx-common"]).text
    found = re.search(CONFFILE.format(re.escape(path)), said)
    return found[1] if found else None
