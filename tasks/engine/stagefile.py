"""A stage file for a project, every line of it explained, and the file of secrets that goes with it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import yaml

from .discovery.project import DOMAIN, Found, Project
from .discovery.variables import Variable
from .errors import UsageError
from .remote import kinds

if TYPE_CHECKING:
    from pydantic import BaseModel

COLUMN = 48  # where explanations begin
SECRETS = "prod.env"
# What is only to be long and random, and nobody else's: it can be made here.
MADE_HERE = re.compile(r"(DJANGO_|FLASK_|APP_|JWT_|SESSION_)?(SECRET|SECRET_KEY)")
KEY_BYTES = 48
FABFILE = '''\
"""The commands: fab --list shows them, fab --help deploy the options of one."""

from fabrelease.tasks import ns

__all__ = ["ns"]
'''
HEAD = """\
# The stage prod, as fab init found the project. `fab` checks this file before it connects to anything. What several
# stages share goes into hosts/all.yml; every setting there is: docs/settings.md of fabrelease.

"""


@dataclass(frozen=True)
class Answers:
    """What only a person knows.

    :ivar address: of the server.
    :ivar user: who logs in; None for whom ssh takes.
    :ivar port: of SSH; None for the one that ssh takes.
    """

    address: str
    domain: str
    user: str | None = None
    port: int | None = None


UNKNOWN = Answers("<address of the server>", DOMAIN)


def login(said: str) -> Answers:
    """An address as it was typed: HOST, USER@HOST, HOST:PORT or all three.

    :raises UsageError: it is none.
    """
    from .settings import Host

    user, _, place = said.rpartition("@")
    host, colon, port = place.rpartition(":")
    has_port = bool(colon) and port.isdecimal() and ":" not in host
    made = {"name": "web1", "address": host if has_port else place, "user": user or None}
    _checked(Host, {**made, "port": int(port) if has_port else None}, f"the address {said}")
    return Answers(str(made["address"]), DOMAIN, user or None, int(port) if has_port else None)


def with_domain(answers: Answers, domain: str) -> Answers:
    """The answers with a domain; without one, with what marks that it is not known.

    :raises UsageError: it is none.
    """
    from .settings import Site

    if domain and domain != UNKNOWN.address:
        _checked(Site, {"domains": [domain]}, f"the domain {domain}")
        return replace(answers, domain=domain)
    return answers


def _checked(model: type[BaseModel], value: dict[str, object], what: str) -> None:
    from pydantic import ValidationError

    from .mistakes import mistakes

    try:
        model.model_validate(value)
    except ValidationError as error:
        found = [f"{one.message}; {one.hint}" if one.hint else one.message for one in mistakes(error, model)]
        raise UsageError(kinds.SETTINGS, f"{what} is none: {'; '.join(found)}. Nothing was written") from None


def stage(project: Project, answers: Answers, has_secrets: bool) -> str:
    """The text of hosts/prod.yml.

    :param has_secrets: whether there is a file of secrets.
    """
    lines = [
        *_application(project),
        *_site(project, answers),
        *_around(project, answers, has_secrets),
        *_host(answers),
    ]
    return HEAD + "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def unset(project: Project, there: Collection[str]) -> list[Variable]:
    """The variables that have to be set, and that neither the stage nor the file of secrets sets.

    :param there: those in the file of secrets.
    """
    return [
        one for one in project.variables if one.is_required and one.name not in project.env and one.name not in there
    ]


def made_here(project: Project) -> list[Variable]:
    """The variables that a random value will do for."""
    return [one for one in project.variables if MADE_HERE.fullmatch(one.name) and one.name not in project.env]


def secret_file(project: Project) -> str:
    """The text of the file of secrets: random keys, and the names of what only a person knows."""
    keys = made_here(project)
    lines = ["# NAME=value lines for the application's environment. Keep this file out of git; it is never shown."]
    lines += [f"{one.name}={secrets.token_urlsafe(KEY_BYTES)}" for one in keys]
    for one in unset(project, [key.name for key in keys]):
        lines += [f"# Read in {one.where}; take the # away and give it a value:", f"# {one.name}="]
    return "\n".join(lines) + "\n"


# --- sections -----------------------------------------------------------------------------


def _application(project: Project) -> Iterator[str]:
    yield _line("app", project.name, f"names {project.root}, unix user, programs")
    if project.source != ".":
        yield _line("source", {"path": project.source}, "the directory of the application")
    yield from _python(project)
    if project.packages:
        yield _line("packages", list(project.packages), "system packages, by Debian's names; setup installs them")
    yield ""
    yield "web:"
    yield _line(
        "  app",
        project.app or "<module:callable>",
        project.kind.partition(",")[0] or "not found: name it, as module:callable",
    )
    yield _line("  server", project.server, "runs it; or another one, as docs/settings.md has them")
    yield _line("  workers", 2, "processes; about two for each of the server's processors")
    if project.server_settings:
        yield _line("  settings", project.server_settings, "the callable makes the application, and is none itself")
    if project.processes:
        yield ""
        yield _section("processes", "run in the background, in the release with its virtualenv")
        yield from _mapping(project.processes)


def _python(project: Project) -> Iterator[str]:
    version, where = project.python
    needed = project.requirements
    if not version and (needed.is_found or not needed.file):
        return
    yield "python:"
    if version:
        yield _line("  version", version, f"by {where}; left out, it is the server's own python3")
    if needed.file and not needed.is_found:
        yield _line("  requirements", needed.file, "what is installed into the virtualenv")


def _site(project: Project, answers: Answers) -> Iterator[str]:
    from .settings import is_ip

    yield ""
    yield "site:"
    yield _line("  domains", [answers.domain], "the names that it answers to; DNS leads them to the server")
    if project.tls and not is_ip(answers.domain):
        yield _line("  tls", "acme", "https, as the settings want it; agrees to Let's Encrypt's terms")
    else:
        yield "  # tls: acme".ljust(COLUMN) + "# https by Let's Encrypt, once DNS leads here"
    for key, found, why in (
        ("static", project.static, "nginx serves them from the release"),
        ("media", project.media, "uploads: nginx serves them from shared/"),
    ):
        if found:
            yield _section(f"  {key}", why)
            yield from _mapping(found, "    ")
    if project.websockets:
        yield _section("  paths", "what is different below some paths")
        for prefix in project.websockets:
            yield _line(f"    {_scalar(prefix)}", {"websocket": True}, "a connection may become a WebSocket")


def _around(project: Project, answers: Answers, has_secrets: bool) -> Iterator[str]:
    if project.env:
        yield ""
        yield _section("env", "the application's environment; readable on the server, so no secrets")
        env = {name: Found(_with_domain(found.value, answers), found.why) for name, found in project.env.items()}
        yield from _mapping(env)
    yield ""
    if has_secrets:
        yield _line("secrets", SECRETS, "a file of NAME=value lines for the environment, not in git")
    else:
        yield (f"# secrets: {SECRETS}".ljust(COLUMN) + "# a file of NAME=value lines for the environment, not in git")
    if project.dirs:
        yield ""
        yield _section("shared", f"kept in {project.root}/shared when releases go, and writable")
        yield "  dirs:"
        yield from (_item(name, found.why, "    ") for name, found in project.dirs.items())
    yield from _hooks(project)
    yield ""
    yield _section("health", "what a new release is asked before it gets visitors")
    yield _line("  path", project.page.value, project.page.why or "it has to answer 200 here")
    yield _line("  follow", True, "a redirect within the site, as to a login, is followed")


def _hooks(project: Project) -> Iterator[str]:
    if not (project.build or project.before_switch):
        return
    yield ""
    yield _section("hooks", "one that fails ends the deploy; the old release serves on")
    for name, found, why in (
        ("build", project.build, "once the virtualenv is ready"),
        ("before_switch", project.before_switch, "before visitors come to the new release"),
    ):
        if found:
            yield _section(f"  {name}", why)
            yield from (_item(command, one.why, "    ") for command, one in found.items())


def _host(answers: Answers) -> Iterator[str]:
    yield ""
    yield _section("hosts", "the servers of the stage, by short names")
    yield "  web1:"
    yield _line("    address", answers.address, "a name, an IP address, or one of ssh_config")
    if answers.user:
        yield _line("    user", answers.user, "who logs in by SSH: root, or one who may use sudo")
    else:
        yield ("    # user: deploy".ljust(COLUMN) + "# who logs in by SSH: root, or one who may use sudo")
    if answers.port:
        yield _line("    port", answers.port, "of SSH")


# --- lines --------------------------------------------------------------------------------


def _mapping(found: Mapping[str, Found], indent: str = "  ") -> Iterable[str]:
    return (_line(f"{indent}{_scalar(name)}", one.value, one.why) for name, one in found.items())


def _line(key: str, value: object, why: str) -> str:
    return _explained(f"{key}: {_value(value)}", why)


def _item(value: str, why: str, indent: str) -> str:
    return _explained(f"{indent}- {_scalar(value)}", why)


def _section(key: str, why: str) -> str:
    return _explained(f"{key}:", why)


def _explained(text: str, why: str) -> str:
    return f"{text.ljust(COLUMN - 1)} # {why}" if why else text


def _value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_scalar(one)}" for key, one in value.items()) + "}"
    return _scalar(value)


def _scalar(value: object) -> str:
    """A value as YAML reads it back: in quotes where it would be read as something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./ =+-]*", value) and value == value.strip()
    return value if is_plain and yaml.safe_load(value) == value else json.dumps(value)


def _with_domain(value: str, answers: Answers) -> str:
    return value.replace(DOMAIN, answers.domain)
