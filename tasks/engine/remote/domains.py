"""The domains that nginx serves here: a file each, and beside it a directory of the applications' parts of it.

A domain's file, ``demo.example.net_80.conf``, is the same whichever application has had it written. An application's
part of it, ``demo.example.net_80/shop.conf``, includes by pattern what its live release has for that domain; where no
release is live it matches nothing, and nginx still starts. A release has in its ``config`` the domains' files
(``domains/``) and its own locations for each (``sites/``), so it brings its domains along when it is gone back to.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from . import kinds, lock, process, releases, system
from .failure import Failed
from .resources import File

HTTP_PORT, TLS_PORT = 80, 443
ANY = "+"  # what * is in a file's name; alone it is the default server's
QUIC = "*quic"  # the default server of HTTP/3, on the same port by UDP
LOCK = "/run/fabrelease/domains.lock"
LOCK_SECONDS, PAUSE = 10.0, 0.02
ROOT = re.compile(r'(?m)^include "(.*)/current/config/')


def folder() -> str:
    """Where they are."""
    return f"{system.NGINX}/fabrelease"


def name(domain: str, port: int) -> str:
    """What a domain's file and directory are called, without an ending; * alone is the default server."""
    return f"{plain(domain)}_{port}"


def plain(domain: str) -> str:
    """A domain in the name of a file or directory."""
    return domain.lower().replace("*", ANY).strip("[]")


def is_default(found: str) -> bool:
    """Whether a name is that of a port's default server."""
    return found.rpartition("_")[0] in (ANY, plain(QUIC))


def has_quic() -> bool:
    """Whether nginx was told to take HTTP/3 here, whoever has asked for it first."""
    return os.path.exists(f"{folder()}/{name(QUIC, TLS_PORT)}.conf")


def _domain(found: str) -> str:
    return found.rpartition("_")[0].replace(ANY, "*")


def part(app: str, root: str, of: str) -> File:
    """An application's part of a domain."""
    text = (
        f"# {app}, deployed by fabrelease: its locations here are a part of the live release\n"
        f'include "{root}/current/config/sites/{of}.con[f]";\n'
    )
    return File(f"{folder()}/{of}/{app}.conf", text, marked=True, what="site")


def of_release(root: str, release: str, kind: str) -> dict[str, str]:
    """What a release has for domains: their names, and the files' paths.

    :param kind: ``domains`` or ``sites``.
    """
    config = f"{releases.directory(root, release)}/config"
    return {os.path.basename(path)[: -len(".conf")]: path for path in _files(f"{config}/{kind}")}


def files(app: str, root: str, release: str) -> set[str]:
    """The paths of the files by which nginx reads what a release has for domains."""
    return {
        *(f"{folder()}/{of}.conf" for of in of_release(root, release, "domains")),
        *(part(app, root, of).path for of in of_release(root, release, "sites")),
    }


def place(app: str, root: str, release: str, without: set[str]) -> list[str]:
    """Have a release's domains read by nginx from its next reload on; what was changed, in words.

    :param without: names of domains whose file is not to be there.
    :raises Failed: somebody else's file stands in its place.
    """
    own = of_release(root, release, "domains")
    with _alone():
        gone = [of for of in without if releases.unlink(f"{folder()}/{of}.conf")]
        files = [part(app, root, of) for of in of_release(root, release, "sites")]
        files += [_file_of(of, path) for of, path in own.items() if of not in without]
        return [*(f"no domain {of}" for of in gone), *(line for file in files for line in file.apply())]


def announce(app: str, root: str, texts: dict[str, str]) -> list[str]:
    """Have nginx read domains from its next reload on, with nothing of an application in them that is not live.

    :param texts: the domains' names, and what is in their files.
    :returns: what was changed, in words.
    :raises Failed: somebody else's file stands there, or nginx refuses what is there then; it is as before.
    """
    files = [File(f"{folder()}/{of}.conf", text, marked=True, what="domain") for of, text in texts.items()]
    with _alone():
        before = {file.path: _text(file.path) for file in files}
        changed = [line for file in files for line in file.apply()]
        tried = process.run(["nginx", "-t", "-q"], timeout=60) if changed else None
        if tried and tried.status != 0:
            for path, text in before.items():
                File(path, text).apply() if text else releases.unlink(path)
            raise Failed(
                kinds.NGINX_SETTINGS,
                f"nginx refuses the domains; the configuration is as before{process.quote(tried.lines)}",
            )
        return changed + [line for of in texts for line in part(app, root, of).apply()]


def tidy(app: str, root: str) -> None:
    """Take away an application's parts of domains that no release of it has any more, and what then has no part."""
    kept = {of for release in _serviceable(root) for of in of_release(root, release, "sites")}
    with _alone():
        for path in glob.glob(f"{folder()}/**/*{releases.TEMPORARY}", recursive=True):
            releases.unlink(path)  # whoever writes there is alone, too
        for of in parts(app):
            if of not in kept:
                releases.unlink(part(app, root, of).path)
        for of in _named():
            if not _has_parts(of):
                releases.unlink(f"{folder()}/{of}.conf")
        for directory in glob.glob(f"{folder()}/*/"):
            with contextlib.suppress(OSError):  # somebody's part is in there
                os.rmdir(directory)


def check_paths(app: str, root: str, release: str) -> None:
    """See that no other application is asked for what a release answers on the domains that they share.

    :raises Failed: one is, or the release is of the time when a domain was one application's as a whole.
    """
    has_whole = os.path.exists(f"{releases.directory(root, release)}/config/nginx.conf")
    paths = releases.read(root, release).get("paths", {})
    for of in parts(app) if has_whole else paths:
        for other, other_root in _others(app, of).items():
            if has_whole:
                raise Failed(
                    kinds.DOMAIN_TAKEN,
                    f"{release} was made by an earlier version and would have all of {_domain(of)}, which {other} "
                    "has a part of now; nothing was touched",
                    "Deploy its revision anew: fab deploy --ref REVISION",
                )
            if path := _collision(paths[of], _live_paths(other_root, of)):
                raise Failed(
                    kinds.DOMAIN_TAKEN,
                    f"{_domain(of)}{path} is served by the application {other} already; nothing was touched",
                    "Choose another site.path or domain, or take it out of the other application and deploy that.",
                )


def _collision(one: list[str], other: list[str]) -> str | None:
    """A path that both would be asked for.

    :param one: the path that an application lives below, then those in it that are answered in a way of their own.
    """
    if not one or not other:
        return None
    outer, inner = sorted((one, other), key=lambda paths: len(paths[0]))
    if inner[0] == outer[0]:
        return inner[0]
    return next((path for path in outer[1:] if path.startswith(inner[0]) or inner[0].startswith(path)), None)


def _live_paths(root: str, of: str) -> list[str]:
    with contextlib.suppress(Failed):
        if live := releases.linked(root, "current"):
            return list(releases.read(root, live).get("paths", {}).get(of, []))
    return []


def gather(app: str, root: str, release: str, into: str, without: set[str]) -> None:
    """Put together what nginx is to read once a release is live, for a trial.

    :param into: a directory, which is made.
    """
    os.mkdir(into)
    with _alone():
        there = {of: f"{folder()}/{of}.conf" for of in _named()} | of_release(root, release, "domains")
        for of in there.keys() - without:
            _copy(there[of], of, into, app)
    for of, path in of_release(root, release, "sites").items():
        os.symlink(path, f"{into}/{of}/{app}.conf")


def _copy(path: str, of: str, into: str, but: str) -> None:
    """A domain's file for a trial, with links to the parts of all applications but one."""
    with open(path, encoding="utf-8") as file, open(f"{into}/{of}.conf", "w", encoding="utf-8") as trial:
        trial.write(file.read().replace(f"{folder()}/", f"{into}/"))
    os.mkdir(f"{into}/{of}")
    for found in map(os.path.basename, _files(f"{folder()}/{of}")):
        if found != f"{but}.conf":
            os.symlink(f"{folder()}/{of}/{found}", f"{into}/{of}/{found}")


@dataclass(frozen=True)
class Domains:
    """An application's domains, as its good releases have them."""

    app: str
    root: str
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Which of their files is missing, or the first that is not as it was written."""
        return next((file.drift() for file in self._due()), "")

    def apply(self) -> list[str]:
        """Write what is missing."""
        with _alone():
            return [line for file in self._due() for line in file.apply()]

    def removable(self) -> list[str]:
        """The application's parts, and the domains that have no other."""
        own = parts(self.app)
        alone = [of for of in own if not _others(self.app, of)]
        return [
            *(f"site {part(self.app, self.root, of).path}" for of in own),
            *(f"domain {folder()}/{of}.conf" for of in alone),
        ]

    def remove(self) -> None:
        """Take them away."""
        with _alone():
            for of in parts(self.app):
                releases.unlink(part(self.app, self.root, of).path)
        tidy(self.app, self.root)

    def _due(self) -> list[File]:
        """What is missing. A domain's file may be in another application's words, a default somebody else's."""
        found: dict[str, File] = {}
        for release in _serviceable(self.root):
            found.update((of, part(self.app, self.root, of)) for of in of_release(self.root, release, "sites"))
            for of, path in of_release(self.root, release, "domains").items():
                if not is_default(of) and not os.path.exists(f"{folder()}/{of}.conf"):
                    found[f"{of}.conf"] = _file_of(of, path)
        return [file for file in found.values() if file.drift()]


def _file_of(of: str, path: str) -> File:
    with open(path, encoding="utf-8") as file:
        return File(f"{folder()}/{of}.conf", file.read(), marked=True, what="domain")


def _serviceable(root: str) -> list[str]:
    """The releases that are live, may be gone back to, or are being built."""
    return [release for release in releases.ids(root) if releases.read(root, release)["state"] != "bad"]


def _files(directory: str) -> list[str]:
    return sorted(glob.glob(f"{glob.escape(directory)}/*.conf"))


def _named() -> list[str]:
    return [os.path.basename(path)[: -len(".conf")] for path in _files(folder())]


def parts(app: str) -> list[str]:
    """The names of the domains that an application has a part of."""
    return sorted(os.path.basename(os.path.dirname(path)) for path in glob.glob(f"{folder()}/*/{app}.conf"))


def _has_parts(of: str) -> bool:
    """Whether anybody has a part of a domain; of a default server, who has a domain on its port."""
    return bool(glob.glob(f"{folder()}/{'*_' + of.rpartition('_')[2] if is_default(of) else of}/*.conf"))


def others(app: str, port: int) -> list[str]:
    """The domains that other applications have parts of, as they stand in names of files."""
    found = [of.rpartition("_") for of in _named() if _others(app, of)]
    return [domain for domain, _, its in found if its == str(port)]


def _text(path: str) -> str:
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""


def _others(app: str, of: str) -> dict[str, str]:
    """The other applications that have a part of a domain, and their roots."""
    found = {}
    for path in _files(f"{folder()}/{of}"):
        with open(path, encoding="utf-8", errors="replace") as file:
            root = ROOT.search(file.read())
        if root and os.path.basename(path) != f"{app}.conf":
            found[os.path.basename(path)[: -len(".conf")]] = root[1]
    return found


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Several applications are deployed at once, and each may take a domain away that has no part in it.

    :raises Failed: another one takes longer than LOCK_SECONDS.
    """
    os.makedirs(os.path.dirname(LOCK), mode=0o755, exist_ok=True)
    with open(LOCK, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        end = time.monotonic() + LOCK_SECONDS
        while not lock.is_free(file.fileno()):
            if time.monotonic() > end:
                raise Failed(
                    kinds.LOCKED,
                    f"another deploy has had the domains in {folder()} for {LOCK_SECONDS:.0f} seconds",
                    f"See who it is on the host: fuser -v {LOCK}; then do it again.",
                )
            time.sleep(PAUSE)
        yield
