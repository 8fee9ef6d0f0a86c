"""What is on a host, looked at for a plan: nothing is changed, no lock is taken, nothing is cleared away."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import hmac
import os
import shlex
import tempfile
from collections.abc import Mapping
from typing import TypedDict

from . import entry, environment, prepare, provision, releases, times
from .application import Application
from .failure import Failed
from .installing import Spec
from .unix import O_NOFOLLOW

SECRETS = "secrets"
PASSWORDS = "users/"  # below it, what nginx compares with what is typed
LARGEST = 1 << 20  # bytes of a file of configuration that is compared


class Environment(TypedDict):
    """Which environment a release would get: its name, and whether it is there; ``problem`` where none can be had.

    ``installed`` are the packages of one that is there, with their versions.
    """

    name: str
    reused: bool
    source: str | None
    problem: str
    installed: dict[str, str]


class Required(TypedDict):
    """What the environment of a release holds, and what it was made from: the file of requirements and all texts."""

    installed: dict[str, str]
    source: str | None
    files: dict[str, str]


class Taken(TypedDict):
    """The last deploy: of which release, when it was over, and the seconds since its release was begun."""

    release: str
    at: str
    seconds: float


def drift(owner: prepare.Owner, wanted: provision.Wanted) -> list[str]:
    """What setup would change, in words.

    :raises Failed: the root is somebody else's.
    """
    root = wanted.application.root
    prepare.check_claimed(owner, root)
    unclaimed = [] if prepare.read_mark(root) else [f"{root} was not set up yet"]
    return unclaimed + [words for resource in provision.resources(wanted) if (words := resource.drift())]


def look(application: Application) -> entry.Entry | None:
    """What a session begins with; None where setup was not run here."""
    return entry.look(application) if prepare.read_mark(application.root) else None


def is_secret(name: str) -> bool:
    """Whether a file of the configuration holds secrets, or hashes of some."""
    return name == SECRETS or name.startswith(PASSWORDS)


def configuration(root: str, release: str) -> dict[str, str]:
    """The files of a release's configuration, but for its secrets."""
    config = f"{releases.directory(root, release)}/config"
    found = {}
    for path in sorted(glob.glob(f"{glob.escape(config)}/**", recursive=True)):
        name = os.path.relpath(path, config)
        if not is_secret(name) and os.path.isfile(path) and os.path.getsize(path) <= LARGEST:
            with open(path, encoding="utf-8", errors="replace") as file:
                found[name] = file.read()
    return found


def secrets(root: str, release: str) -> dict[str, str]:
    """The names of a release's secrets, and the keyed digests of their values: these never leave the host."""
    key = releases.known_key(root)
    with contextlib.suppress(OSError), open(f"{releases.directory(root, release)}/config/{SECRETS}") as file:
        pairs = [word.partition("=")[::2] for word in shlex.split(file.read(), comments=True)]
        return {name: digest(key, value) for name, value in pairs}
    return {}


def digest(key: str, value: str) -> str:
    """The keyed digest of a secret."""
    return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()


def environment_of(root: str, spec: Spec, files: Mapping[str, str], release: str) -> Environment:
    """The environment that a release with these files of requirements would get.

    :param files: their paths in the source, and their texts.
    """
    with tempfile.TemporaryDirectory(prefix="fabrelease-plan-") as public:
        for name, text in files.items():
            _write(public, name, text)
        try:
            found = environment.foresee(root, spec, public, release)
        except Failed as failed:
            return {"name": "", "reused": False, "source": None, "problem": failed.message, "installed": {}}
    known = found.known
    return {
        "name": found.name,
        "reused": known is not None,
        "source": found.source,
        "problem": "",
        "installed": environment.installed(f"{root}/envs/{known['name']}") if known else {},
    }


def required(root: str, release: str) -> Required:
    """What the environment of a release holds, and what it was made from."""
    place = releases.directory(root, release)
    source = environment.source_of(root, str(releases.read(root, release).get("environment")))
    public = f"{place}/public"
    texts = {}
    for path in environment.files_of(public, source):
        with open(path, encoding="utf-8", errors="replace") as file:
            texts[os.path.relpath(path, public)] = file.read(LARGEST)
    return {"installed": environment.installed(f"{place}/env"), "source": source, "files": texts}


def last_deploy(root: str) -> Taken | None:
    """How long the last deploy took; None where none is known of."""
    for event in reversed(releases.history(root)):
        made = releases.read(root, str(event["current"])).get("made") if _is_deploy(event) else None
        if made:
            seconds = times.seconds(str(event["at"])) - times.seconds(str(made))
            return {"release": str(event["current"]), "at": str(event["at"]), "seconds": max(seconds, 0)}
    return None


def _is_deploy(event: dict[str, object]) -> bool:
    return event.get("what") == "deploy" and bool(releases.ID.fullmatch(str(event.get("current"))))


def _write(folder: str, name: str, text: str) -> None:
    path = f"{folder}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
