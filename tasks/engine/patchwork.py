"""patchwork's functions, under their own names and signatures, right on Fabric 3.

Anybody's fabfile can use them with a plain Connection::

    from fabrelease.tasks.engine.patchwork import append, directory, exists, package, rsync

    @task
    def prepare(c):
        directory(c, "/srv/my app", user="deploy", mode="0750", sudo=True)

directory, exists, contains and append take ``sudo=True``, ``runner_method="name"`` or ``runner=callable`` on
top of their own arguments. A path is a name, not shell text: only a leading ``~`` or ``~user`` is expanded.
"""

from __future__ import annotations

import functools
import re
import shlex
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import paramiko
from fabric import Connection
from invoke import Context, Result
from invoke.exceptions import Exit

P = ParamSpec("P")
T = TypeVar("T")

APT_LOCK_SECONDS = 120
DISTRIBUTIONS = ("fedora", "rhel", "centos", "ubuntu", "debian")
FAMILIES = {"debian": ("debian", "ubuntu"), "redhat": ("rhel", "centos", "fedora")}


class Runner(Protocol):
    """What runs a command: the run or sudo of a Context, or a callable that takes the same arguments."""

    def __call__(self, command: str, /, *, hide: bool = ..., warn: bool = ...) -> Result | None: ...


def set_runner(function: Callable[Concatenate[Context, Runner, P], T]) -> Callable[..., T]:
    """Let a function's callers choose what runs its commands.

    The function takes the runner as its second argument; its callers leave it out and may give, the first of
    these winning: ``runner`` (a callable), ``runner_method`` (the name of one of the Context's methods), or
    ``sudo=True``. Without any, it is the Context's ``run``.
    """

    @functools.wraps(function)
    def with_runner(
        c: Context,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        runner = kwargs.pop("runner", None)
        method = kwargs.pop("runner_method", None)
        sudo = kwargs.pop("sudo", False)
        if runner is None:
            runner = getattr(c, str(method or ("sudo" if sudo else "run")))
        return function(c, runner, *args, **kwargs)  # type: ignore[arg-type]

    return with_runner


# --- files -------------------------------------------------------------------------------------------------

# The scripts get their values as arguments, and run whole in one sh: under sudo, redirects are root's too.
_DIRECTORY = """\
set -e
mkdir -p -- "$1"
[ -z "$2" ] || chown -- "$2" "$1"
[ -z "$3" ] || chmod -- "$3" "$1"
"""

# The x keeps $( ) from dropping newlines at the end of the file.
_READ = """\
set -e
LC_ALL=C
nl='
'
all=
if [ -s "$1" ]; then
    all=$(cat <"$1" && echo x)
    all=${all%x}
fi
"""

# A quoted value in a case pattern stands for itself, whatever is in it.
_CONTAINS = (
    '[ -f "$1" ] || exit 1\n'
    + _READ
    + """\
case $all in
    *"$nl" | '') ;;
    *) all=$all$nl ;;
esac
case $nl$all in
    *"$2"*) exit 0 ;;
esac
exit 1
"""
)

_APPEND = (
    _READ
    + """\
file=$1
end=$2
shift 2
case $all in
    *"$nl" | '') gap='' ;;
    *) gap=$nl ;;
esac
all=$all$gap
new=
for line; do
    case $nl$all in
        *"$nl$line$end"*) [ -z "$line" ] || continue ;;
    esac
    all=$all$line$nl
    new=$new$line$nl
done
[ -z "$new" ] || printf '%s%s' "$gap" "$new" >>"$file"
"""
)


@set_runner
def directory(
    c: Context,
    runner: Runner,
    path: str,
    user: str | None = None,
    group: str | None = None,
    mode: str | None = None,
) -> None:
    """Make a directory, and those above it, unless it is there; then set its owner and mode, if given.

    :param path: the directory.
    :param user: its owner.
    :param group: its group; the group named like the user where only ``user`` is given.
    :param mode: as chmod takes it, such as ``"0750"`` or ``"g+w"``.
    :raises TypeError: ``mode`` is a number: 0o640 and 640 cannot be told apart safely.
    :raises invoke.UnexpectedExit: mkdir, chown or chmod failed.
    """
    if mode is not None and not isinstance(mode, str):
        raise TypeError(f'mode={mode!r} is a number; write it as chmod does, in quotes: mode="0750"')
    owner = ""
    if user is not None or group is not None:
        owner = f"{user or ''}:{group or user}"
    runner(_sh(_DIRECTORY, _path(path), shlex.quote(owner), shlex.quote(mode or "")))


@set_runner
def exists(c: Context, runner: Runner, path: str) -> bool:
    """Tell whether something of this name is on the host; a symlink counts if what it points to is there."""
    return _ok(runner(f"test -e {_path(path)}", hide=True, warn=True))


@set_runner
def contains(c: Context, runner: Runner, filename: str, text: str, exact: bool = False, escape: bool = True) -> bool:
    """Tell whether a file holds a text. A file that is missing or cannot be read holds nothing.

    :param filename: the file.
    :param text: what to look for, taken literally; it may be several lines.
    :param exact: the text has to be a whole line (or whole lines), not part of one.
    :param escape: with False, ``text`` is an extended regular expression, searched for in each line by the
        host's grep, and ``exact`` does not count.
    """
    if escape:
        needle = f"\n{text}\n" if exact else text
        command = _sh(_CONTAINS, _path(filename), shlex.quote(needle))
    else:
        command = _sh('exec grep -E -q -e "$2" <"$1"', _path(filename), shlex.quote(text))
    return _ok(runner(command, hide=True, warn=True))


@set_runner
def append(
    c: Context,
    runner: Runner,
    filename: str,
    text: str | Iterable[str],
    partial: bool = False,
    escape: bool = True,
) -> None:
    """Add lines to the end of a file, each unless it is there already. A missing file is made.

    An empty line is always added. A last line without a newline is ended first.

    :param filename: the file.
    :param text: one line or several, each looked for and added by itself. One that holds newlines is looked
        for and added as one block.
    :param partial: a line that begins with the text counts as the text.
    :param escape: False says that the caller wrote each ``'`` as ``'\\''`` for the shell; it is undone here.
    :raises invoke.UnexpectedExit: the file cannot be read or written.
    """
    lines = [text] if isinstance(text, str) else list(text)
    if not escape:
        lines = [line.replace("'\\''", "'") for line in lines]
    if lines:
        end = "" if partial else "\n"
        runner(_sh(_APPEND, _path(filename), *map(shlex.quote, [end, *lines])))


def _sh(script: str, *words: str) -> str:
    """A command that runs a script in one sh; the words are quoted already."""
    return " ".join(["sh -c", shlex.quote(script), "sh", *words])


def _path(path: str) -> str:
    """A path as a word of the shell: quoted, but for a leading ~ or ~user, which means a home directory."""
    match = re.match(r"~[A-Za-z0-9._-]*(?=/|$)", path)
    home = match.group() if match else ""
    rest = path[len(home) :]
    return home + shlex.quote(rest) if rest or not home else home


def _ok(result: Result | None) -> bool:
    return result is not None and result.ok


# --- info and packages -------------------------------------------------------------------------------------

# Prints what the host calls itself, then what it says it is like, the nearest first.
_DISTRIBUTION = """\
ID='' ID_LIKE=''
for file in /etc/os-release /usr/lib/os-release; do
    if [ -r "$file" ]; then
        # shellcheck source=/dev/null
        . "$file"
        echo "$ID $ID_LIKE"
        exit 0
    fi
done
[ ! -e /etc/fedora-release ] || echo fedora
[ ! -e /etc/centos-release ] || echo centos
[ ! -e /etc/redhat-release ] || echo rhel
[ ! -e /etc/debian_version ] || echo debian
"""

# A fresh image has no package lists, and then apt-get knows no package. The dpkg options answer its question
# about a changed configuration file (keep it), which would wait for ever.
_APT = f"""\
set -e
export DEBIAN_FRONTEND=noninteractive
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt-get update
exec apt-get install -y -o DPkg::Lock::Timeout={APT_LOCK_SECONDS} \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -- "$@"
"""

_DNF = """\
manager=yum
command -v dnf >/dev/null && manager=dnf
exec "$manager" install -y -- "$@"
"""


def distro_name(c: Context) -> str:
    """Name the host's distribution: fedora, rhel, centos, ubuntu, debian, or other.

    A relative goes by the nearest of these that its ``/etc/os-release`` names: Rocky Linux is rhel, Linux
    Mint is ubuntu. Hosts without that file are known by their release files.
    """
    result = c.run(_sh(_DISTRIBUTION), hide=True)
    names = result.stdout.split() if result is not None else []
    return next((name for name in names if name in DISTRIBUTIONS), "other")


def distro_family(c: Context) -> str:
    """Name the family of the host's distribution: debian, redhat, or else what distro_name says."""
    distro = distro_name(c)
    return next((family for family, members in FAMILIES.items() if distro in members), distro)


def package(c: Context, *packages: str) -> None:
    """Install packages with the system's own manager, as root through sudo, without any question asked.

    All of them are installed in one go: where one cannot be, none is.

    :raises invoke.Exit: a host that is neither of Debian's family nor of Red Hat's.
    :raises invoke.UnexpectedExit: the package manager failed, or another one held its lock for two minutes.
    """
    if not packages:
        return
    family = distro_family(c)
    if family not in FAMILIES:
        raise Exit(
            "package() knows apt-get (Debian's family) and dnf or yum (Red Hat's); this host is neither."
            f" Install there by hand: {' '.join(packages)}"
        )
    script = _APT if family == "debian" else _DNF
    c.sudo(_sh(script, *map(shlex.quote, packages)))


# --- transfers ---------------------------------------------------------------------------------------------


def rsync(
    c: Connection,
    source: str | Iterable[str],
    target: str,
    exclude: str | Iterable[str] = (),
    delete: bool = False,
    strict_host_keys: bool = True,
    rsync_opts: str = "",
    ssh_opts: str = "",
) -> Result | None:
    """Copy local files to the host with the local rsync, over an ssh of its own.

    ssh gets the Connection's user, address, port, key files and gateway. It is a program of its own, though:
    a password or a key that the Connection holds in memory it does not see, and asks the terminal for it.

    :param source: a local path, or several. ``name/`` copies what is in it, ``name`` the directory itself.
    :param target: the path on the host; relative to the home directory, as is what follows ``~/``.
    :param exclude: one pattern or several, as rsync's ``--exclude`` takes them.
    :param delete: delete on the host what is not in the source.
    :param strict_host_keys: refuse a host whose key is not known: to ssh, or to a Connection that refuses
        unknown keys itself. False takes any key, and is for hosts that are made anew all the time.
    :param rsync_opts: more options for rsync, written as in a shell.
    :param ssh_opts: more options for ssh, written as in a shell. They win over those made from the
        Connection; they do not reach its gateways.
    :raises invoke.UnexpectedExit: rsync or ssh failed.
    """
    sources = [source] if isinstance(source, str) else list(source)
    excludes = [exclude] if isinstance(exclude, str) else list(exclude)
    with tempfile.NamedTemporaryFile("w", prefix="known_hosts-") as known_hosts:
        if strict_host_keys:
            known_hosts.write("".join(_verified_keys(c)))
            known_hosts.flush()
        ssh = ["ssh", *shlex.split(ssh_opts), *_ssh_options(c, strict_host_keys, known_hosts.name)]
        command = [
            "rsync",
            *(["--delete"] if delete else []),
            *(f"--exclude={pattern}" for pattern in excludes),
            "-pthrvz",
            *shlex.split(rsync_opts),
            "--rsh=" + " ".join(map(_rsh_quote, ssh)),
            *_rsync_paths(c, sources, target),
        ]
        result: Result | None = c.local(shlex.join(command))
    return result


def _rsync_paths(c: Connection, sources: list[str], target: str) -> list[str]:
    """The last words of the command: an option that keeps the remote shell off the target, and the paths."""
    host = f"[{c.host}]" if ":" in c.host else c.host
    plain = re.fullmatch(r"[\w@%+=:,./~-]*", target, re.ASCII)
    if not plain:
        target = target.removeprefix("~/")  # nothing expands it then, and a session starts at home
    protect = [] if plain else ["--protect-args"]
    return [*protect, "--", *map(_local_path, sources), f"{c.user}@{host}:{target}"]


def _local_path(path: str) -> str:
    """A path that rsync takes for a local one, even with a colon in it."""
    if path.startswith("~"):
        return str(Path(path).expanduser()) + ("/" if path.endswith("/") else "")
    return path if path.startswith(("/", ".")) or not path else f"./{path}"


def _rsh_quote(word: str) -> str:
    """Quote for rsync's --rsh, which is no shell: a quote inside quotes is doubled, a backslash is itself."""
    return "'" + word.replace("'", "''") + "'"


def _ssh_options(c: Connection, strict: bool, known_hosts: str) -> list[str]:
    """What makes ssh go the Connection's way: port, keys, host key checking, and its gateway."""
    keys = c.connect_kwargs.get("key_filename") or []
    options = [f"-oIdentityFile={_config_quote(key)}" for key in ([keys] if isinstance(keys, str) else keys)]
    options += [f"-oPort={c.port}", f"-oStrictHostKeyChecking={'yes' if strict else 'no'}"]
    if strict:
        # The system-wide files, since UserKnownHostsFile may be set in the user's own ssh configuration.
        files = f"{_config_quote(known_hosts)} /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
        options.append(f"-oGlobalKnownHostsFile={files}")
    if c.gateway:
        options.append(f"-oProxyCommand={_proxy_command(c, strict, known_hosts)}")
    return options


def _proxy_command(c: Connection, strict: bool, known_hosts: str) -> str:
    """The command that ssh reaches the host through. Each gateway may have one of its own in turn."""
    gateway = c.gateway
    if not isinstance(gateway, Connection):
        return str(gateway)  # a ProxyCommand already
    host = f"[{c.host}]" if ":" in c.host else c.host
    command = ["ssh", *_ssh_options(gateway, strict, known_hosts), "-l", gateway.user]
    command += ["-W", f"{host}:{c.port}", "--", gateway.host]
    return shlex.join(command).replace("%", "%%")


def _config_quote(value: str) -> str:
    """Quote a file name for an option of ssh, which expands % and takes a backslash inside quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _verified_keys(c: Connection) -> list[str]:
    """known_hosts lines for the host and its gateways, of those Connections that verify host keys.

    A Connection's own known hosts are in memory, where ssh does not see them. The key that it accepted is
    handed over, but not where it accepts any key (Fabric's default): then ssh has to know the host by itself.
    """
    lines = _verified_keys(c.gateway) if isinstance(c.gateway, Connection) else []
    if not isinstance(c.client._policy, (paramiko.AutoAddPolicy, paramiko.WarningPolicy)):
        c.open()
        transport = c.transport
        assert transport is not None  # noqa: S101
        key = transport.get_remote_server_key()
        name = c.host if c.port == 22 else f"[{c.host}]:{c.port}"
        lines.append(f"{name} {key.get_name()} {key.get_base64()}\n")
    return lines
