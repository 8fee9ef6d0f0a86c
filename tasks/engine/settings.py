"""The settings of one host, as typed and checked models.

These models are the single source: the checks, the JSON Schema for editors and
the reference page are all made from the fields and their descriptions. Types
are strict: `"2"` is no number and `true` is no number either.
"""

# No `from __future__ import annotations` here: the types are read from the fields.
import ipaddress
import math
import posixpath
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from . import pairs
from .checking import Check, Model, describe, names, refuse, setting, show
from .remote import drivers

# What exists. A new manager or server is added here and nowhere else in the settings.
Manager: TypeAlias = Literal["supervisor", "systemd", "circus", "runit"]
Server: TypeAlias = Literal["gunicorn", "chaussette"]

# A unix socket's path may have 107 bytes (sun_path is 108 with its closing NUL).
SOCKET_PATH_MAX = 107
LONGEST_SOCKET = "releases/20261121T104500Z-1234567890/run/web.sock"

GUNICORN_TIMEOUT = 30  # seconds; gunicorn's own default


# --- numbers and lists --------------------------------------------------------------------


def within(least: int, most: int | None = None) -> Check:
    """From `least` to `most`, both included."""

    def check(value: int) -> int:
        if value < least:
            raise refuse(f"expected {least} or more, found {describe(value)}")
        if most is not None and value > most:
            raise refuse(f"expected {most} or less, found {describe(value)}")
        return value

    return Check(check, {"minimum": least} if most is None else {"minimum": least, "maximum": most})


def _listed_once(values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise refuse(f"{show(value)} is listed twice")
        seen.add(value)


def _some(values: list[str]) -> list[str]:
    if not values:
        raise refuse("expected at least one, found none")
    _listed_once(values)
    return values


Positive = Annotated[int, within(1)]
Port = Annotated[int, within(1, 65535)]
SOME = Check(_some, {"minItems": 1})

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


def _like(pattern: str, expected: str, hint: str = "", *, private: bool = False) -> Check:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):  # compiled when it is needed
            raise refuse(f"expected {expected}" + ("" if private else f", found {show(value)}"), hint)
        return value

    return Check(check)


FreeText = Annotated[str, Check(_no_nul)]
Command = Annotated[str, Check(_one_line)]
LocalPath = Annotated[str, Check(_one_line)]

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
    _like(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "a variable name of letters, digits and _, that starts with no digit",
        private=True,  # by a slip a secret can be a key
    ),
    Check(_not_reserved),
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
_REQUIREMENT = _like(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])?\s?"
    r"(\s?(===?|~=|!=|<=?|>=?)\s?[A-Za-z0-9._*+!-]+(\s?,(?=.)|$))*",
    'a requirement, like "flasktodo==1.2"',
)
Requirement = Annotated[str, _REQUIREMENT]


def _header_value(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise refuse("a header's value may not hold control characters or line breaks")
    if "$" in value:
        raise refuse("a header's value may not hold $: nginx would take what follows for a variable")
    return value


HeaderValue = Annotated[str, Check(_header_value)]


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
    return str(_REQUIREMENT.run(value))


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


RelativePath = Annotated[str, Check(_inside)]


def _static_target(value: str) -> str:
    module, colon, directory = value.partition(":")
    if not colon:
        return _inside(value)
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module, re.ASCII):
        raise refuse(f"expected module:directory, found {show(value)}")
    return f"{module}:{_inside(directory)}"


# What cannot be an application's root: these, and everything that belongs to the system.
_SHARED_TOP = r"/|/(home|srv|opt|mnt|media|usr/local)|/var(/(www|lib|local|opt|cache|spool))?"
_SYSTEM = r"/(tmp|etc|s?bin|lib(32|64)?|root|run|proc|sys|dev|boot|usr(?!/local/)|var/(tmp|run|lock|log))(/.*)?"


def _root(value: str) -> str:
    if not value.startswith("/") or posixpath.normpath(value) != value or value.startswith("//"):
        raise refuse(f"expected an absolute path without . .. // or a closing slash, found {show(value)}")
    if not re.fullmatch(r"[A-Za-z0-9._/@+ -]+", value):
        raise refuse(f"only letters, digits, space and . _ / @ + - are allowed, found {show(value)}")
    if any(part != part.strip() or part.startswith("-") for part in value.split("/")):
        raise refuse("no part of the path may start with - or begin or end with a space")
    if re.fullmatch(f"{_SHARED_TOP}|{_SYSTEM}", value):
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


UrlPrefix = Annotated[str, Check(_url_prefix)]


def _health_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise refuse(f"expected a path that starts with /, without spaces and #, found {show(value)}")
    return value


# --- names on the network -----------------------------------------------------------------

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def _is_dns_name(value: str) -> bool:
    labels = value.split(".")
    return len(value) <= 253 and all(re.fullmatch(_LABEL, label) for label in labels) and not labels[-1].isdigit()


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


PlainValue = Annotated[Any, Check(_plain_value)]


def _server_settings(settings: dict[str, Any]) -> dict[str, Any]:
    for name, why in _WHY_NOT.items():
        harmless = name in ("daemon", "reload") and settings.get(name) is False
        if name in settings and not harmless:
            raise refuse(f"{name} cannot be set here: {why}", at=(name,))
    return settings


# --- models -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Host(Model):
    """One server of a stage."""

    name: HostName = setting("The host's short name: its key below `hosts`.")
    address: Address = setting(
        "Host name, IP address or ssh_config alias. Default: the host's short name.",
        derived=lambda data: str(data.get("name", "")),
    )
    user: LoginUser | None = setting("Who logs in over SSH. Default: as ssh_config or Fabric says.", None)
    port: Port | None = setting("SSH port. Default: as ssh_config says.", None)
    key: LocalPath | None = setting("Local path of the private key to log in with.", None)
    known_hosts: LocalPath | None = setting(
        "Local path of a known_hosts file to check this host's key with. Default: your own.", None
    )


SOURCES = ("path", "git", "package")


def _the_project_by_default(source: Any) -> Any:
    unsaid = isinstance(source, dict) and all(source.get(kind) is None for kind in SOURCES)
    return {**source, "path": "."} if unsaid else source


@dataclass(frozen=True, kw_only=True)
class Source(Model):
    """Where the application comes from: one of path, git and package."""

    path: LocalPath | None = setting(
        "Local git repository. Default, without git and package: the project.", None, shown="."
    )
    git: Annotated[str, Check(_git_url)] | None = setting(
        "URL of a git repository to deploy from, instead of a local one.", None
    )
    package: Annotated[str, Check(_package)] | None = setting(
        "Package to install instead: a requirement like flasktodo==1.2, or a local wheel.", None
    )
    ref: Annotated[str, Check(_revision)] = setting(
        "Branch, tag or commit. HEAD: what is checked out; with git, the default branch.", "HEAD"
    )

    def check(self, given: Collection[str]) -> None:
        kinds = [kind for kind in SOURCES if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise refuse(
                f"expected one of path, git and package, found {' and '.join(kinds)}",
                f"a stage drops what all.yml sets with null, as in {kinds[0]}: null",
            )
        if self.package is not None and "ref" in given:
            raise refuse("a package has no ref", "name its version in package, as in flasktodo==1.2", at=("ref",))


@dataclass(frozen=True, kw_only=True)
class Python(Model):
    """The interpreter and what is installed into the virtualenv."""

    version: PythonVersion | None = setting(
        'Version of Python, in quotes, like "3.11". Default: the python3 of the host.', None
    )
    requirements: RelativePath = setting(
        "The file of requirements in the source. auto: uv.lock, pylock.toml, requirements.txt "
        "or pyproject.toml, the first that is there.",
        "auto",
    )
    installer: Literal["auto", "uv", "pip"] = setting(
        "What installs the requirements. auto: uv where it can be had, else pip.", "auto"
    )
    wheelhouse: LocalPath | None = setting(
        "Local directory of wheels to install from, when hosts cannot reach a package index.", None
    )
    packages: list[Requirement] = setting("Further requirements to install, like [psycopg, sentry-sdk>=2].", [])


@dataclass(frozen=True, kw_only=True)
class Web(Model):
    """The server that runs the application."""

    app: WebApp = setting('WSGI or ASGI callable, like "mysite.wsgi:application".')
    server: Server = setting("Program that runs the application.", "gunicorn")
    workers: Positive = setting("Number of worker processes.", 2)
    settings: Annotated[dict[ServerSetting, PlainValue], Check(_server_settings)] = setting(
        "Any of the server's own settings, under its own names, checked by the server itself.", {}
    )
    bind: Annotated[str, Check(_bind)] = setting(
        "socket: a unix socket in each release. Or an address and port like 127.0.0.1:8004, "
        "from which on each release takes a port of its own.",
        "socket",
    )


@dataclass(frozen=True, kw_only=True)
class Timeouts(Model):
    """How long nginx waits for the application, in seconds."""

    connect: Positive = setting("Seconds to wait for a connection to the application.", 10)
    read: Positive = setting("Seconds between two reads; must be above the server's own timeout (gunicorn: 30).", 60)
    send: Positive = setting("Seconds between two writes of the request.", 60)


@dataclass(frozen=True, kw_only=True)
class Site(Model):
    """What nginx serves."""

    domains: Annotated[list[Annotated[str, Check(_domain)]], SOME] = setting(
        "Names the site answers to; the health check asks for the first. Wildcards may follow."
    )
    path: Annotated[str, Check(_url_path)] = setting("URL path the application lives below, like /shop.", "/")
    port: Port = setting("Port nginx listens on.", 80)
    static: dict[UrlPrefix, Annotated[str, Check(_static_target)]] = setting(
        "URL prefix: directory in the release; module:directory for one in an installed package.", {}
    )
    media: dict[UrlPrefix, RelativePath] = setting("URL prefix: directory in shared, served by nginx.", {})
    headers: dict[HeaderName, HeaderValue] = setting("Further response headers.", {})
    timeouts: Timeouts = setting("How long nginx waits for the application.", Timeouts())
    client_max_body_size: Size = setting("Largest request body that is accepted (nginx's own setting).", "1m")
    keepalive_timeout: Annotated[int, within(0)] = setting("Seconds nginx keeps a client's idle connection open.", 75)
    upstream_keepalive: Annotated[int, within(0)] = setting(
        "Idle connections to the application each nginx worker keeps open. 0: none.", 0
    )

    def check(self, given: Collection[str]) -> None:
        if self.domains[0].startswith("*."):
            raise refuse("the first domain may not be a wildcard: the health check asks for it", at=("domains",))
        for prefix in self.media:
            if prefix in self.static:
                raise refuse(f"{prefix} is in static already", at=("media", prefix))


def _shared_files(value: Any) -> Any:
    """A plain list means: each from the release."""
    if isinstance(value, (list, dict)) and all(isinstance(name, str) for name in value):
        _listed_once(posixpath.normpath(name) for name in value)  # ./a and a are one file
        return dict.fromkeys(value) if isinstance(value, list) else value
    return value


A_PLAIN_LIST = Check(_shared_files, {"type": "array", "items": {"type": "string"}}, before=True)


def _no_nesting(paths: Iterable[str]) -> None:
    ordered = sorted(paths)
    _listed_once(ordered)
    for outer in ordered:
        for inner in ordered:
            if inner.startswith(outer + "/"):
                raise refuse(f"{show(inner)} lies inside {show(outer)}, which is shared as a whole")


@dataclass(frozen=True, kw_only=True)
class Shared(Model):
    """What outlives releases: kept in shared/ on the host and linked into public/."""

    dirs: list[RelativePath] = setting("Directories, like [media].", [])
    files: Annotated[dict[RelativePath, LocalPath | None], A_PLAIN_LIST] = setting(
        "File: the local path it is put there from, the first time and when it changed. "
        "A plain list: from the release, the first time only.",
        {},
    )

    def check(self, given: Collection[str]) -> None:
        _no_nesting([*self.dirs, *self.files])


@dataclass(frozen=True, kw_only=True)
class Hook(Model):
    """One command of a hook."""

    run: Command = setting("Shell command, run in the release with its virtualenv and environment.")
    timeout: Positive = setting("Seconds until the command is ended and counts as failed.", 600)


def _a_command_alone(hook: Any) -> Any:
    return {"run": hook} if isinstance(hook, str) else hook


Commands = list[Annotated[Hook, Check(_a_command_alone, {"type": "string"}, before=True)]]


@dataclass(frozen=True, kw_only=True)
class Hooks(Model):
    """Commands run at points of a deploy. One that fails ends the deploy."""

    build: Commands = setting("Once the virtualenv is ready.", [])
    before_switch: Commands = setting(
        "Before traffic goes to the new release, like python manage.py migrate --noinput.", []
    )
    after_switch: Commands = setting("Once the new release serves.", [])


@dataclass(frozen=True, kw_only=True)
class Health(Model):
    """What proves a release healthy."""

    path: Annotated[str, Check(_health_path)] = setting("Path as the application sees it.", "/")
    status: Annotated[int, within(100, 599)] = setting("HTTP status it must answer with.", 200)
    timeout: Positive = setting("Seconds it has to answer so.", 30)


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


@dataclass(frozen=True, kw_only=True)
class Settings(Model):
    """Every setting of one host, merged from all.yml, the stage, the host's entry and the command line."""

    app: Name = setting("The application's name: names the directory, the unix user and the programs.")
    layout: Literal["standard", "seed"] = setting(
        "Default of root: below /srv (standard) or below /var/www (seed).", "standard"
    )
    root: Annotated[str, Check(_root)] = setting(
        "The application's directory on the host. With layout: seed, /var/www/<app>.",
        derived=_default_root,
        shown="/srv/<app>",
    )
    user: Annotated[Name, Check(_not_root)] = setting(
        "Unix user the application runs as; it cannot write code or configuration.", derived=_app, shown="<app>"
    )
    source: Annotated[Source, Check(_the_project_by_default, before=True)] = setting(
        "Where the application comes from.", Source(path=".")
    )
    python: Python = setting("The interpreter and the virtualenv.", Python())
    web: Web = setting("The server that runs the application.")
    processes: Annotated[dict[ProcessName, Command], Check(_no_web_process)] = setting(
        "Background processes: name and command, run in the release with its virtualenv.", {}
    )
    manager: Manager = setting("Program that keeps the server and the processes running.", "supervisor")
    site: Site = setting("What nginx serves.")
    env: dict[EnvName, FreeText] = setting(
        "Environment of the application. Values are text: put numbers, yes and no in quotes.", {}
    )
    secrets: LocalPath | None = setting(
        "Local file of NAME=value lines for the environment; never in a command line or a log.", None
    )
    shared: Shared = setting("Directories and files that outlive releases.", Shared())
    hooks: Hooks = setting("Commands run at points of a deploy.", Hooks())
    health: Health = setting("What proves a release healthy.", Health())
    keep_releases: Positive = setting("Good releases kept on the host.", 5)
    host_keys: Literal["strict", "accept-new"] = setting(
        "Unknown SSH host keys: refuse them or remember them. Changed ones never pass.", "strict"
    )
    default_stage: str | None = setting("Stage that deploy and rollback use without -H. Only in all.yml.", None)

    # Filled in by the loader; no keys of a stage file.
    host: Host = setting("The host these settings are for.")
    stage: HostName = setting("The stage's name.")
    project: Path = setting("Local directory that holds hosts/.")

    def check(self, given: Collection[str]) -> None:
        timeout = self.web.settings.get("timeout", GUNICORN_TIMEOUT)
        read = self.site.timeouts.read
        if isinstance(timeout, (int, float)) and read <= timeout:
            raise refuse(
                f"expected more than the server's own timeout of {timeout} seconds "
                f"(web.settings.timeout), found {read}",
                "else nginx gives up on requests that are still being worked on",
                at=("site", "timeouts", "read"),
            )

        self._check_drivers()

    def _check_drivers(self) -> None:
        """Refuse a server together with what it cannot do."""
        name, server = self.web.server, drivers.server(self.web.server)
        if problem := pairs.problem(name, self.manager):
            raise refuse(*problem, at=("web", "server"))
        if server.is_one_process and self.web.workers > 1 and not drivers.manager(self.manager).copies:
            raise refuse(
                f"{name} is one process, and {self.manager} runs one of it",
                "set web.workers to 1",
                at=("web", "workers"),
            )
        if server.prefix == "none" and self.site.path != "/":
            raise refuse(
                f"{name} cannot be told that the application lives below a path",
                "give it a domain of its own, or take another server: gunicorn",
                at=("site", "path"),
            )

    def local(self, path: str) -> Path:
        """A local path from the settings: `~` expanded, a relative one taken from the project."""
        return self.project / Path(path).expanduser()


LOADER_FIELDS = frozenset({"host", "stage", "project"})
HOST_KEYS = frozenset(names(Host)) - {"name"}
