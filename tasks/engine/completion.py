"""What the shells complete with: kept by each command as it ends, and read by shells/candidates.sh.

Of each project, below the user's cache: its commands, its hosts and releases by stages, and where its repository is.
Stages and git's branches are looked up when they are asked for: that takes no Python.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import terminal, usercache

if TYPE_CHECKING:
    from .settings import Settings

SCRIPTS = Path(__file__).parent / "shells"
SHELLS = ("bash", "zsh", "fish")
# What stands after an option, as candidates.sh names it.
VALUES = {
    "hosts": "names",
    "continue-without": "hosts",
    "ref": "refs",
    "to": "releases",
    "role": "roles",
    "shell": "shells",
}
CORE = "-"  # in place of a task's name: fab's own options


def script(shell: str) -> str:
    """What a shell has to read once to complete fab's commands."""
    text = (SCRIPTS / f"fab.{shell}").read_text(encoding="utf-8")
    return text.replace("CANDIDATES", (SCRIPTS / "candidates.sh").read_text(encoding="utf-8"))


def remember(known: Iterable[Settings]) -> None:
    """Keep what the hosts of a command and the fabfile say.

    :param known: the settings of hosts.
    """
    stages = {(settings.project, settings.stage): settings for settings in known}
    for (project, stage), settings in stages.items():
        _keep(project, f"%hosts.{stage}", settings.members or [settings.host.name])
        if not (settings.source.git or settings.source.package):
            _keep(project, "%repository", [str(settings.local(settings.source.path or "."))])
    for project in {project for project, _ in stages}:
        _keep_commands(project)


def remember_releases(settings: Settings, releases: Iterable[Mapping[str, Any]]) -> None:
    """Keep which releases of a stage can be gone back to.

    :param releases: as releases.listing gives them, the oldest first.
    """
    good = [release for release in releases if release.get("state") == "good"]
    lines = [f"{release['id']} {release.get('subject') or ''}" for release in reversed(good)]
    _keep(settings.project, f"%releases.{settings.stage}", lines)


def add_release(settings: Settings, release: str, subject: str) -> None:
    """Keep that one more release of a stage has gone live, and so many as are not cleared away."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _folder(settings.project) / f"%releases.{settings.stage}"
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        others = [line for line in before if not line.startswith(f"{release} ")]
        _keep(settings.project, path.name, [f"{release} {subject}", *others][: settings.keep_releases])


def _keep_commands(project: Path) -> None:
    program = getattr(sys.modules.get("fabric.main"), "program", None)
    if getattr(program, "parser", None) is None:  # the verbs are called by other means
        return
    _keep(project, "%commands", _commands(program))


def _commands(program: Any) -> Iterator[str]:
    from invoke.parser.context import to_flag

    contexts = program.parser.contexts
    for name in dict.fromkeys(context.name for context in contexts.values()):
        yield f"task {name} {(program.collection[name].__doc__ or '').strip().partition(chr(10))[0]}"
    for context in [program.initial_context, *dict.fromkeys(contexts.values())]:
        for argument in context.args.values():
            options = [name.replace("_", "-") for name in argument.names]
            known = (VALUES[option] for option in options if option in VALUES)
            takes = next(known, "value") if argument.takes_value else "flag"
            for option in options:
                yield f"option {context.name or CORE} {to_flag(option)} {takes} {argument.help or ''}"


def _folder(project: Path) -> Path:
    """:raises RuntimeError: the user has no home directory."""
    return usercache.folder("completion") / str(project).lstrip("/")


def _keep(project: Path, name: str, lines: Iterable[str]) -> None:
    """Write a file by one rename, where it says something else; what cannot be kept is only not completed."""
    text = "".join(terminal.visible(line).replace("\n", " ") + "\n" for line in lines)
    with contextlib.suppress(OSError, RuntimeError):
        path = _folder(project) / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f"{name}.{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
