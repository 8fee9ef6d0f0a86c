"""Opening SSH connections: host keys verified, no Nagle delay, errors in plain words."""

from __future__ import annotations

import functools
import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko
from fabric import Connection
from paramiko.ssh_exception import NoValidConnectionsError

from . import profiling
from .errors import HostError, Unreachable
from .remote import kinds

if TYPE_CHECKING:
    from .settings import Settings

KEEPALIVE_SECONDS = 5
LOGIN_SECONDS = 60  # a server under load, or one that asks elsewhere who we are, may take its time
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # or it writes tracebacks beside our messages


def open_connection(connection: Connection, settings: Settings) -> None:
    """Open a connection with its host key verified; one that is open already is left as it is.

    Fabric accepts any key. Here a changed key is always refused, an unknown one unless
    ``host_keys: accept-new`` says otherwise, and then it is written to the known hosts file.

    :raises HostError: unreachable, refused, or a host key that is wrong or unknown.
    """
    if connection.is_connected:
        return
    gateway = connection.gateway
    if isinstance(gateway, Connection):
        open_connection(gateway, settings)
    with profiling.span("connect", "connect, log in", settings.host.name):
        _verify_host_keys(connection.client, settings)
        _open(connection, settings)
    transport = connection.transport
    assert transport is not None  # noqa: S101
    transport.set_keepalive(KEEPALIVE_SECONDS)
    _count_channels(transport, profiling.traffic(settings.host.name))


def known_hosts_file(settings: Settings) -> Path:
    """The known hosts file of a host: its own, or the user's."""
    if settings.host.known_hosts:
        return settings.project / Path(settings.host.known_hosts).expanduser()
    return Path("~/.ssh/known_hosts").expanduser()


class _AcceptNew(paramiko.MissingHostKeyPolicy):
    """Take an unknown key and remember it; a changed key never comes this far."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.open("a") as known_hosts:
            known_hosts.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def _verify_host_keys(client: paramiko.SSHClient, settings: Settings) -> None:
    path = known_hosts_file(settings)
    if settings.host.known_hosts is None:
        client.load_system_host_keys()
    elif path.exists():
        client.load_system_host_keys(str(path))
    if settings.host_keys == "accept-new":
        client.set_missing_host_key_policy(_AcceptNew(path))
    else:
        client.set_missing_host_key_policy(paramiko.RejectPolicy())


def _open(connection: Connection, settings: Settings) -> None:
    name = settings.host.name
    where = f"{connection.user}@{connection.host}:{connection.port}"
    try:
        if connection.gateway is None:
            for wait in ("banner_timeout", "auth_timeout"):
                connection.connect_kwargs.setdefault(wait, LOGIN_SECONDS)
            connection.connect_kwargs["sock"] = _prompt_socket(connection, profiling.traffic(name))
        connection.open()
    except paramiko.BadHostKeyException as error:
        raise HostError(
            kinds.HOST_KEY_CHANGED,
            name,
            f"the host key of {where} has CHANGED: {known_hosts_file(settings)} knows {_print(error.expected_key)},"
            f" the server showed {_print(error.key)}. Somebody may be listening in, or the server was made anew.",
            f"Ask whoever runs the server; if it is so, forget the old key: ssh-keygen -R {_entry(connection)}",
        ) from error
    except paramiko.AuthenticationException as error:
        if "timeout" in str(error):
            raise HostError(
                kinds.LOGIN_SLOW,
                name,
                f"{where} did not answer to the login within {LOGIN_SECONDS} seconds",
                f"Look at its sshd and PAM; or by hand: ssh -p {connection.port} {connection.user}@{connection.host}",
            ) from error
        raise HostError(
            kinds.LOGIN_REFUSED,
            name,
            f"{where} refused the login: {error or 'no key or password was accepted'}",
            f"Try it by hand: ssh -p {connection.port} {connection.user}@{connection.host}"
            "; name a key with `key:` in the host's entry, or with fab -i FILE",
        ) from error
    except paramiko.SSHException as error:
        if "not found in known_hosts" in str(error):
            raise HostError(
                kinds.HOST_KEY_UNKNOWN,
                name,
                f"the host key of {where} is not known in {known_hosts_file(settings)}",
                f"Look at it and accept it once: ssh -p {connection.port} {connection.user}@{connection.host}"
                " true; or set `host_keys: accept-new`",
            ) from error
        if "protocol banner" in str(error):
            raise HostError(
                kinds.NO_SSH,
                name,
                f"{where} is reached, but does not speak SSH there, or is too busy to let anyone in",
                "Look at the port in the host's entry, and at MaxStartups in the server's sshd_config.",
            ) from error
        raise HostError(kinds.NO_SSH, name, f"no SSH connection to {where}: {error}") from error
    except (OSError, EOFError) as error:
        if getattr(error, "filename", None):
            what = f"the key {error.filename} cannot be read: {_reason(error)}"  # type: ignore[union-attr]
            raise HostError(kinds.KEY_FILE, name, what) from error
        raise Unreachable(
            kinds.UNREACHABLE,
            name,
            f"{where} cannot be reached: {_reason(error)}",
            "Look at address and port in the host's entry, and whether the server is up.",
        ) from error


def _reason(error: BaseException) -> str:
    """Why a connection failed; paramiko wraps one error for each address it tried."""
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _prompt_socket(connection: Connection, traffic: profiling.Traffic) -> socket.socket:
    """A TCP connection that sends small packets at once (no Nagle): paramiko's own delays each of them."""
    made = socket.create_connection((connection.host, connection.port), connection.connect_timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = _CountedSocket(fileno=made.detach())
    sock.settimeout(connection.connect_timeout)
    sock.traffic = traffic
    return sock


class _CountedSocket(socket.socket):
    """A socket that counts what goes through it, as far as paramiko uses it."""

    traffic: profiling.Traffic
    _asked = False

    def send(self, data: Any, flags: int = 0) -> int:
        count = super().send(data, flags)
        self.traffic.up += count
        self._asked = True
        return count

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        self.traffic.down += len(data)
        if self._asked:
            self.traffic.turns += 1
            self._asked = False
        return data


def _count_channels(transport: paramiko.Transport, traffic: profiling.Traffic) -> None:
    open_channel = transport.open_channel

    @functools.wraps(open_channel)
    def counted(*args: Any, **kwargs: Any) -> paramiko.Channel:
        traffic.channels += 1
        return open_channel(*args, **kwargs)

    transport.open_channel = counted  # type: ignore[method-assign]


def _entry(connection: Connection) -> str:
    return connection.host if connection.port == 22 else f"'[{connection.host}]:{connection.port}'"


def _print(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.fingerprint}"
