"""A server to deploy to: a container that boots systemd, answers SSH and can be killed.

    with Target.start() as server:
        server.connection().run("hostname")

A container belongs to the process that started it: what a dead process has left is
removed when the next one starts a target.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import docker
import fabric
import paramiko
from docker.errors import APIError, NotFound

from .image import (
    CommandFailed,
    cache_directory,
    ensure_dnf_image,
    ensure_engine,
    ensure_image,
    ensure_programs,
    machine_lock,
    private_key,
)
from .image import docker as docker_client

HOST = "127.0.0.1"
ENGINE_SECONDS = 300  # for one answer: the files of a large container take a while to go
OWNER = "fabrelease-test"  # label: the process a container or an image belongs to
ASKER_PASSWORD = "asker-password"  # what sudo asks the user `asker` for

__all__ = [
    "ASKER_PASSWORD",
    "HOST",
    "OWNER",
    "Server",
    "Target",
    "ensure_dnf_image",
    "ensure_engine",
    "ensure_image",
    "ensure_programs",
    "remove_leftovers",
]


class Server(Protocol):
    """What a project deploys to and a campaign loads or breaks: a Target, or a server of somebody's own."""

    host: str
    user: str
    ssh_port: int
    http_port: int
    key_path: Path
    known_hosts: Path

    def exec(
        self, argv: Sequence[str], user: str = "root", input: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]: ...

    def kill(self) -> None: ...

    def boot(self) -> None: ...

    def remove(self) -> None: ...


class Target:
    """One server. Its ports stay the same over `kill` and `boot`."""

    host = HOST
    user = "deploy"

    def __init__(self, container: Any) -> None:
        """Takes a container that `start` has made, running or not."""
        self.container = container
        bindings = container.attrs["HostConfig"]["PortBindings"]
        self.ssh_port = int(bindings["22/tcp"][0]["HostPort"])
        self.http_port = int(bindings["80/tcp"][0]["HostPort"])
        self.key_path = private_key()
        self.known_hosts = cache_directory() / f"known_hosts-{container.name}"

    @classmethod
    def start(
        cls,
        image: str | None = None,
        name: str | None = None,
        *,
        tmpfs: Mapping[str, str] | None = None,
        ports: tuple[int, int] | None = None,
        temporary: bool = True,
    ) -> Target:
        """Starts a server and waits until one can log in.

        Parameters:
            image: what to start; the bare server when None, or what `commit` gave.
            name: the container's name; one of Docker's own making when None.
            tmpfs: small file systems, path to mount options: {"/srv": "size=64m,mode=755"}.
                What is on them is gone after `kill`.
            ports: of SSH and HTTP on 127.0.0.1; free ones when None.
            temporary: removed by later test runs once this process is dead.

        Raises TimeoutError when the server does not let anyone in within a minute.
        """
        remove_leftovers()
        container = create(image or ensure_image(), name, tmpfs or {}, ports, temporary)
        target = cls(container)
        try:
            target.wait()
        except BaseException:
            target.remove()
            raise
        return target

    @classmethod
    def find(cls, name: str) -> Target | None:
        """The server of this name, running or not; None when there is none."""
        try:
            return cls(docker.from_env(timeout=ENGINE_SECONDS).containers.get(name))
        except NotFound:
            return None

    def exec(
        self, argv: Sequence[str], user: str = "root", input: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs a command in the container, past SSH: for looking at a server from outside.

        Raises CommandFailed, whose text holds what the command printed, when `check` is set and it exits with
        anything but 0.
        """
        command = ["exec", "--interactive", "--user", user, self.container.id, *argv]
        return docker_client(*command, input=input, check=check)

    def connection(self, user: str = "deploy") -> fabric.Connection:
        """A Fabric connection that knows the server's key and takes no other."""
        # pytest's stand-in for stdin cannot be read, and nothing is ever typed here.
        config = fabric.Config(overrides={"run": {"in_stream": False}, "load_ssh_configs": False})
        connection = fabric.Connection(
            self.host,
            user=user,
            port=self.ssh_port,
            config=config,
            connect_timeout=10,
            connect_kwargs={
                "key_filename": str(self.key_path),
                "look_for_keys": False,
                "allow_agent": False,
                "banner_timeout": 10,
            },
        )
        connection.client.load_host_keys(str(self.known_hosts))
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        return connection

    def kill(self) -> None:
        """Cuts the power: every process dies at once, what is on the disk stays."""
        self.container.kill()
        self.container.wait()

    def boot(self) -> None:
        """Starts the server again after `kill` and waits until one can log in."""
        self.container.start()
        self.wait()

    def commit(self, tag: str | None = None) -> str:
        """Keeps the server's disk as an image to start others from, and gives its id.

        Parameters:
            tag: a name under which later runs find it; without one it goes when this process is dead.
        """
        owner = "" if tag else str(os.getpid())
        self.exec(["sync"])
        return str(self.container.commit(repository=tag, changes=f"LABEL {OWNER}={owner}").id)

    def remove(self) -> None:
        """Takes the server and all it holds away; one that is gone already is fine."""
        self.known_hosts.unlink(missing_ok=True)
        remove_container(self.container)

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def wait(self, timeout: float = 60) -> None:
        """Waits until `deploy` has logged in and run a command.

        Parameters:
            timeout: in seconds.

        Raises TimeoutError, with the last reason.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.write_known_hosts()
                self.read_banner()
                with self.connection() as connection:
                    connection.run("true", hide=True)
                return
            except (OSError, EOFError, paramiko.SSHException, CommandFailed) as e:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"no login on {self.host}:{self.ssh_port} in {timeout} s: {e!r}"
                    ) from e
            time.sleep(0.1)

    def read_banner(self) -> None:
        """Raises OSError until sshd itself answers: Docker's proxy accepts connections before that."""
        with socket.create_connection((self.host, self.ssh_port), timeout=5) as connection:
            if not connection.recv(4).startswith(b"SSH-"):
                raise ConnectionError("the port is open, and no sshd behind it")

    def write_known_hosts(self) -> None:
        key = self.exec(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.decode().split()[:2]
        self.known_hosts.write_text(f"[{self.host}]:{self.ssh_port} {' '.join(key)}\n")


def create(
    image: str, name: str | None, tmpfs: Mapping[str, str], ports: tuple[int, int] | None, temporary: bool
) -> Any:
    """Creates and starts the container; takes other free ports when somebody was quicker."""
    for attempt in range(5):
        ssh, http = ports or (free_port(), free_port())
        container = docker.from_env(timeout=ENGINE_SECONDS).containers.create(
            image,
            "/sbin/init",
            name=name,
            cap_add=["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"],  # the last: root looks into others' processes
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            cgroupns="host",
            volumes={"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}},
            tmpfs={"/run": "", "/run/lock": "", **tmpfs},
            environment={"container": "docker"},
            ports={"22/tcp": (HOST, ssh), "80/tcp": (HOST, http)},
            labels={OWNER: str(os.getpid()) if temporary else ""},
        )
        try:
            container.start()
        except APIError as error:
            remove_container(container)
            taken = "already allocated" in str(error) or "already in use" in str(error)
            if ports or not taken or attempt == 4:
                raise
        else:
            container.reload()
            return container
    raise AssertionError("unreachable")


def free_port() -> int:
    """A free port below the range the kernel gives out, so that it is still free after `kill`."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as listener:
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
            return port


def remove_container(container: Any) -> None:
    try:
        container.remove(force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        # Somebody else is removing it at this moment.
        if "already in progress" not in str(error):
            raise


def remove_leftovers() -> None:
    """Removes the containers and images of test processes that are dead."""
    client = docker.from_env(timeout=ENGINE_SECONDS)
    with machine_lock("leftovers"):
        for container in client.containers.list(all=True, filters={"label": OWNER}, ignore_removed=True):
            if owner_is_dead(container.labels[OWNER]):
                Target(container).remove()
        for image in client.images.list(filters={"label": OWNER, "dangling": True}):
            if owner_is_dead(image.labels[OWNER]):
                client.images.remove(image.id, force=True)


def owner_is_dead(owner: str) -> bool:
    """Whether the process with this number is gone; no number means: nobody's, to be kept."""
    try:
        if owner.isdigit():
            os.kill(int(owner), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
