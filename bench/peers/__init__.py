"""The tools that are compared: how each is told to deploy and to go back.

All of them do the same work: the source of a revision into a new release directory, the virtualenv brought up
to date, ``current`` switched, the program restarted, old releases removed. The peers read the source from a
repository on the server itself, which is the fastest there can be; fabrelease sends it from here.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.integration.support import own_certificate

from ..application import Application
from ..server import Access, Server

HERE = Path(__file__).parent
CERTIFICATE = {"certificate": "site.pem", "key": "site.key"}
FABFILE = """\
from fabric import task

from fabrelease.tasks import ns
from fabrelease.tasks.engine import connecting, hosts


@task
def connect(c):
    "Open the connection, and nothing else."
    for host in hosts.of(c):
        connecting.open_connection(host.connection, host.settings)


ns.add_task(connect)
"""


@dataclass(frozen=True)
class Command:
    """What is run and timed."""

    argv: list[str]
    cwd: Path | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: Path | None = None


class Peer:
    """One tool.

    :param server: where to.
    :param application: what.
    :param programs: the directory of the tool's own programs.
    :param place: distinguishes several applications that one tool deploys.
    """

    name = ""
    title = ""
    base = "/srv/bench"  # the login user's

    def __init__(self, server: Server, application: Application, programs: Path, place: str = "") -> None:
        self.server = server
        self.application = application
        self.programs = programs
        self.program = f"{self.name}{place}"
        self.root = f"{self.base}/{self.program}"

    def prepare(self) -> None:
        """Put there, once, what a deploy takes for granted: directories and the program's configuration."""
        self.server.make_program(self.program, self.root)

    def deploy(self, access: Access, revision: str) -> Command:
        """The command that puts a revision live."""
        raise NotImplementedError

    def rollback(self, access: Access) -> Command | None:
        """The command that goes back to the release before; None where the tool has none."""
        return None

    def forget(self, access: Access) -> None:
        """Close what the last command left open: each deploy begins with nothing connected."""

    def socket(self) -> str:
        """Where the application that is live can be asked."""
        return f"{self.root}/web.sock"

    def variables(self, access: Access, revision: str) -> dict[str, str]:
        """What the recipes read."""
        return {
            "BENCH_ROOT": self.root,
            "BENCH_REPOSITORY": self.server.hub,
            "BENCH_REVISION": revision,
            "BENCH_PORT": str(access.port),
            "BENCH_KEY": str(self.server.key),
            "BENCH_KNOWN_HOSTS": str(access.known_hosts),
        }


class Script(Peer):
    """One ssh, one script."""

    name, title = "script", "one ssh, one script, as Mina does"

    def deploy(self, access: Access, revision: str) -> Command:
        remote = ["sh", "-s", "--", self.root, self.server.hub, revision]
        return Command([*access.ssh, *remote], stdin=HERE / "script/deploy.sh")


class Capistrano(Peer):
    """Capistrano 3, Debian's package."""

    name, title = "capistrano", "Capistrano"

    def deploy(self, access: Access, revision: str) -> Command:
        return self._cap("deploy", access, revision)

    def rollback(self, access: Access) -> Command:
        return self._cap("deploy:rollback", access, "main")

    def _cap(self, task: str, access: Access, revision: str) -> Command:
        return Command(["cap", "bench", task], HERE / "capistrano", self.variables(access, revision))


class Pyinfra(Peer):
    """pyinfra 3, in a virtualenv of its own."""

    name, title = "pyinfra", "pyinfra, six operations"

    def deploy(self, access: Access, revision: str) -> Command:
        argv = [str(self.programs / "pyinfra"), "-y", "inventory.py", "deploy.py"]
        return Command(argv, HERE / "pyinfra", self.variables(access, revision))


class Ansible(Peer):
    """ansible-core with pipelining and ControlPersist, in a virtualenv of its own."""

    name, title = "ansible", "ansible-core, pipelining and ControlPersist on"

    def deploy(self, access: Access, revision: str) -> Command:
        values = {"root": self.root, "repository": self.server.hub, "revision": revision}
        more = [word for name, value in values.items() for word in ("--extra-vars", f"{name}={value}")]
        argv = [str(self.programs / "ansible-playbook"), "-i", "server,", *more, "deploy.yml"]
        env = {
            "ANSIBLE_SSH_COMMON_ARGS": f"-F {access.config}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.server.work / "cp"),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }
        return Command(argv, HERE / "ansible", env)

    def forget(self, access: Access) -> None:
        for path in (self.server.work / "cp").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "server"], capture_output=True)


class Ours(Peer):
    """fabrelease, installed from its wheel."""

    name, title = "fabrelease", "fabrelease"
    base = "/srv"  # root's alone, or setup would refuse it
    tls = False

    def prepare(self) -> None:
        project = self.project
        (project / "hosts").mkdir(parents=True)
        (project / "fabfile.py").write_text(FABFILE)
        if self.tls:
            own_certificate(project, names=(self.domain,))
        unreachable = {"refused": {"address": "127.0.0.1", "port": 1, "user": "deploy"}}
        self._stage("refused", unreachable)
        self.server.run(self.command(self.server.accesses[0], "setup"))

    def _stage(self, name: str, hosts: dict[str, dict[str, object]]) -> None:
        settings = {
            "app": self.program,
            "root": self.root,
            "source": {"path": str(self.application.path)},
            "web": {"app": "shop:app", "workers": 2},
            "site": {"domains": [self.domain], **({"tls": CERTIFICATE} if self.tls else {})},
            "hosts": hosts,
        }
        (self.project / f"hosts/{name}.yml").write_text(yaml.safe_dump(settings))

    def _entry(self, access: Access) -> dict[str, object]:
        return {
            "address": "127.0.0.1",
            "port": access.port,
            "user": "deploy",
            "key": str(self.server.key),
            "known_hosts": str(access.known_hosts),
        }

    @property
    def domain(self) -> str:
        """The site's."""
        return f"{self.program}.example.net"

    @property
    def project(self) -> Path:
        """A user's project."""
        return self.server.work / self.program

    def command(self, access: Access, *verb: str) -> Command:
        """fab, for this server.

        It is one stage, whatever way leads there: another one would be refused the application's directory.
        """
        self._stage("prod", {"web": self._entry(access)})
        return Command([str(self.programs / "fab"), "-H", "prod", *verb], self.project)

    def deploy(self, access: Access, revision: str) -> Command:
        return self.command(access, "deploy", "--ref", revision)

    def rollback(self, access: Access) -> Command:
        return self.command(access, "rollback")

    def socket(self) -> str:
        return f"{self.root}/current/run/web.sock"


class OursWithTls(Ours):
    """The same, with a site that has TLS."""

    tls = True


ALL: dict[str, type[Peer]] = {peer.name: peer for peer in (Ours, Script, Pyinfra, Capistrano, Ansible)}
