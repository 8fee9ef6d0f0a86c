"""``fab init``, or ``python -m fabrelease init``: look at the project, and write its fabfile and its first stage."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from .engine import git, terminal
from .engine.errors import UsageError
from .engine.remote import kinds
from .engine.verb import verb

if TYPE_CHECKING:
    from .engine.discovery.project import Project
    from .engine.stagefile import Answers

FABFILES = ("fabfile.py", "fabfile/__init__.py")  # where Fabric looks
STAGE, IGNORED = "hosts/prod.yml", ".gitignore"
MOST_NAMED = 6  # variables that are named in a line


@verb(
    help={
        "address": "of the server, like deploy@203.0.113.10; else it is asked for",
        "domain": "of the site; else it is asked for",
        "source": "the directory that holds the application, where there are several",
        "yes": "ask nothing: what is not given is marked in the file, and refused until it is filled in",
    }
)
def init(c: Context, address: str = "", domain: str = "", source: str = "", yes: bool = False) -> None:
    """Main: look at the project here, and write fabfile.py and hosts/prod.yml for it, every line explained."""
    from .engine.discovery import project as projects

    here = Path.cwd()
    _in_repository(here)
    with terminal.working("reading the project"):
        project = projects.discover(here, source)
    answers = _answers(address, domain, asks=not yes and sys.stdin.isatty())
    _tell(project)
    _write(here, project, answers)
    _what_next(here, project, answers)


def _in_repository(here: Path) -> None:
    if not git.is_in_work_tree(here):
        raise UsageError(
            kinds.NO_REPOSITORY,
            f"{here} is in no git repository, and what is deployed is a commit; nothing was written\n"
            "  Make one: git init && git add --all && git commit -m 'Begin'"
        )


# --- what only a person knows -------------------------------------------------------------


def _answers(address: str, domain: str, asks: bool) -> Answers:
    """What was given, or is asked for now; where nothing is asked, marks that are no address and no domain.

    :raises UsageError: it is none.
    """
    from .engine import stagefile

    if not address and asks:
        address = _ask("Address of the server, as in ssh, like deploy@203.0.113.10: ")
    host = stagefile.login(address) if address else stagefile.UNKNOWN
    if not domain and asks:
        domain = _ask(f"Domain of the site [{host.address}]: ") or host.address
    return stagefile.with_domain(host, domain)


def _ask(question: str) -> str:
    """What is typed; nothing where that is the end of it."""
    try:
        return input(question).strip()
    except EOFError:
        return ""


# --- what is written ----------------------------------------------------------------------


def _write(here: Path, project: Project, answers: Answers) -> None:
    from .engine import stagefile

    secrets = here / stagefile.SECRETS
    has_secrets = secrets.exists() or bool(stagefile.made_here(project) or stagefile.unset(project, ()))
    own = next((here / name for name in FABFILES if (here / name).exists()), None)
    _create(own or here / FABFILES[0], stagefile.FABFILE, "the commands")
    if own and "fabrelease" not in own.read_text(encoding="utf-8", errors="replace"):
        _say("missing", own.name, "it has no commands of fabrelease: add the line  from fabrelease.tasks import ns")
    _create(here / STAGE, stagefile.stage(project, answers, has_secrets), "the stage prod: look through it")
    if has_secrets:
        _keep_out_of_git(here, stagefile.SECRETS)
        _create(secrets, stagefile.secret_file(project), "the secrets, for you alone", mode=0o600)


def _create(path: Path, text: str, what: str, mode: int = 0o666) -> None:
    """Write a file that is not there yet; one that is there is left as it is.

    :raises UsageError: it cannot be written.
    """
    name = path.relative_to(Path.cwd()).as_posix()
    if path.exists():
        _say("left", name, "it is there already, and was not changed", "yellow")
        return
    try:
        path.parent.mkdir(exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise UsageError(
            kinds.PROJECT, f"{name} cannot be written: {error.strerror}. Mend that, and run fab init again"
        ) from error
    _say("wrote", name, what, "green")


def _keep_out_of_git(here: Path, name: str) -> None:
    """Have git pass over a file that is not in it yet."""
    if git.is_tracked(here, name):
        _say(
            "missing",
            name,
            f"it is in git, where secrets do not belong: git rm --cached {name}, and give them new values",
        )
    elif not git.is_ignored(here, name):
        path = here / IGNORED
        before = path.read_bytes() if path.exists() else b""
        gap = "\n" if before and not before.endswith(b"\n") else ""
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{gap}/{name}\n")
        _say("wrote", IGNORED, f"{name} added, so that git passes over it", "green")


# --- what is said -------------------------------------------------------------------------


def _tell(project: Project) -> None:
    """What was found."""
    needed, (version, where) = project.requirements, project.python
    _say("found", "project", f"{project.kind or 'no kind that is known'}" + _in(project.source))
    if project.app:
        _say("found", "app", f"{project.app}, to be run by {project.server}")
    if needed.file or needed.foreign:
        _say("found", "packages", needed.file or f"{needed.foreign}, which is not read")
    _say("found", "python", f"{version}, by {where}" if version else "any: the server's own python3 is taken")
    for name, process in project.processes.items():
        _say("found", "process", f"{name}: {process.value}")
    if optional := [one.name for one in project.variables if not one.is_required and one.name not in project.env]:
        _say("found", "env", f"variables with a default, need not be set: {_some(optional)}")
    for note in project.notes:
        _say("note", "", note, "yellow")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} others" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _in(source: str) -> str:
    return "" if source == "." else f", in {source}/"


def _what_next(here: Path, project: Project, answers: Answers) -> None:
    """What is in the way, and what to type."""
    from dotenv import dotenv_values

    from .engine import stagefile
    from .engine.discovery.project import UNKNOWN_PAGE

    for problem in project.missing:
        _say("missing", "", problem, "yellow")
    if answers.domain != stagefile.UNKNOWN.domain and not project.is_for(answers.domain):
        listed = ", ".join(project.allowed_hosts)
        _say("missing", "", f"ALLOWED_HOSTS has to hold {answers.domain}, and holds {listed}", "yellow")
    if project.page.why == UNKNOWN_PAGE:
        _say("note", "", f"health.path: {project.page.value} is {UNKNOWN_PAGE}", "yellow")
    for one in stagefile.unset(project, dotenv_values(here / stagefile.SECRETS, interpolate=False)):
        _say(
            "missing",
            one.name,
            f"read in {one.where}, and nobody sets it: write it into {stagefile.SECRETS}",
            "yellow",
        )
    dotenv = (Path(project.source) / ".env").as_posix()
    if git.is_tracked(here, dotenv):
        _say("missing", ".env", f"it is in git, where secrets do not belong: git rm --cached {dotenv}", "yellow")
    elif (here / dotenv).is_file():
        _say("note", ".env", f"it is not deployed: what prod needs of it goes into {stagefile.SECRETS}", "yellow")
    if "<" in answers.address + answers.domain + (project.app or "<"):
        _say("missing", STAGE, "fill in what stands there between < and >", "yellow")
    if "<" not in answers.address:
        login = f"{answers.user}@{answers.address}" if answers.user else answers.address
        port = f"-p {answers.port} " if answers.port else ""
        _say("next", "log in", f"ssh {port}{login}   (once, so that its host key is known)")
    if not git.has_commits(here):
        _say("next", "commit", "git add --all && git commit -m 'Begin'   (what is deployed is a commit)")
    _say("next", "go live", "fab -H prod setup deploy   (and then: fab status, fab -H prod doctor)")


def _say(what: str, step: str, text: str, style: str = "") -> None:
    terminal.say(what, step, text, style)
