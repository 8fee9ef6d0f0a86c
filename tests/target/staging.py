"""A server of one's own to load or to break, reached by SSH, in place of a container.

    python -m tests.load --server deploy@staging.example.net --key ~/.ssh/id_ed25519

Its user may use sudo without a password, and its host key is known. What is put there is one application,
``tinysite``, under /srv/tinysite, with a site for demo.example.net.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .image import CommandFailed

BOOT_SECONDS = 300
WHERE = re.compile(r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)(:(?P<port>\d+))?")


class Staging:
    """What tests need of a server; the same as Target's, as far as they use it.

    :param where: USER@HOST or USER@HOST:PORT.
    :param directory: for what the run needs here.
    :raises ValueError: `where` is something else, or the host's key is in no known hosts file.
    """

    def __init__(self, where: str, key: Path, known_hosts: Path, http_port: int, directory: Path) -> None:
        found = WHERE.fullmatch(where)
        if not found:
            raise ValueError(f"expected USER@HOST or USER@HOST:PORT, found {where!r}")
        self.user, self.host, self.ssh_port = found["user"], found["host"], int(found["port"] or 22)
        self.http_port = http_port
        self.key_path = key.expanduser()
        self.directory = directory
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text("".join(f"{self._name} {key}\n" for key in self._keys(known_hosts.expanduser())))

    @property
    def _name(self) -> str:
        return self.host if self.ssh_port == 22 else f"[{self.host}]:{self.ssh_port}"

    def _keys(self, path: Path) -> list[str]:
        command = ["ssh-keygen", "-F", self._name, "-f", str(path)]
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        keys = [line.split(maxsplit=1)[1] for line in listed if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"the host key of {self._name} is not in {path}: log in once by hand")
        return keys

    def exec(
        self, argv: Sequence[str], user: str = "root", input: bytes = b"", check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command there; as Target's."""
        command = [*self._ssh(), f"sudo -n -u {user} -- {shlex.join(argv)}"]
        done = subprocess.run(command, input=input, capture_output=True, check=False)
        if check and done.returncode:
            raise CommandFailed(done.returncode, command, done.stdout, done.stderr)
        return done

    def _ssh(self) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "ControlMaster": "auto",
            "ControlPath": f"{self.directory}/%C",
            "ControlPersist": "60",
            "ServerAliveInterval": "5",
            "UserKnownHostsFile": str(self.known_hosts),
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", *words, "-i", str(self.key_path), "-p", str(self.ssh_port), f"{self.user}@{self.host}"]

    def kill(self) -> None:
        """Start the machine anew at once: nothing is ended, nothing is written to the disk."""
        self._boot_id = self._read_boot_id()
        self.exec(["systemctl", "reboot", "--force", "--force"], check=False)
        subprocess.run([*self._ssh(), "-O", "exit"], capture_output=True, check=False)

    def boot(self) -> None:
        """Wait until it is up again after `kill`."""
        end = time.monotonic() + BOOT_SECONDS
        while self._read_boot_id() in ("", self._boot_id):
            if time.monotonic() > end:
                raise TimeoutError(f"{self._name} is not up again after {BOOT_SECONDS} s")
            time.sleep(1)

    def _read_boot_id(self) -> str:
        return self.exec(["cat", "/proc/sys/kernel/random/boot_id"], check=False).stdout.decode().strip()

    def remove(self) -> None:
        """The server stays."""

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a server of one's own."""
    own = parser.add_argument_group("a server of your own, instead of containers; nothing else may be on it that matters")
    own.add_argument("--server", metavar="USER@HOST[:PORT]", help="its user may use sudo without a password")
    own.add_argument("--key", type=Path, default=Path("~/.ssh/id_ed25519"), help="the user's private key (%(default)s)")
    own.add_argument("--known-hosts", type=Path, default=Path("~/.ssh/known_hosts"), help="(%(default)s)")
    own.add_argument("--http-port", type=int, default=80, help="where its nginx is reached (%(default)s)")


def chosen(options: argparse.Namespace, directory: Path) -> Staging | None:
    """The server that was named, if one was."""
    if not options.server:
        return None
    return Staging(options.server, options.key, options.known_hosts, options.http_port, directory)
