"""The settings of one host, as typed and checked models.

These models are the single source: the checks, the JSON Schema for editors and
the reference page are all made from the fields and their descriptions. Types
are strict: `"2"` is no number and `true` is no number either.
"""

# No `from __future__ import annotations` here: pydantic reads the types from the fields.
import contextlib
import ipaddress
import math
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from . import pairs
from .remote import drivers
from .remote.domains import HTTP_PORT
from .wording import Refused, describe, one_of, show

# A unix socket's path may have 107 bytes (sun_path is 108 with its closing NUL).
SOCKET_PATH_MAX = 107
LONGEST_RUN = "releases/20261121T104500Z-1234567890/run"
LONGEST_SOCKET = f"{LONGEST_RUN}/web.sock"

# --- numbers and lists --------------------------------------------------------------------


def _listed_once(values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Refused(f"{show(value)} is listed twice")
        seen.add(value)


def _each_once(values: list[str]) -> list[str]:
    _listed_once(values)
    return values


def _domains_once(values: list[str]) -> list[str]:
    _listed_once(value.lower() for value in values)
    return values


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]

# --- text ---------------------------------------------------------------------------------


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise Refused("a NUL character is not allowed")
    return value


def _one_line(value: str) -> str:
    if not value.strip():
        raise Refused("expected some text, found none")
    if any(char in value for char in "\0\n\r"):
        raise Refused("expected one line of text, found a line break or a NUL character")
    return value


def _like(pattern: str, expected: str, hint: str = "", *, private: bool = False) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):  # compiled when it is needed
            raise Refused(f"expected {expected}" + ("" if private else f", found {show(value)}"), hint)
        return value

    return AfterValidator(check)


FreeText = Annotated[str, AfterValidator(_no_nul)]
Command = Annotated[str, AfterValidator(_one_line)]
LocalPath = Annotated[str, AfterValidator(_one_line)]

Name = Annotated[
    str,
    _like(
        r"[a-z_][a-z0-9_-]{0,30}",
        "a name of at most 31 lower-case letters, digits, - and _, that starts with a letter",
    ),
]
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
        raise Refused(f"{value} cannot be set: the shell or the server keeps it for itself")
    return value


EnvName = Annotated[
    str,
    _like(
        r"[A-Za-z_][A-Za-z0-9_]*",
        "a variable name of letters, digits and _, that starts with no digit",
        private=True,  # by a slip a secret can be a key
    ),
    AfterValidator(_not_reserved),
]
Secret = Annotated[
    Annotated[str, _like(r"([A-Za-z_]\w*)?", "the name of one of the secrets, or false", private=True)]
    | None,
    BeforeValidator(lambda name: "" if name is False else name, json_schema_input_type=str | Literal[False] | None),
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
UnitSetting = Annotated[str, _like(r"[A-Za-z][A-Za-z0-9_-]*", "the name of a setting of the manager")]
Size = Annotated[str, _like(r"[0-9]+[kKmMgG]?", 'a size as nginx writes it, like "512k" or "20m"')]
WebApp = Annotated[
    str,
    _like(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\([ -~]*\))?",
        'module:callable, like "mysite.wsgi:application"',
    ),
]
SystemPackage = Annotated[
    str, _like(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?", 'the name of a system package, like "libpq5"')
]
PythonVersion = Annotated[str, _like(r"3\.[0-9]+(\.[0-9]+)?", 'a version of Python, like "3.11"')]
_REQUIREMENT = (
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._, -]+\])?\s?"
    r"(\s?(===?|~=|!=|<=?|>=?)\s?[A-Za-z0-9._*+!-]+(\s?,(?=.)|$))*"
)
Requirement = Annotated[str, _like(_REQUIREMENT, 'a requirement, like "flasktodo==1.2"')]
Package = Annotated[str, _like(rf"[^\0\n\r]*\.whl|{_REQUIREMENT}", 'a requirement, like "flasktodo==1.2"')]


def _header_value(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise Refused("a header's value may not hold control characters or line breaks")
    if "$" in value:
        raise Refused("a header's value may not hold $: nginx would take what follows for a variable")
    return value


HeaderValue = Annotated[str, AfterValidator(_header_value)]


SECURE = "secure"


def _headers(value: Any) -> Any:
    """secure is a switch among headers, which are text: kept as text, so that all of them are checked alike."""
    if value == SECURE:
        return {SECURE: "true"}
    if isinstance(value, dict) and isinstance(value.get(SECURE), bool):
        rest = {name: text for name, text in value.items() if name != SECURE}
        return {SECURE: "true", **rest} if value[SECURE] else rest
    return value


def _secure_is_a_switch(headers: dict[str, str]) -> dict[str, str]:
    if headers.get(SECURE, "true") != "true":
        raise Refused(f"expected true for the documented set, or false, found {show(headers[SECURE])}", at=(SECURE,))
    return headers


Headers = Annotated[
    dict[HeaderName, HeaderValue],
    BeforeValidator(_headers, json_schema_input_type=Literal["secure"] | dict[HeaderName, HeaderValue | bool]),
    AfterValidator(_secure_is_a_switch),
]
CookieName = Annotated[str, _like(r"[A-Za-z0-9_.-]+", "the name of a cookie, of letters, digits and _ . -")]
Rate = Annotated[str, _like(r"[1-9][0-9]{0,6}r/[sm]", 'a rate as nginx writes it, like "10r/s" or "30r/m"')]


def _revision(value: str) -> str:
    _one_line(value)
    if value.startswith("-"):
        raise Refused("a revision may not start with -")
    if re.search(r"[\s\x00-\x1f\x7f:?*\[\\]|\.\.", value):
        raise Refused("expected a branch, a tag or a commit, found something that cannot name one")
    return value


def _git_url(value: str) -> str:
    _one_line(value)
    if value.startswith("-"):
        raise Refused("the address of a repository may not start with -")
    if re.match(r"[A-Za-z0-9]+::", value):
        raise Refused("git's transport helpers (name::address) are not allowed: they run commands")
    return value


def _mirror(value: str) -> str:
    if not re.fullmatch(r"(https?://|file:///|/)[!-~]+", value):
        raise Refused(f"expected https://…, file:///… or an absolute directory on the host, found {show(value)}")
    return value


# --- paths --------------------------------------------------------------------------------


def _inside(value: str) -> str:
    """A relative path that stays inside its directory, without `./` and closing slashes."""
    _one_line(value)
    if value.startswith("/"):
        raise Refused(f"expected a relative path, found {show(value)}")
    if ".." in value.split("/"):
        raise Refused("a path may not lead out of its directory with ..")
    path = posixpath.normpath(value)
    if path == ".":
        raise Refused("expected a path inside the directory, found the directory itself")
    return path


RelativePath = Annotated[str, AfterValidator(_inside)]


def _static_target(value: str) -> str:
    module, colon, directory = value.partition(":")
    if not colon:
        return _inside(value)
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module, re.ASCII):
        raise Refused(f"expected module:directory, found {show(value)}")
    return f"{module}:{_inside(directory)}"


# What cannot be an application's root: these, and everything that belongs to the system.
_SHARED_TOP = r"/|/(home|srv|opt|mnt|media|usr/local)|/var(/(www|lib|local|opt|cache|spool))?"
_SYSTEM = r"/(tmp|etc|s?bin|lib(32|64)?|root|run|proc|sys|dev|boot|usr(?!/local/)|var/(tmp|run|lock|log))(/.*)?"


def _root(value: str) -> str:
    if not value.startswith("/") or posixpath.normpath(value) != value or value.startswith("//"):
        raise Refused(f"expected an absolute path without . .. // or a closing slash, found {show(value)}")
    if not re.fullmatch(r"[A-Za-z0-9._/@+ -]+", value):
        raise Refused(f"only letters, digits, space and . _ / @ + - are allowed, found {show(value)}")
    if any(part != part.strip() or part.startswith("-") for part in value.split("/")):
        raise Refused("no part of the path may start with - or begin or end with a space")
    if re.fullmatch(f"{_SHARED_TOP}|{_SYSTEM}", value):
        raise Refused(f"{value} belongs to the system", "a directory of the application's own, like /srv/myapp")
    longest = len(f"{value}/{LONGEST_SOCKET}")
    if longest > SOCKET_PATH_MAX:
        too_many = longest - SOCKET_PATH_MAX
        raise Refused(
            f"the path is {len(value)} bytes long, at most {len(value) - too_many} fit: "
            f"a release's socket, {LONGEST_SOCKET} below it, would have {longest} bytes "
            f"and a unix socket's path at most {SOCKET_PATH_MAX}"
        )
    return value


def _url_path(value: str) -> str:
    dots = {".", ".."} & set(value.split("/"))
    if dots or not re.fullmatch(r"/|(/[A-Za-z0-9._~@+-]+)+", value):
        raise Refused(
            f"expected / or a path like /shop, without a closing slash, found {show(value)}",
            "letters, digits and . _ ~ @ + - are allowed",
        )
    return value


def _url_prefix(value: str) -> str:
    if not (len(value) > 2 and value.startswith("/") and value.endswith("/")):
        raise Refused(f"expected a URL prefix that starts and ends with /, like /static/, found {show(value)}")
    _url_path(value[:-1])
    return value


UrlPrefix = Annotated[str, AfterValidator(_url_prefix)]
HOST_PATH = r"(/[A-Za-z0-9_][A-Za-z0-9._@+-]*)+"
HostPath = Annotated[str, _like(HOST_PATH, "an absolute path on the host")]


def _health_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]*", value) or "#" in value:
        raise Refused(f"expected a path that starts with /, without spaces and #, found {show(value)}")
    return value


# --- names on the network -----------------------------------------------------------------

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"


def is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value


def _is_dns_name(value: str) -> bool:
    labels = value.split(".")
    return len(value) <= 253 and all(re.fullmatch(_LABEL, label) for label in labels) and not labels[-1].isdigit()


def _domain(value: str) -> str:
    if is_ip(value) and ":" in value:
        raise Refused("an IPv6 address is written in brackets here", f'write "[{value}]"')
    bracketed = value.startswith("[") and value.endswith("]") and ":" in value and is_ip(value[1:-1])
    name = value[2:] if value.startswith("*.") and "." in value[2:] else value
    if not (bracketed or is_ip(value) or _is_dns_name(name)):
        raise Refused(f"expected a host name or an IP address, found {show(value)}", _domain_hint(value))
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
    known = bare == "localhost" or (is_ip(bare) and (":" in bare) == (bare != host))
    if not known or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 1 <= int(port) <= 65535:
        raise Refused(f'expected "socket" or an address and port like 127.0.0.1:8004, found {show(value)}')
    return value


ALL = "all"
RESERVED = "/.fabrelease/"  # URLs that nginx alone uses, within itself


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        hint = f"write {ipaddress.ip_network(value, strict=False)}" if "host bits" in str(error) else ""
        raise Refused(f"expected an address or a network like 10.0.0.0/8, found {show(value)}", hint) from None
    if "%" in value:
        raise Refused("an address with a zone (%) is not allowed")
    return value


def _network_or_all(value: str) -> str:
    return value if value == ALL else _network(value)


Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], AfterValidator(_each_once)]
NetworksOrAll = Annotated[list[Annotated[str, AfterValidator(_network_or_all)]], AfterValidator(_each_once)]

# --- drivers ------------------------------------------------------------------------------


def _named_in(kind: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in drivers.packaged(kind) and name not in drivers.outside(kind):
            raise Refused(*one_of(drivers.names(kind), name))
        return name

    return AfterValidator(check)


def _own_and_others(kind: str) -> WithJsonSchema:
    """For editors: this package's own are proposed, and others are taken."""
    return WithJsonSchema({"anyOf": [{"enum": drivers.packaged(kind)}, {"type": "string"}]})


ServerName = Annotated[str, _named_in("servers"), _own_and_others("servers")]
ManagerName = Annotated[str, _named_in("managers"), _own_and_others("managers")]

# --- values passed through ----------------------------------------------------------------


def _plain_value(value: Any) -> Any:
    """Nothing but what every configuration language can say: refuses dates, bytes, nan and inf."""
    if isinstance(value, str):
        return _no_nul(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise Refused("nan and inf are not allowed")
    if isinstance(value, list):
        return [_plain_value(item) for item in value]
    if isinstance(value, dict):
        return {_plain_key(key): _plain_value(item) for key, item in value.items()}
    if value is not None and not isinstance(value, (bool, int, float)):
        kind = type(value).__name__
        raise Refused(
            f"expected text, a number, true, false, a list or a mapping, found a {kind}", "put it in quotes"
        )
    return value


def _plain_key(key: Any) -> str:
    if not isinstance(key, str):
        raise Refused("expected text as a key, found something else", "put it in quotes")
    return _no_nul(key)


PlainValue = Annotated[Any, AfterValidator(_plain_value)]


# --- models -------------------------------------------------------------------------------


# Defaults of sections, as a file would say them: they are read like what a file says.
UNSAID: Any = {}
SUPERVISOR: Any = "supervisor"


class Model(BaseModel):
    """What every section has in common: an unknown key is a mistake, and nothing is converted or changed."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        defer_build=True,  # the sections are built once, with the whole
        hide_input_in_errors=True,  # there are secrets among the values
    )


Role = Literal["app", "proxy", "worker"]
ROLES: tuple[Role, ...] = get_args(Role)


def _reachable(value: str) -> str:
    if not is_ip(value) or ipaddress.ip_address(value).is_loopback:
        raise Refused(f"expected an IP address that other hosts reach, found {show(value)}")
    return value


class Host(Model):
    """One server of a stage."""

    name: HostName = Field(description="The host's short name: its key below `hosts`.")
    address: Address = Field(
        default_factory=lambda data: data.get("name", "name"),
        description="Host name, IP address or ssh_config alias. Default: the host's short name.",
    )
    user: LoginUser | None = Field(None, description="Who logs in over SSH. Default: as ssh_config or Fabric says.")
    port: Port | None = Field(None, description="SSH port. Default: as ssh_config says.")
    key: LocalPath | None = Field(None, description="Local path of the private key to log in with.")
    known_hosts: LocalPath | None = Field(
        None, description="Local path of a known_hosts file to check this host's key with. Default: your own."
    )
    roles: Annotated[list[Role], Field(min_length=1), AfterValidator(_each_once)] = Field(
        list(ROLES),
        description="What the host is for: app (the server, and its nginx), worker (the processes), "
        "proxy (without app: an nginx that balances over the app hosts).",
    )
    private: Annotated[str, AfterValidator(_reachable)] | None = Field(
        None, description="IP address that app and proxy hosts know each other by. Default: address, where it is one."
    )
    weight: Positive = Field(1, description="Share of the requests that the proxies pass to this app host.")
    backup: bool = Field(False, description="Asked by the proxies only when no other app host answers.")

    @property
    def inside(self) -> str:
        """The address that other hosts of the stage know it by; empty where that is not said."""
        with contextlib.suppress(Refused):
            return _reachable(self.private or self.address)
        return ""


SOURCES = ("path", "git", "package")


def _the_project_by_default(source: Any) -> Any:
    unsaid = isinstance(source, dict) and all(source.get(kind) is None for kind in SOURCES)
    return {**source, "path": "."} if unsaid else source


class Source(Model):
    """Where the application comes from: one of path, git and package."""

    path: LocalPath | None = Field(
        None,
        description="Local git repository. Default, without git and package: the project.",
        json_schema_extra={"default": "."},
    )
    git: Annotated[str, AfterValidator(_git_url)] | None = Field(
        None, description="URL of a git repository to deploy from, instead of a local one."
    )
    package: Package | None = Field(
        None, description="Package to install instead: a requirement like flasktodo==1.2, or a local wheel."
    )
    ref: Annotated[str, AfterValidator(_revision)] = Field(
        "HEAD", description="Branch, tag or commit. HEAD: what is checked out; with git, the default branch."
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> "Source":
        kinds = [kind for kind in SOURCES if getattr(self, kind) is not None]
        if len(kinds) > 1:
            raise Refused(
                f"expected one of path, git and package, found {' and '.join(kinds)}",
                f"a stage drops what all.yml sets with null, as in {kinds[0]}: null",
            )
        if self.package is not None and "ref" in self.model_fields_set:
            raise Refused("a package has no ref", "name its version in package, as in flasktodo==1.2", at=("ref",))
        return self


class Python(Model):
    """The interpreter and what is installed into the virtualenv."""

    version: PythonVersion | None = Field(
        None, description='Version of Python, in quotes, like "3.11". Default: the python3 of the host.'
    )
    requirements: RelativePath = Field(
        "auto",
        description="The file of requirements in the source. auto: uv.lock, pylock.toml, requirements.txt "
        "or pyproject.toml, the first that is there.",
    )
    installer: Literal["auto", "uv", "pip"] = Field(
        "auto", description="What installs the requirements. auto: uv where it can be had, else pip."
    )
    wheelhouse: LocalPath | None = Field(
        None, description="Local directory of wheels to install from, when hosts cannot reach a package index."
    )
    packages: list[Requirement] = Field(
        [], description="Further requirements to install, like [psycopg, sentry-sdk>=2]."
    )
    mirror: Annotated[str, AfterValidator(_mirror)] | None = Field(
        None,
        description="Where uv fetches a Python that the host and Debian lack: an address, or an absolute directory "
        "on the host (python-build-standalone's files). Default: uv's own address.",
    )


def _left_to_the_server(settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """What this project sets itself is refused; which that is, the server's driver knows."""
    if "server" in info.data:  # else it is refused itself
        server = drivers.server(info.data["server"])
        for name, why in server.refused.items():
            if name in settings and not (name in server.switches and settings[name] is False):
                raise Refused(f"{name} cannot be set here: {why}", at=(name,))
    return settings


class Web(Model):
    """The server that runs the application."""

    app: WebApp = Field(description='WSGI or ASGI callable, like "mysite.wsgi:application".')
    server: ServerName = Field("gunicorn", description="Program that runs the application.")
    workers: Positive = Field(2, description="Number of worker processes.")
    settings: Annotated[dict[ServerSetting, PlainValue], AfterValidator(_left_to_the_server)] = Field(
        {}, description="Any of the server's own settings, under its own names, checked by the server itself."
    )
    bind: Annotated[str, AfterValidator(_bind)] = Field(
        "socket",
        description="socket: a unix socket in each release. Or an address and port like 127.0.0.1:8004, "
        "from which on each release takes a port of its own.",
    )


class Timeouts(Model):
    """How long nginx waits for the application, in seconds."""

    connect: Positive = Field(10, description="Seconds to wait for a connection to the application.")
    read: Positive = Field(
        60, description="Seconds between two reads; must be above the server's own timeout (gunicorn: 30)."
    )
    send: Positive = Field(60, description="Seconds between two writes of the request.")


class PathTimeouts(Model):
    """How long nginx waits for the application below one path, in seconds."""

    connect: Positive | None = Field(None, description="As site.timeouts.connect.")
    read: Positive | None = Field(None, description="As site.timeouts.read: so long a connection may be silent.")
    send: Positive | None = Field(None, description="As site.timeouts.send.")


class LimitRequests(Model):
    """How often one address may ask. Who asks more often is answered 429."""

    rate: Rate = Field(description='Requests a second or a minute, like "10r/s" or "30r/m".')
    burst: Count = Field(0, description="So many more at once are answered without delay.")


class Cache(Model):
    """What nginx keeps of the application's answers, until they are too old or another release is live.

    What the application says by Cache-Control, Expires or X-Accel-Expires goes first; an answer with Set-Cookie is
    not kept. Requests with Authorization or a cookie of a session go past it.
    """

    valid: Count = Field(60, description="Seconds that the answers 200, 301, 302 and 308 are kept. 0: nothing is.")
    not_found: Count = Field(0, description="Seconds that the answers 404 and 410 are kept. 0: they are not.")
    stale: bool = Field(
        True, description="Answer from what is too old while the new is fetched, and where the application fails."
    )


def _nothing_kept(cache: Any) -> Any:
    return {"valid": 0} if cache is False else cache


class Served(Model):
    """What may be said of the whole site, and of a path differently."""

    allow: NetworksOrAll = Field(
        [], description="Addresses and networks that may ask, and no others. [all]: everybody."
    )
    deny: Networks = Field([], description="Addresses and networks that may not ask; looked at before allow.")
    basic_auth: Secret = Field(
        None,
        description="Ask for a name and password: the one of the secrets that holds them, as "
        "alice:password, parted by blanks. The application is not given it. false: do not ask, in a path.",
    )
    limit_requests: LimitRequests | None = Field(None, description="How often one address may ask.")
    limit_connections: Positive | None = Field(None, description="Requests of one address that may run at once.")
    request_buffering: bool | None = Field(
        None, description="false: pass a request's body on as it comes, instead of once it is there as a whole."
    )
    cache: Annotated[
        Cache | None, BeforeValidator(_nothing_kept, json_schema_input_type=Cache | Literal[False] | None)
    ] = Field(
        None, description="Keep answers of the application; {} for what is usual. false: do not, in a path."
    )

    def speaks_of(self, name: str) -> bool:
        """Whether a setting stands here."""
        return name in self.model_fields_set and getattr(self, name) is not None

    def admits(self, address: str) -> bool:
        """Whether an address may ask."""
        asking = ipaddress.ip_address(address)

        def is_in(networks: list[str]) -> bool:
            return any(name == ALL or asking in ipaddress.ip_network(name) for name in networks)

        return not is_in(self.deny) and (not self.allow or is_in(self.allow))


class SitePath(Served):
    """What is different below one path of the application, and below those in it that do not say so themselves."""

    client_max_body_size: Size | None = Field(None, description="As site.client_max_body_size.")
    websocket: bool = Field(False, description="Let a connection become a WebSocket.")
    stream: bool = Field(False, description="Pass each piece of an answer on at once, as server-sent events need it.")
    timeouts: PathTimeouts = Field(UNSAID, description="Where they differ from those of the site.")

    @property
    def kept(self) -> Cache | None:
        """What of its answers is kept: never a stream, nor what is asked for with a password."""
        is_kept = self.cache and self.cache.valid and not (self.stream or self.websocket or self.basic_auth)
        return self.cache if is_kept else None

class Static(Model):
    """A directory of files that nginx serves."""

    directory: Annotated[str, AfterValidator(_static_target)] = Field(
        description="Directory in the release; module:directory for one in an installed package."
    )
    autoindex: bool = Field(False, description="List what is in a directory.")
    immutable: bool | None = Field(
        None,
        description="Whether a name's file never changes: browsers keep it for a year, and those of older releases "
        "are served on. Default: where a hash is in the name, as Django's manifest and Vite write it.",
    )


def _a_directory_alone(static: Any) -> Any:
    return {"directory": static} if isinstance(static, str) else static


ErrorStatus = Annotated[
    str, _like(r"(?!444|499)[45][0-9]{2}", 'an HTTP status of an error in quotes, like "404"')
]


def _agreed(value: bool) -> bool:
    if not value:
        raise Refused("an authority gives certificates to those alone who agree to its terms", "read them: true")
    return value


class Acme(Model):
    """A certificate that certbot gets on the host and renews there, from Let's Encrypt or another authority."""

    email: Annotated[str, _like(r"[^@\s,]+@[A-Za-z0-9.-]+", "an e-mail address")] | None = Field(
        None, description="Where the authority may write to."
    )
    agree: Annotated[bool, AfterValidator(_agreed)] = Field(
        True, description="You agree to the authority's terms: who writes tls: acme does. false is refused."
    )
    server: Annotated[str, _like(r"letsencrypt|staging|https://[!-~]+", "letsencrypt, staging or https://…")] = Field(
        "letsencrypt",
        description="The authority: letsencrypt; staging, Let's Encrypt's own for trying, which no browser trusts; "
        "or the address of another one's ACME directory.",
    )
    hook: HostPath | None = Field(
        None,
        description="Program on the host, root's alone, that makes DNS records for the proof (DNS-01); it is run "
        "with auth or cleanup and certbot's variables. Default: the proof is asked for on port 80 (HTTP-01).",
    )
    otherwise: Literal["fail", "http"] = Field(
        "fail", description="Where no certificate can be had yet: fail, or go live over http meanwhile."
    )


class Tls(Model):
    """HTTPS: its certificate is acme's, or certificate with key; with neither, one that the host has already."""

    acme: Acme | None = Field(None, description="certbot gets the certificate and renews it. tls: acme for short.")
    certificate: LocalPath | None = Field(None, description="Local file: the certificate and its chain, in PEM.")
    key: LocalPath | None = Field(
        None, description="Local file: the certificate's key, treated like secrets; mode 0600 and root's on the host."
    )
    on_host: bool = Field(
        False, description="certificate and key are absolute paths on the host, of files that somebody else renews."
    )
    redirect: bool = Field(True, description="Send visitors of port 80 to https (308). false: serve them there, too.")
    hsts: Count = Field(
        0,
        description="Seconds that browsers are told to ask for the whole domain by https alone (HSTS). They cannot "
        "be told otherwise for so long: begin with 300. 0: it is not sent.",
    )

    @model_validator(mode="after")
    def _one_certificate(self) -> "Tls":
        if (self.certificate is None) != (self.key is None):
            missing = "certificate" if self.certificate is None else "key"
            raise Refused("certificate and key go together", f"add {missing}", at=(missing,))
        if self.acme and self.certificate:
            raise Refused(
                "expected one of acme and certificate, found both",
                "a stage drops what all.yml sets with null, as in acme: null",
            )
        if self.on_host and not (self.certificate and self.key):
            raise Refused("which files on the host, certificate and key have to say", at=("on_host",))
        for name in ("certificate", "key") if self.on_host else ():
            if not re.fullmatch(HOST_PATH, getattr(self, name)):
                raise Refused(f"expected an absolute path on the host, found {show(getattr(self, name))}", at=(name,))
        return self


def _acme_alone(tls: Any) -> Any:
    return {"acme": {}} if tls == "acme" else tls


class Balance(Model):
    """How proxy hosts pass requests to app hosts."""

    method: Literal["round_robin", "least_conn"] = Field(
        "round_robin", description="Who is next: each in turn, or the one with the fewest requests; by weight both."
    )
    max_fails: Count = Field(1, description="So often an app host fails until it is left alone. 0: never.")
    fail_timeout: Positive = Field(10, description="Seconds within which it fails so often, and is then left alone.")
    connect: Positive = Field(3, description="Seconds to wait for a connection to one before the next is asked.")
    authority: LocalPath | None = Field(
        None,
        description="Local file, PEM: what the certificates of app hosts with TLS are verified by. "
        "Default: the authorities that the proxy's system trusts.",
    )


class Site(Served):
    """What nginx serves."""

    domains: Annotated[
        list[Annotated[str, AfterValidator(_domain)]], Field(min_length=1), AfterValidator(_domains_once)
    ] = Field(description="Names the site answers to; the health check asks for the first. Wildcards may follow.")
    redirect_domains: Annotated[list[Annotated[str, AfterValidator(_domain)]], AfterValidator(_domains_once)] = Field(
        [], description="Further names, whose visitors are sent to the first of domains (308), path and query kept."
    )
    path: Annotated[str, AfterValidator(_url_path)] = Field(
        "/", description="URL path the application lives below, like /shop; others may have other paths of a domain."
    )
    port: Port = Field(80, description="Port nginx listens on.")
    tls: Annotated[Tls, BeforeValidator(_acme_alone, json_schema_input_type=Tls | Literal["acme"])] | None = Field(
        None, description="HTTPS on port 443: acme, or a section. Default: where the host has certificates already."
    )
    static: dict[
        UrlPrefix, Annotated[Static, BeforeValidator(_a_directory_alone, json_schema_input_type=Static | str)]
    ] = Field({}, description="URL prefix: directory in the release, its name alone or a section.")
    media: dict[UrlPrefix, RelativePath] = Field({}, description="URL prefix: directory in shared, served by nginx.")
    paths: dict[UrlPrefix, SitePath] = Field({}, description="URL prefix: what is different below it.")
    public: RelativePath | None = Field(
        None, description="Directory in the release whose files are served before the application is asked."
    )
    headers: Headers = Field(
        {}, description="Further response headers; secure, or secure: true among them, for the documented set."
    )
    session_cookies: list[CookieName] = Field(
        ["sessionid", "session"], description="Cookies whose requests go past the cache."
    )
    cache_max_size: Size = Field("256m", description="Most that the cache may have on disk.")
    cache_status: bool = Field(False, description="Say in a header X-Cache what the cache did.")
    balance: Balance = Field(UNSAID, description="How proxy hosts pass requests to app hosts.")
    trusted_proxies: Networks = Field(
        [], description="Proxies in front, that are believed whom they ask for: X-Forwarded-For, X-Forwarded-Proto."
    )
    access_log: Literal["combined", "json"] = Field("combined", description="How a line of the access log reads.")
    error_pages: dict[ErrorStatus, RelativePath | None] = Field(
        {},
        description="Status in quotes: HTML file in the release that nginx shows with it; null: a short page "
        "of ours, as 502 and 504 have anyway.",
    )
    intercept_errors: bool = Field(
        False, description="Show these pages in place of the application's own error answers, too."
    )
    timeouts: Timeouts = Field(UNSAID, description="How long nginx waits for the application.")
    client_max_body_size: Size = Field(
        "1m", description="Largest request body that is accepted (nginx's own setting)."
    )
    keepalive_timeout: Count = Field(75, description="Seconds nginx keeps a client's idle connection open.")
    upstream_keepalive: Count = Field(
        0, description="Idle connections to the application each nginx worker keeps open. 0: none."
    )

    @property
    def pages(self) -> dict[str, str | None]:
        """The statuses that have a page, by the file in the release; None for one of ours."""
        return {"502": None, "504": None, **self.error_pages}

    @model_validator(mode="after")
    def _fits_together(self) -> "Site":
        if self.domains[0].startswith("*."):
            raise Refused("the first domain may not be a wildcard: the health check asks for it", at=("domains",))
        for domain in self.redirect_domains:
            if domain.lower() in map(str.lower, self.domains):
                raise Refused(f"{domain} is in domains already", at=("redirect_domains",))
        taken: dict[str, str] = {}
        for kind in ("static", "media", "paths"):
            for prefix in getattr(self, kind):
                self._take(taken, kind, prefix)
        if self.tls:
            self._check_tls(self.tls)
        return self

    def _take(self, taken: dict[str, str], kind: str, prefix: str) -> None:
        """One location for each prefix: /ws/ and /shop/ws/ are one below /shop."""
        whole = self.below(prefix)
        if whole.startswith(self.below(RESERVED)):
            raise Refused(f"what begins with {RESERVED} is kept for other uses", at=(kind, prefix))
        if other := taken.get(whole):
            itself = kind == "paths" != other
            said = f"nginx serves {prefix} itself: it is in {other}" if itself else f"{prefix} is in {other} already"
            raise Refused(said, at=(kind, prefix))
        taken[whole] = kind

    def below(self, prefix: str) -> str:
        """A URL prefix below the site's path; one that names the path already is taken as it is."""
        path = self.path.rstrip("/")
        return prefix if prefix.startswith(f"{path}/") else path + prefix

    def said_at(self, prefix: str, name: str) -> str:
        """The path, of those that a prefix lies in, which decides a setting; / where none of them speaks of it."""
        whole = self.below(prefix)
        around = [outer for outer in self.paths if whole.startswith(self.below(outer))]
        nearest = sorted(around, key=lambda outer: -len(self.below(outer)))
        return next((outer for outer in nearest if self.paths[outer].speaks_of(name)), "/")

    def at(self, prefix: str) -> SitePath:
        """All that holds below a prefix."""
        said: dict[str, Any] = {name: getattr(self, name) for name in Served.model_fields}
        for name in SitePath.model_fields:
            if (place := self.said_at(prefix, name)) != "/":
                said[name] = getattr(self.paths[place], name)
        return SitePath.model_construct(**{"timeouts": PathTimeouts(connect=None, read=None, send=None), **said})

    def static_at(self, prefix: str) -> Static:
        """What is said of a prefix of static."""
        return next(own for said, own in self.static.items() if self.below(said) == self.below(prefix))

    @property
    def places(self) -> dict[str, Served]:
        """The whole site, and each path of it."""
        return {"/": self, **self.paths}

    @property
    def own_headers(self) -> dict[str, str]:
        """The headers that the settings name with their values."""
        return {name: value for name, value in self.headers.items() if name != SECURE}

    @property
    def names(self) -> list[str]:
        """All domains, of both kinds."""
        return [*self.domains, *self.redirect_domains]

    def _check_tls(self, tls: Tls) -> None:
        if self.port != HTTP_PORT:
            raise Refused("with tls, the site is on port 443, and on 80 for redirects: leave port out", at=("port",))
        for domain in self.names:
            if is_ip(domain.strip("[]")):
                raise Refused(f"{domain} has no TLS: browsers name no address in the handshake", at=("tls",))
            if domain.startswith("*.") and tls.acme and not tls.acme.hook:
                raise Refused(
                    f"a certificate for {domain} is given for a proof by DNS alone",
                    "name the program that makes the records in tls.acme.hook, or list the domains",
                    at=("tls", "acme"),
                )
        if tls.hsts and "strict-transport-security" in map(str.lower, self.headers):
            raise Refused("hsts sends the header that headers have, too", at=("tls", "hsts"))


def _shared_files(value: Any) -> Any:
    """A plain list means: each from the release."""
    if isinstance(value, (list, dict)) and all(isinstance(name, str) for name in value):
        _listed_once(posixpath.normpath(name) for name in value)  # ./a and a are one file
        return dict.fromkeys(value) if isinstance(value, list) else value
    return value


A_PLAIN_LIST = BeforeValidator(_shared_files, json_schema_input_type=dict[str, str | None] | list[str])


def _no_nesting(paths: Iterable[str]) -> None:
    ordered = sorted(paths)
    _listed_once(ordered)
    for outer in ordered:
        for inner in ordered:
            if inner.startswith(outer + "/"):
                raise Refused(f"{show(inner)} lies inside {show(outer)}, which is shared as a whole")


SECRET_SOURCES = ("file", "command", "environment")


class Secrets(Model):
    """Where the application's secrets come from: one of file, command and environment."""

    file: LocalPath | None = Field(None, description="Local file of NAME=value lines.")
    command: Command | None = Field(
        None,
        description="Shell command, run on this machine in the project, that prints NAME=value lines, "
        "like sops -d secrets/prod.env.",
    )
    environment: Annotated[list[EnvName], Field(min_length=1), AfterValidator(_each_once)] | None = Field(
        None, description="Names taken from the environment that fab runs in, like [SECRET_KEY, DATABASE_URL]."
    )

    @model_validator(mode="after")
    def _one_of_three(self) -> "Secrets":
        named = [kind for kind in SECRET_SOURCES if getattr(self, kind) is not None]
        if len(named) != 1:
            raise Refused(
                f"expected one of file, command and environment, found {' and '.join(named) or 'none'}",
                "like secrets: prod.env, or secrets: {command: sops -d secrets/prod.env}",
            )
        return self


def _a_file_alone(secrets: Any) -> Any:
    return {"file": secrets} if isinstance(secrets, str) else secrets


AnySecrets = Annotated[Secrets, BeforeValidator(_a_file_alone, json_schema_input_type=Secrets | LocalPath)]


class Shared(Model):
    """What outlives releases: kept in shared/ on the host and linked into public/."""

    dirs: list[RelativePath] = Field([], description="Directories, like [media].")
    files: Annotated[dict[RelativePath, LocalPath | None], A_PLAIN_LIST] = Field(
        {},
        description="File: the local path it is put there from, the first time and when it changed. "
        "A plain list: from the release, the first time only.",
    )

    @model_validator(mode="after")
    def _apart(self) -> "Shared":
        _no_nesting([*self.dirs, *self.files])
        return self


class Manager(Model):
    """The program that keeps the server and the processes running."""

    name: ManagerName = Field(description="The program's name.")
    activation: Literal["socket"] | None = Field(
        None, description="socket: the manager opens the server's socket and hands it over. Only where both can."
    )
    settings: dict[UnitSetting, PlainValue] = Field(
        {}, description="Any of the manager's own settings for the server and the processes, like {MemoryMax: 512M}."
    )

    @model_validator(mode="after")
    def _left_to_the_manager(self) -> "Manager":
        """What this project sets itself is refused; which that is, the manager's driver knows."""
        driver = drivers.manager(self.name)
        for name in self.settings:
            if why := driver.refuses(name):
                raise Refused(f"{name} cannot be set here: {why}", at=("settings", name))
        return self


def _a_name_alone(manager: Any) -> Any:
    return {"name": manager} if isinstance(manager, str) else manager


class Hook(Model):
    """One command of a hook."""

    run: Command = Field(description="Shell command, run in the release with its virtualenv and environment.")
    timeout: Positive = Field(600, description="Seconds until the command is ended and counts as failed.")


class SwitchHook(Hook):
    """One command around the switch."""

    once: bool = Field(False, description="On the first host alone, once for the whole stage. Not for build.")


def _a_command_alone(hook: Any) -> Any:
    return {"run": hook} if isinstance(hook, str) else hook


OneCommand = Annotated[Hook, BeforeValidator(_a_command_alone, json_schema_input_type=Hook | str)]
Around = list[Annotated[SwitchHook, BeforeValidator(_a_command_alone, json_schema_input_type=SwitchHook | str)]]


class Hooks(Model):
    """Commands run at points of a deploy. One that fails ends the deploy."""

    build: list[OneCommand] = Field([], description="Once the virtualenv is ready.")
    before_switch: Around = Field(
        [], description="Before traffic goes to the new release, like python manage.py migrate --noinput."
    )
    after_switch: Around = Field([], description="Once the new release serves.")


BACKUP_TOOLS = Literal["pg_dump", "mysqldump", "sqlite"]


class Backup(Model):
    """A backup of the database, made on the host before what stands in before_switch: one of tool and command."""

    tool: BACKUP_TOOLS | None = Field(
        None, description="Program that makes and restores it: pg_dump, mysqldump, or sqlite's own copying."
    )
    database: EnvName = Field(
        "DATABASE_URL",
        description="With tool: the one of env or the secrets that names the database, as an address like "
        "postgresql://user:password@host/name; for sqlite, a path will do.",
    )
    command: Command | None = Field(
        None, description="Shell command, run in the release with its environment, that writes it to standard output."
    )
    restore: Command | None = Field(
        None, description="With command: the shell command that restores it from standard input."
    )
    keep: Positive = Field(5, description="Backups kept on the host.")
    timeout: Positive = Field(3600, description="Seconds that making one gets, and restoring one.")

    @model_validator(mode="after")
    def _one_of_two(self) -> "Backup":
        if (self.tool is None) == (self.command is None):
            found = "both" if self.tool else "none"
            hint = "like backup: pg_dump, or backup: {command: ./dump.sh, restore: ./restore.sh}"
            raise Refused(f"expected one of tool and command, found {found}", hint)
        if self.tool and self.restore:
            raise Refused("restore has no meaning with tool: that knows how", at=("restore",))
        if self.command and "database" in self.model_fields_set:
            raise Refused("database has no meaning with command: it names its own", at=("database",))
        return self


def _a_tool_alone(backup: Any) -> Any:
    return {"tool": backup} if isinstance(backup, str) else backup


AnyBackup = Annotated[Backup, BeforeValidator(_a_tool_alone, json_schema_input_type=Backup | BACKUP_TOOLS)]


UNITS = {"s": 1, "m": 60, "h": 3600}


def _in_seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"(\d{1,6})([smh])", value, re.ASCII)
    if not found:
        raise Refused(f"expected seconds, or text like 10s, 5m or 1h, found {show(value)}")
    return int(found[1]) * UNITS[found[2]]


def _some_hosts(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if is_number or (isinstance(value, str) and re.fullmatch(r"[1-9][0-9]?%|100%", value, re.ASCII)):
        return value
    raise Refused(f"expected a number of hosts, or a share of them like 25%, found {describe(value)}")


Duration = Annotated[Count, BeforeValidator(_in_seconds, json_schema_input_type=Count | str)]
BATCH_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
Batch = Annotated[Any, AfterValidator(_some_hosts), WithJsonSchema(BATCH_SCHEMA)]


def _a_host_alone(canary: Any) -> Any:
    return {"host": canary} if isinstance(canary, str) else canary


class Canary(Model):
    """The host that switches first, alone."""

    host: HostName = Field(description="Its short name.")
    check: OneCommand | None = Field(
        None, description="Shell command, run on it as a hook is, once it has switched; where it fails, all go back."
    )
    wait: Duration = Field(0, description="Seconds, or like 10m, that its site is watched before the others switch.")


OneHost = Annotated[Canary, BeforeValidator(_a_host_alone, json_schema_input_type=Canary | HostName)]


class Rollout(Model):
    """How a deploy goes through the hosts of a stage: by default all switch at once."""

    batch: Batch = Field("100%", description="Hosts that switch at once: how many, or which share of all.")
    pause: Duration = Field(0, description="Seconds, or like 10s, that a batch is watched before the next switches.")
    canary: OneHost | None = Field(None, description="Host that switches first, alone: its short name, or a section.")

    def size(self, hosts: int) -> int:
        """How many of so many hosts switch at once: a share is rounded down, but never to none."""
        if isinstance(self.batch, int):
            return self.batch
        return max(1, hosts * int(str(self.batch).rstrip("%")) // 100)


class Webhook(Model):
    """The address that is sent a message: one of url and secret."""

    url: Annotated[str, _like(r"https?://[!-~]+", "https://… or http://…", private=True)] | None = Field(
        None, description="The address itself; who knows it can write there."
    )
    secret: EnvName | None = Field(None, description="The one of the secrets that is the address.")

    @model_validator(mode="after")
    def _one_of_two(self) -> "Webhook":
        if (self.url is None) == (self.secret is None):
            raise Refused("expected one of url and secret", "like webhook: {secret: CHAT_URL}")
        return self


def _an_address_alone(webhook: Any) -> Any:
    return {"url": webhook} if isinstance(webhook, str) else webhook


def _one_in_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _tag_name(value: str) -> str:
    """As git-check-ref-format wants it, for any release."""
    left = re.sub(r"\{(app|stage|release)\}", "x", value)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*", left) or re.search(
        r"\.\.|\.(/|$)|\.lock(/|$)", left
    ):
        raise Refused(
            f"expected the name of a tag, found {show(value)}",
            "of letters, digits and . _ + - /, with {app}, {stage} and {release}, like deployed/{stage}/{release}",
        )
    return value


AnyWebhook = Annotated[Webhook, BeforeValidator(_an_address_alone, json_schema_input_type=Webhook | str)]
MailAddress = Annotated[str, _like(r"[A-Za-z0-9_][\w.+=-]*(@[\w.-]+)?", "an address of mail, or a user's name")]
MailAddresses = Annotated[list[MailAddress], BeforeValidator(_one_in_a_list, json_schema_input_type=list[str] | str)]
Occasions = Annotated[list[Literal["success", "failure"]], Field(min_length=1), AfterValidator(_each_once)]
NOTICES = ("webhook", "email", "git_tag")


class Notice(Model):
    """One who is told: one of webhook, email and git_tag."""

    webhook: AnyWebhook | None = Field(None, description="Where a message is sent: its address, or a section.")
    format: Literal["slack", "mattermost", "json"] = Field(
        "json", description="What a webhook is sent: text for a chat, or the event as in docs/json.md."
    )
    email: MailAddresses = Field([], description="Who gets a mail by this machine's sendmail: an address, or a list.")
    git_tag: Annotated[str, AfterValidator(_tag_name)] | None = Field(
        None, description="Tag put on the commit in the local repository on success, like deployed/{stage}/{release}."
    )
    when: Occasions = Field(["success", "failure"], description="What is told.")

    @model_validator(mode="after")
    def _one_of_three(self) -> "Notice":
        named = [kind for kind in NOTICES if getattr(self, kind)]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            message = f"expected one of webhook, email and git_tag, found {found}"
            raise Refused(message, "give each an entry of its own")
        if "format" in self.model_fields_set and not self.webhook:
            raise Refused("only a webhook has a format", "leave it out", at=("format",))
        if self.git_tag and "when" in self.model_fields_set and self.when != ["success"]:
            raise Refused("a tag is for what succeeded alone", "leave it out", at=("when",))
        return self

    @property
    def occasions(self) -> list[Literal["success", "failure"]]:
        """When it is told."""
        return ["success"] if self.git_tag else self.when


class Health(Model):
    """What proves a release healthy."""

    path: Annotated[str, AfterValidator(_health_path)] = Field("/", description="Path as the application sees it.")
    status: Annotated[int, Field(ge=100, le=599)] = Field(200, description="HTTP status it must answer with.")
    timeout: Positive = Field(30, description="Seconds it has to answer so.")
    follow: bool = Field(False, description="Follow redirects within the site, at most 5.")


def _app(data: dict[str, Any]) -> str:
    """The app's name; any will do when it was refused (pydantic before 2.14 asks nevertheless), for the whole is."""
    return str(data.get("app", "app"))


def _default_root(data: dict[str, Any]) -> str:
    parent = "/var/www" if data.get("layout") == "seed" else "/srv"
    return f"{parent}/{_app(data)}"


def _not_root(value: str) -> str:
    if value == "root":
        raise Refused("the application may not run as root")
    if value.endswith("-build"):
        raise Refused("a name that ends with -build is for the account that builds run as", "take another ending")
    return value


def _at(place: str, name: str) -> tuple[str, ...]:
    """Where a setting of the whole site or of one of its paths stands."""
    return ("site", name) if place == "/" else ("site", "paths", place, name)


def _no_web_process(processes: dict[str, str]) -> dict[str, str]:
    if "web" in processes:
        raise Refused("web is the name of the server itself", "describe it under web:", at=("web",))
    return processes


class Upstream(Model):
    """An app host, as a proxy of its stage knows it."""

    address: str
    port: Port
    weight: Positive
    backup: bool

    @property
    def endpoint(self) -> str:
        """The address and port as nginx takes them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


class Balancing(Model):
    """What a proxy is in front of.

    :ivar tls: the app hosts are asked by https.
    :ivar static: the URL prefixes of files that are in a release: a host that has not switched lacks the newest.
    """

    hosts: list[Upstream]
    tls: bool
    static: list[UrlPrefix]


class Front(Model):
    """The proxies that an app host is behind: their addresses, and whether visitors come to them by https."""

    addresses: list[str]
    tls: bool


class Settings(Model):
    """Every setting of one host, merged from all.yml, the stage, the host's entry and the command line."""

    app: Name = Field(description="The application's name: names the directory, the unix user and the programs.")
    layout: Literal["standard", "seed"] = Field(
        "standard", description="Default of root: below /srv (standard) or below /var/www (seed)."
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
    source: Annotated[Source, BeforeValidator(_the_project_by_default)] = Field(
        UNSAID, description="Where the application comes from."
    )
    packages: Annotated[list[SystemPackage], AfterValidator(_each_once)] = Field(
        [], description="System packages that the application needs, like [libpq5, gettext]; setup installs them."
    )
    python: Python = Field(UNSAID, description="The interpreter and the virtualenv.")
    web: Web = Field(description="The server that runs the application.")
    processes: Annotated[dict[ProcessName, Command], AfterValidator(_no_web_process)] = Field(
        {}, description="Background processes: name and command, run in the release with its virtualenv."
    )
    manager: Annotated[Manager, BeforeValidator(_a_name_alone, json_schema_input_type=Manager | ManagerName)] = Field(
        SUPERVISOR, description="Program that keeps the server and the processes running: its name, or a section."
    )
    site: Site = Field(description="What nginx serves.")
    env: dict[EnvName, FreeText] = Field(
        {}, description="Environment of the application. Values are text: put numbers, yes and no in quotes."
    )
    secrets: AnySecrets | None = Field(
        None,
        description="Further environment, never in a command line or a log: a local file of NAME=value lines, "
        "or a section.",
    )
    shared: Shared = Field(UNSAID, description="Directories and files that outlive releases.")
    hooks: Hooks = Field(UNSAID, description="Commands run at points of a deploy.")
    backup: AnyBackup | None = Field(
        None, description="Backup of the database before it is migrated: the program that makes it, or a section."
    )
    rollout: Rollout = Field(
        UNSAID, description="How a deploy goes through the hosts of a stage. Not in a host's entry."
    )
    notify: list[Notice] = Field(
        [], description="Who is told when a deploy or a rollback has succeeded or failed. Not in a host's entry."
    )
    health: Health = Field(UNSAID, description="What proves a release healthy.")
    keep_releases: Positive = Field(5, description="Good releases kept on the host.")
    host_keys: Literal["strict", "accept-new"] = Field(
        "strict", description="Unknown SSH host keys: refuse them or remember them. Changed ones never pass."
    )
    default_stage: str | None = Field(
        None, description="Stage that deploy and rollback use without -H. Only in all.yml."
    )

    # Filled in by the loader; no keys of a stage file.
    host: Host = Field(description="The host these settings are for.")
    stage: HostName = Field(description="The stage's name.")
    project: Path = Field(description="Local directory that holds hosts/.")
    members: list[str] = Field([], description="The short names of all hosts, each checked as its own.")
    balancing: Balancing | None = Field(None, description="The app hosts, on a proxy; see roles.py.")
    front: Front | None = Field(None, description="The proxies, on an app host that is behind some.")

    @property
    def has_app(self) -> bool:
        """Whether the server runs here."""
        return "app" in self.host.roles

    @property
    def has_worker(self) -> bool:
        """Whether the background processes run here."""
        return "worker" in self.host.roles

    @property
    def balances(self) -> bool:
        """Whether its nginx passes requests to the app hosts: what it has of the application is a site."""
        return "proxy" in self.host.roles and not self.has_app

    @property
    def has_site(self) -> bool:
        """Whether there is an nginx."""
        return self.has_app or self.balances

    @property
    def has_code(self) -> bool:
        """Whether the application's source and environment are here."""
        return self.has_app or self.has_worker

    @property
    def faces_visitors(self) -> bool:
        """Whether the domains lead here."""
        return self.has_site and self.front is None

    @model_validator(mode="after")
    def _canary_is_there(self) -> "Settings":
        """Else nobody would go first."""
        canary = self.rollout.canary
        if canary and self.members and canary.host not in self.members:
            raise Refused(
                f"{show(canary.host)} is no host of the stage",
                f"hosts: {', '.join(self.members)}",
                at=("rollout", "canary"),
            )
        return self

    @model_validator(mode="after")
    def _backup_comes_before_something(self) -> "Settings":
        """Else nobody would ever be backed up who believes that he is."""
        if self.backup and not self.hooks.before_switch:
            what = "a backup is made before what stands in hooks.before_switch, and there is nothing"
            raise Refused(what, "like before_switch: [python manage.py migrate --noinput]", at=("backup",))
        return self

    @model_validator(mode="after")
    def _nginx_waits_longer(self) -> "Settings":
        """Else nginx gives up on requests that the server still works on."""
        timeout = drivers.server(self.web.server).timeout(self.web.settings)
        read = self.site.timeouts.read
        if read <= timeout:
            raise Refused(
                f"expected more than the server's own timeout of {timeout:g} seconds "
                f"(web.settings.timeout), found {read}",
                "else nginx gives up on requests that are still being worked on",
                at=("site", "timeouts", "read"),
            )
        return self

    @model_validator(mode="after")
    def _server_can(self) -> "Settings":
        """What one server cannot do, and others can."""
        name, server = self.web.server, drivers.server(self.web.server)
        longest = len(f"{self.root}/{LONGEST_RUN}/{server.socket}")
        if self.web.bind == "socket" and longest > server.longest_path:
            raise Refused(
                f"the path is {longest - server.longest_path} bytes too long for {name}: a release's socket below it "
                f"would have {longest} bytes, and {name} takes {server.longest_path}",
                at=("root",),
            )
        if self.site.upstream_keepalive and server.speaks != "http":
            raise Refused(
                f"{name} keeps no connections: each has one request",
                "leave it out",
                at=("site", "upstream_keepalive"),
            )
        for prefix, path in self.site.paths.items():
            if path.websocket and server.speaks != "http":
                raise Refused(
                    f"nginx passes no WebSocket on in {server.speaks}'s protocol, which {name} speaks",
                    "leave it out, or take a server that speaks HTTP",
                    at=("site", "paths", prefix, "websocket"),
                )
        return self

    @model_validator(mode="after")
    def _passwords_are_there(self) -> "Settings":
        """Where they are read from."""
        for place, said in self.site.places.items():
            if said.basic_auth and not self.secrets:
                raise Refused(
                    "there are no secrets that could hold the names and passwords",
                    f"name a file in secrets:, and write {said.basic_auth}=alice:password into it",
                    at=_at(place, "basic_auth"),
                )
        return self

    @model_validator(mode="after")
    def _notices_can_be_sent(self) -> "Settings":
        """With what else the settings say."""
        for number, notice in enumerate(self.notify):
            if notice.webhook and notice.webhook.secret and not self.secrets:
                hint = f"name a file in secrets:, and write {notice.webhook.secret}=https://… into it"
                at: tuple[str | int, ...] = ("notify", number, "webhook")
                raise Refused("there are no secrets that could hold the address", hint, at)
            if notice.git_tag and not self.source.path:
                hint = "only where source.path names a local repository"
                raise Refused("there is no local repository to put a tag into", hint, ("notify", number, "git_tag"))
        return self

    @model_validator(mode="after")
    def _health_check_may_ask(self) -> "Settings":
        """It comes from the host itself, and knows no password."""
        path = self.site.path.rstrip("/") + self.health.path
        own = self.site.at(path)
        if own.basic_auth:
            raise Refused(
                f"{path} is asked for with a password, which the health check has not",
                "take it out by a path of its own: site.paths: {/health/: {basic_auth: false}}",
                at=_at(self.site.said_at(path, "basic_auth"), "basic_auth"),
            )
        if not own.admits("127.0.0.1"):
            name = "deny" if own.model_copy(update={"deny": []}).admits("127.0.0.1") else "allow"
            raise Refused(
                f"the health check asks for {path} from 127.0.0.1, which is not let in",
                "let the host itself ask: 127.0.0.1",
                at=_at(self.site.said_at(path, name), name),
            )
        return self

    @model_validator(mode="after")
    def _cached_can_be(self) -> "Settings":
        """Never an answer that is for one, and never one of another release."""
        for place, said in self.site.places.items():
            if not (said.cache and said.cache.valid):
                continue
            if self.site.upstream_keepalive:
                raise Refused(
                    "a connection to the application that is kept may bring an answer of the release before",
                    "leave out site.upstream_keepalive",
                    at=_at(place, "cache"),
                )
            if not self.site.at(place).kept:
                raise Refused(
                    "what streams, becomes a WebSocket or is asked for with a password cannot be kept",
                    "leave one of them out",
                    at=_at(place, "cache"),
                )
        return self

    @model_validator(mode="after")
    def _socket_is_handed_over(self) -> "Settings":
        """By one that can, to one that can."""
        takes, gives = drivers.server(self.web.server).takes, drivers.manager(self.manager.name).gives
        if self.manager.activation and drivers.DESCRIPTOR not in takes & gives:
            who = self.web.server if drivers.DESCRIPTOR in gives else self.manager.name
            does = "takes" if drivers.DESCRIPTOR in gives else "hands over"
            raise Refused(f"{who} {does} no open socket", at=("manager", "activation"))
        return self

    @model_validator(mode="after")
    def _pair_makes_sense(self) -> "Settings":
        """A server with its manager, and with what else it has to do."""
        name, server, manager = self.web.server, drivers.server(self.web.server), self.manager.name
        if problem := pairs.problem(name, manager):
            raise Refused(*problem, at=("web", "server"))
        if server.is_one_process and self.web.workers > 1 and not drivers.manager(manager).copies:
            raise Refused(
                f"{name} is one process, and {manager} runs one of it",
                "set web.workers to 1",
                at=("web", "workers"),
            )
        if server.prefix == "none" and self.site.path != "/":
            raise Refused(
                f"{name} cannot be told that the application lives below a path",
                "give it a domain of its own, or take another server: gunicorn",
                at=("site", "path"),
            )
        return self

    def local(self, path: str) -> Path:
        """A local path from the settings: `~` expanded, a relative one taken from the project."""
        return self.project / Path(path).expanduser()


LOADER_FIELDS = frozenset({"host", "stage", "project", "members", "balancing", "front"})
STAGE_KEYS = frozenset({"default_stage", "rollout", "notify"})  # that make no sense in one host's entry
HOST_KEYS = frozenset(Host.model_fields) - {"name"}
