"""The settings of one host, as typed and checked models.

These models are the single source: the checks, the JSON Schema for editors and
the reference page are all made from the fields and their descriptions. Types
are strict: `"2"` is no number and `true` is no number either.
"""

from __future__ import annotations

import ipaddress
import math
import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

# What exists. A new manager or server is added here and nowhere else in the settings.
Manager: TypeAlias = Literal["supervisor"]
Server: TypeAlias = Literal["gunicorn"]

# A unix socket's path may have 107 bytes (sun_path is 108 with its closing NUL).
SOCKET_PATH_MAX = 107
LONGEST_SOCKET = "releases/20261121T104500Z-1234567890/run/web.sock"

GUNICORN_TIMEOUT = 30  # seconds; gunicorn's own default


def refuse(message: str, hint: str = "", at: tuple[str, ...] = ()) -> PydanticCustomError:
    """An error in plain words. `at` names the key when a check looks at several."""
    return PydanticCustomError("refused", "{message}", {"message": message, "hint": hint, "at": at})


# --- text ---------------------------------------------------------------------------------


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise refuse("a NUL character is not allowed")
    return value


def _one_line(value: str) -> str:
    if not value.strip():
        raise refuse("expected some text, found none")
    if any(char in value for char in "\0\n\r"):
        raise refuse("expected one line of text, found a line break or a NUL character")
    return value


def _like(pattern: str, expected: str, hint: str = "") -> AfterValidator:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise refuse(f"expected {expected}, found {show(value)}", hint)
        return value

    return AfterValidator(check)


def show(value: object, limit: int = 40) -> str:
    """A value for a message: quoted, on one line, not too long."""
    text = '"' + str(value).encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'
    return text if len(text) <= limit else text[: limit - 2] + '…"'


FreeText = Annotated[str, AfterValidator(_no_nul)]
Command = Annotated[str, AfterValidator(_one_line)]
LocalPath = Annotated[str, AfterValidator(_one_line)]

_NAME = _like(
    r"[a-z_][a-z0-9_-]{0,30}",
    "a name of at most 31 lower-case letters, digits, - and _, that starts with a letter",
)
Name = Annotated[str, _NAME]
ProcessName = Annotated[str, _like(r"[A-Za-z_][A-Za-z0-9_-]{0,30}", "a name of at most 31 letters, digits, - and _")]
HostName = Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a short name of letters, digits, - . and _")]
Address = Annotated[
    str,
    _like(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,254}", "a host name, an IP address or a name from ssh_config"),
]
LoginUser = Annotated[str, _like(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\-]{0,63}", "the name of a user")]
# The shell keeps these for itself, and the last two would undo what the release's own configuration says.
_RESERVED = {"UID", "EUID", "PPID", "SHELLOPTS", "BASHOPTS", "BASH_VERSINFO", "GUNICORN_CMD_ARGS", "SCRIPT_NAME"}


def _not_reserved(value: str) -> str:
    if value in _RESERVED:
        raise refuse(f"{value} cannot be set: the shell or the server keeps it for itself")
    return value


EnvName = Annotated[
    str,
    _like(r"[A-Za-z_][A-Za-z0-9_]*", "a variable name of letters, digits and _, that starts with no digit"),
    AfterValidator(_not_reserved),
]
HeaderName = Annotated[str, _like(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "the name of an HTTP header")]
ServerSetting = Annotated[
    str,
    _like(
        r"[a-z_][a-z0-9_]*",
        "the name of a setting of the server",
        "words are joined by _, as in max_requests",
    ),
]
Size = Annotated[str, _like(r"[0-9]+[kKmMgG]?", 'a size as nginx writes it, like "512k" or "20m"')]
WebApp = Annotated[
    str,
    _like(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\([ -~]*\))?",
        'module:callable, like "mysite.wsgi:application"',
    ),
]
PythonVersion = Annotated[str, _like(r"3\.[0-9]+(\.[0-9]+)?", 'a version of Python, like "3.11"')]
Requirement = Annotated[
    str,
    _like(
        r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])?\s?"
        r"(\s?(===?|~=|!=|<=?|>=?)\s?[A-Za-z0-9._*+!-]+(\s?,(?=.)|$))*",
        'a requirement, like "flasktodo==1.2"',
    ),
]


def _header_value(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise refuse("a header's value may not hold control characters or line breaks")
    if "$" in value:
        raise refuse("a header's value may not hold $: nginx would take what follows for a variable")
    return value


HeaderValue = Annotated[str, AfterValidator(_header_value)]


def _revision(value: str) -> str:
    _one_line(value)
    if value.startswith("-"):
        raise refuse("a revision may not start with -")
    if re.search(r"[\s\x00-\x1f\x7f:?*\[\\]|\.\.", value):
        raise refuse("expected a branch, a tag or a commit, found something that cannot name one")
    return value


def _git_url(value: str) -> str:
    _one_line(value)
    if value.startswith("-"):
        raise refuse("the address of a repository may not start with -")
    if re.match(r"[A-Za-z0-9]+::", value):
        raise refuse("git's transport helpers (name::address) are not allowed: they run commands")
    return value


def _package(value: str) -> str:
    if value.endswith(".whl"):
        return _one_line(value)
    return _checked_requirement(value)


# --- paths --------------------------------------------------------------------------------


def _inside(value: str) -> str:
    """A relative path that stays inside its directory, without `./` and closing slashes."""
    _one_line(value)
    if value.startswith("/"):
        raise refuse(f"expected a relative path, found {show(value)}")
    if ".." in value.split("/"):
        raise refuse("a path may not lead out of its directory with ..")
    path = posixpath.normpath(value)
    if path == ".":
        raise refuse("expected a path inside the directory, found the directory itself")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]


def _static_target(value: str) -> str:
    module, colon, directory = value.partition(":")
    if not colon:
        return _inside(value)
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module, re.ASCII):
        raise refuse(f"expected module:directory, found {show(value)}")
    return f"{module}:{_inside(directory)}"


# What cannot be an application's root: these, and everything that belongs to the system.
_SHARED_TOP = re.compile(r"/|/(home|srv|opt|mnt|media|usr/local)|/var(/(www|lib|local|opt|cache|spool))?")
_SYSTEM = re.compile(
    r"/(tmp|etc|s?bin|lib(32|64)?|root|run|proc|sys|dev|boot|usr(?!/local/)|var/(tmp|run|lock|log))(/.*)?"
)


def _root(value: str) -> str:
    if not value.startswith("/") or posixpath.normpath(value) != value or value.startswith("//"):
        raise refuse(f"expected an absolute path without . .. // or a closing slash, found {show(value)}")
    if not re.fullmatch(r"[A-Za-z0-9._/@+ -]+", value):
        raise refuse(f"only letters, digits, space and . _ / @ + - are allowed, found {show(value)}")
    if any(part != part.strip() or part.startswith("-") for part in value.split("/")):
        raise refuse("no part of the path may start with - or begin or end with a space")
    if _SHARED_TOP.fullmatch(value) or _SYSTEM.fullmatch(value):
        raise refuse(f"{value} belongs to the system", "a directory of the application's own, like /srv/myapp")
    longest = len(f"{value}/{LONGEST_SOCKET}")
    if longest > SOCKET_PATH_MAX:
        too_many = longest - SOCKET_PATH_MAX
        raise refuse(
            f"the path is {len(value)} bytes long, at most {len(value) - too_many} fit: "
            f"a release's socket, {LONGEST_SOCKET} below it, would have {longest} bytes "
            f"and a unix socket's path at most {SOCKET_PATH_MAX}"
        )
    return value


def _url_path(value: str) -> str:
    dots = {".", ".."} & set(value.split("/"))
    if dots or not re.fullmatch(r"/|(/[A-Za-z0-9._~@+-]+)+", value):
        raise refuse(
            f"expected / or a path like /shop, without a closing slash, found {show(value)}",
            "letters, digits and . _ ~ @ + - are allowed",
        )
    return value


def _url_prefix(value: str) -> str:
    if not (len(value) > 2 and value.startswith("/") and value.endswith("/")):
        raise refuse(f"expected a URL prefix that starts and ends with /, like /static/, found {show(value)}")
    _url_path(value[:-1])
    return value


UrlPrefix = Annotated[str, AfterValidator(_url_prefix)]


def _health_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise refuse(f"expected a path that starts with /, without spaces and #, found {show(value)}")
    return value


# --- names on the network -----------------------------------------------------------------

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def _is_dns_name(value: str) -> bool:
    labels = value.split(".")
    return len(value) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _domain(value: str) -> str:
    if _is_ip(value) and ":" in value:
        raise refuse("an IPv6 address is written in brackets here", f'write "[{value}]"')
    bracketed = value.startswith("[") and value.endswith("]") and ":" in value and _is_ip(value[1:-1])
    name = value[2:] if value.startswith("*.") and "." in value[2:] else value
    if not (bracketed or _is_ip(value) or _is_dns_name(name)):
        raise refuse(f"expected a host name or an IP address, found {show(value)}", _domain_hint(value))
    return value


def _domain_hint(value: str) -> str:
    if "://" in value or "/" in value:
        return "only the name, without http:// and path"
    try:
        ascii_name = value.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    return f"write it as {ascii_name}" if ascii_name != value and _is_dns_name(ascii_name) else ""


def _bind(value: str) -> str:
    if value == "socket":
        return value
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host
    known = bare == "localhost" or (_is_ip(bare) and (":" in bare) == (bare != host))
    if not known or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
        raise refuse(f'expected "socket" or an address and port like 127.0.0.1:8004, found {show(value)}')
    return value


# --- values passed through to the server --------------------------------------------------

_WHY_NOT: dict[str, str] = {
    "bind": "each release has a socket of its own: set web.bind",
    "chdir": "the release's directory is used",
    "config": "its configuration file is rendered for each release",
    "daemon": "the manager keeps the server in the foreground; a daemon would escape it",
    "group": "the manager starts it as the application's user",
    "pidfile": "the manager keeps track of the process",
    "reload": "it would restart workers while a release is being built",
    "user": "the manager starts it as the application's user: set user",
    "workers": "set web.workers",
    "wsgi_app": "set web.app",
}


def _plain_value(value: Any) -> Any:
    """Nothing but what every configuration language can say: refuses dates, bytes, nan and inf."""
    if isinstance(value, str):
        return _no_nul(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise refuse("nan and inf are not allowed")
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    if isinstance(value, dict):
        return {_plain_key(key): _plain_value(item) for key, item in value.items()}
    if value is not None and not isinstance(value, (bool, int, float)):
        kind = type(value).__name__
        raise refuse(f"expected text, a number, true, false, a list or a mapping, found a {kind}", "put it in quotes")
    return value


def _plain_key(key: Any) -> str:
    if not isinstance(key, str):
        raise refuse("expected text as a key, found something else", "put it in quotes")
    return _no_nul(key)


PlainValue = Annotated[Any, AfterValidator(_plain_value)]


def _server_settings(settings: dict[str, Any]) -> dict[str, Any]:
    for name, why in _WHY_NOT.items():
        harmless = name in ("daemon", "reload") and settings.get(name) is False
        if name in settings and not harmless:
            raise refuse(f"{name} cannot be set here: {why}", at=(name,))
    return settings


# --- models -------------------------------------------------------------------------------


def _listed_once(values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise refuse(f"{show(value)} is listed twice")
        seen.add(value)


def _unique(values: list[str]) -> list[str]:
    _listed_once(values)
    return values


class Model(BaseModel):
    """Frozen and strict, and closed: an unknown key is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Host(Model):
    """One server of a stage."""

    name: HostName = Field(description="The host's short name: its key below `hosts`.")
    address: Address = Field(
        default_factory=lambda data: str(data.get("name", "")),
        description="Host name, IP address or ssh_config alias. Default: the host's short name.",
    )
    user: LoginUser | None = Field(
        default=None, description="Who logs in over SSH. Default: as ssh_config or Fabric says."
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="SSH port. Default: as ssh_config says."
    )
    key: LocalPath | None = Field(default=None, description="Local path of the private key to log in with.")
    known_hosts: LocalPath | None = Field(
        default=None,
        description="Local path of a known_hosts file to check this host's key with. Default: your own.",
    )


class Source(Model):
    """Where the application comes from: one of path, git and package."""

    path: LocalPath | None = Field(
        default=None,
        description="Local git repository. Default, without git and package: the project.",
        json_schema_extra={"default": "."},
    )
    git: Annotated[str, AfterValidator(_git_url)] | None = Field(
        default=None, description="URL of a git repository to deploy from, instead of a local one."
    )
    package: Annotated[str, AfterValidator(_package)] | None = Field(
        default=None,
        description="Package to install instead: a requirement like flasktodo==1.2, or a local wheel.",
    )
    ref: Annotated[str, AfterValidator(_revision)] = Field(
        default="HEAD",
        description="Branch, tag or commit. HEAD: what is checked out; with git, the default branch.",
    )

    @model_validator(mode="before")
    @classmethod
    def _the_project_by_default(cls, data: Any) -> Any:
        if isinstance(data, dict) and all(data.get(kind) is None for kind in ("path", "git", "package")):
            return {**data, "path": "."}
        return data

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        kinds = [kind for kind in ("path", "git", "package") if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise refuse(
                f"expected one of path, git and package, found {' and '.join(kinds)}",
                f"a stage drops what all.yml sets with null, as in {kinds[0]}: null",
            )
        if self.package is not None and "ref" in self.model_fields_set:
            raise refuse("a package has no ref", "name its version in package, as in flasktodo==1.2", at=("ref",))
        return self


class Python(Model):
    """The interpreter and what is installed into the virtualenv."""

    version: PythonVersion | None = Field(
        default=None,
        description='Version of Python, in quotes, like "3.11". Default: the python3 of the host.',
    )
    requirements: RelativePath = Field(
        default="auto",
        description="The file of requirements in the source. auto: uv.lock, pylock.toml, requirements.txt "
        "or pyproject.toml, the first that is there.",
    )
    installer: Literal["auto", "uv", "pip"] = Field(
        default="auto", description="What installs the requirements. auto: uv where it can be had, else pip."
    )
    wheelhouse: LocalPath | None = Field(
        default=None,
        description="Local directory of wheels to install from, when hosts cannot reach a package index.",
    )
    packages: list[Requirement] = Field(
        default=[], description="Further requirements to install, like [psycopg, sentry-sdk>=2]."
    )


class Web(Model):
    """The server that runs the application."""

    app: WebApp = Field(description='WSGI or ASGI callable, like "mysite.wsgi:application".')
    server: Server = Field(default="gunicorn", description="Program that runs the application.")
    workers: int = Field(default=2, ge=1, description="Number of worker processes.")
    settings: Annotated[dict[ServerSetting, PlainValue], AfterValidator(_server_settings)] = Field(
        default={},
        description="Any of the server's own settings, under its own names, checked by the server itself.",
    )
    bind: Annotated[str, AfterValidator(_bind)] = Field(
        default="socket",
        description="socket: a unix socket in each release. Or an address and port like 127.0.0.1:8004, "
        "from which on each release takes a port of its own.",
    )


class Timeouts(Model):
    """How long nginx waits for the application, in seconds."""

    connect: int = Field(default=10, ge=1, description="Seconds to wait for a connection to the application.")
    read: int = Field(
        default=60,
        ge=1,
        description="Seconds between two reads; must be above the server's own timeout (gunicorn: 30).",
    )
    send: int = Field(default=60, ge=1, description="Seconds between two writes of the request.")


class Site(Model):
    """What nginx serves."""

    domains: Annotated[
        list[Annotated[str, AfterValidator(_domain)]], Field(min_length=1), AfterValidator(_unique)
    ] = Field(description="Names the site answers to; the health check asks for the first. Wildcards may follow.")
    path: Annotated[str, AfterValidator(_url_path)] = Field(
        default="/", description="URL path the application lives below, like /shop."
    )
    port: int = Field(default=80, ge=1, le=65535, description="Port nginx listens on.")
    static: dict[UrlPrefix, Annotated[str, AfterValidator(_static_target)]] = Field(
        default={},
        description="URL prefix: directory in the release; module:directory for one in an installed package.",
    )
    media: dict[UrlPrefix, RelativePath] = Field(
        default={}, description="URL prefix: directory in shared, served by nginx."
    )
    headers: dict[HeaderName, HeaderValue] = Field(default={}, description="Further response headers.")
    timeouts: Timeouts = Field(default=Timeouts(), description="How long nginx waits for the application.")
    client_max_body_size: Size = Field(
        default="1m", description="Largest request body that is accepted (nginx's own setting)."
    )
    keepalive_timeout: int = Field(
        default=75, ge=0, description="Seconds nginx keeps a client's idle connection open."
    )
    upstream_keepalive: int = Field(
        default=0,
        ge=0,
        description="Idle connections to the application each nginx worker keeps open. 0: none.",
    )

    @model_validator(mode="after")
    def _each_url_once(self) -> Site:
        if self.domains[0].startswith("*."):
            raise refuse("the first domain may not be a wildcard: the health check asks for it", at=("domains",))
        for prefix in self.media:
            if prefix in self.static:
                raise refuse(f"{prefix} is in static already", at=("media", prefix))
        return self


def _shared_files(value: Any) -> Any:
    """A plain list means: each from the release."""
    if isinstance(value, (list, dict)) and all(isinstance(name, str) for name in value):
        _listed_once(posixpath.normpath(name) for name in value)  # ./a and a are one file
        return dict.fromkeys(value) if isinstance(value, list) else value
    return value


def _no_nesting(paths: Iterable[str]) -> None:
    ordered = sorted(paths)
    _listed_once(ordered)
    for outer in ordered:
        for inner in ordered:
            if inner.startswith(outer + "/"):
                raise refuse(f"{show(inner)} lies inside {show(outer)}, which is shared as a whole")


class Shared(Model):
    """What outlives releases: kept in shared/ on the host and linked into public/."""

    dirs: list[RelativePath] = Field(default=[], description="Directories, like [media].")
    files: Annotated[
        dict[RelativePath, LocalPath | None],
        BeforeValidator(_shared_files),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                    {"type": "array", "items": {"type": "string"}},
                ]
            }
        ),
    ] = Field(
        default={},
        description="File: the local path it is put there from, the first time and when it changed. "
        "A plain list: from the release, the first time only.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Shared:
        _no_nesting([*self.dirs, *self.files])
        return self


class Hook(Model):
    """One command of a hook."""

    run: Command = Field(description="Shell command, run in the release with its virtualenv and environment.")
    timeout: int = Field(default=600, ge=1, description="Seconds until the command is ended and counts as failed.")

    @model_validator(mode="before")
    @classmethod
    def _a_command_alone(cls, data: Any) -> Any:
        return {"run": data} if isinstance(data, str) else data


class Hooks(Model):
    """Commands run at points of a deploy. One that fails ends the deploy."""

    build: list[Hook] = Field(default=[], description="Once the virtualenv is ready.")
    before_switch: list[Hook] = Field(
        default=[],
        description="Before traffic goes to the new release, like python manage.py migrate --noinput.",
    )
    after_switch: list[Hook] = Field(default=[], description="Once the new release serves.")


class Health(Model):
    """What proves a release healthy."""

    path: Annotated[str, AfterValidator(_health_path)] = Field(
        default="/", description="Path as the application sees it."
    )
    status: int = Field(default=200, ge=100, le=599, description="HTTP status it must answer with.")
    timeout: int = Field(default=30, ge=1, description="Seconds it has to answer so.")


def _app(data: dict[str, Any]) -> str:
    """The app's name; any will do when it was refused, for then the whole is."""
    return str(data.get("app", "app"))


def _default_root(data: dict[str, Any]) -> str:
    parent = "/var/www" if data.get("layout") == "seed" else "/srv"
    return f"{parent}/{_app(data)}"


def _not_root(value: str) -> str:
    if value == "root":
        raise refuse("the application may not run as root")
    return value


def _no_web_process(processes: dict[str, str]) -> dict[str, str]:
    if "web" in processes:
        raise refuse("web is the name of the server itself", "describe it under web:", at=("web",))
    return processes


class Settings(Model):
    """Every setting of one host, merged from all.yml, the stage, the host's entry and the command line."""

    app: Name = Field(description="The application's name: names the directory, the unix user and the programs.")
    layout: Literal["standard", "seed"] = Field(
        default="standard", description="Default of root: below /srv (standard) or below /var/www (seed)."
    )
    root: Annotated[str, AfterValidator(_root)] = Field(
        default_factory=_default_root,
        description="The application's directory on the host. With layout: seed, /var/www/<app>.",
        json_schema_extra={"default": "/srv/<app>"},
    )
    user: Annotated[Name, AfterValidator(_not_root)] = Field(
        default_factory=_app,
        description="Unix user the application runs as; it cannot write code or configuration.",
        json_schema_extra={"default": "<app>"},
    )
    source: Source = Field(default=Source(), description="Where the application comes from.")
    python: Python = Field(default=Python(), description="The interpreter and the virtualenv.")
    web: Web = Field(description="The server that runs the application.")
    processes: Annotated[dict[ProcessName, Command], AfterValidator(_no_web_process)] = Field(
        default={},
        description="Background processes: name and command, run in the release with its virtualenv.",
    )
    manager: Manager = Field(
        default="supervisor", description="Program that keeps the server and the processes running."
    )
    site: Site = Field(description="What nginx serves.")
    env: dict[EnvName, FreeText] = Field(
        default={},
        description="Environment of the application. Values are text: put numbers, yes and no in quotes.",
    )
    secrets: LocalPath | None = Field(
        default=None,
        description="Local file of NAME=value lines for the environment; never in a command line or a log.",
    )
    shared: Shared = Field(default=Shared(), description="Directories and files that outlive releases.")
    hooks: Hooks = Field(default=Hooks(), description="Commands run at points of a deploy.")
    health: Health = Field(default=Health(), description="What proves a release healthy.")
    keep_releases: int = Field(default=5, ge=1, description="Good releases kept on the host.")
    host_keys: Literal["strict", "accept-new"] = Field(
        default="strict",
        description="Unknown SSH host keys: refuse them or remember them. Changed ones never pass.",
    )
    default_stage: str | None = Field(
        default=None, description="Stage that deploy and rollback use without -H. Only in all.yml."
    )

    # Filled in by the loader; no keys of a stage file.
    host: Host = Field(description="The host these settings are for.")
    stage: HostName = Field(description="The stage's name.")
    project: Path = Field(description="Local directory that holds hosts/.")

    @model_validator(mode="after")
    def _nginx_outwaits_the_server(self) -> Settings:
        timeout = self.web.settings.get("timeout", GUNICORN_TIMEOUT)
        read = self.site.timeouts.read
        if isinstance(timeout, (int, float)) and read <= timeout:
            raise refuse(
                f"expected more than the server's own timeout of {timeout} seconds "
                f"(web.settings.timeout), found {read}",
                "else nginx gives up on requests that are still being worked on",
                at=("site", "timeouts", "read"),
            )
        return self

    def local(self, path: str) -> Path:
        """A local path from the settings: `~` expanded, a relative one taken from the project."""
        return self.project / Path(path).expanduser()


def _checker(annotated: Any) -> Callable[[str], str]:
    validator = annotated.__metadata__[0]
    return validator.func  # type: ignore[no-any-return]


_checked_requirement = _checker(Requirement)

LOADER_FIELDS = frozenset({"host", "stage", "project"})
HOST_KEYS = frozenset(Host.model_fields) - {"name"}
