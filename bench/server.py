"""The server everything is deployed to, and the ways to reach it: at hand, and far away."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.target import Target

from .application import Application
from .latency import Line

if TYPE_CHECKING:
    from .peers import Command

PROGRAM = """\
[program:{name}]
command={root}/env/bin/python -m gunicorn --workers 2 --bind unix:{root}/web.sock shop:app
directory={root}/current
user=deploy
autostart=false
autorestart=true
"""
INDEX = """\
server {
    listen 127.0.0.1:8999;
    root /srv/bench/index;
    autoindex on;
}
"""
MAKE_INDEX = """
python3 -m venv /srv/bench/downloader
cat >/srv/bench/requirements.txt
/srv/bench/downloader/bin/pip download --quiet --dest /srv/bench/wheels --requirement /srv/bench/requirements.txt
python3 - <<'PYTHON'
import os, re
for wheel in os.listdir("/srv/bench/wheels"):
    place = "/srv/bench/index/" + re.sub("[-_.]+", "-", wheel.split("-")[0]).lower()
    os.makedirs(place, exist_ok=True)
    os.rename(f"/srv/bench/wheels/{wheel}", f"{place}/{wheel}")
PYTHON
systemctl reload nginx
printf '\\n[global]\\nindex-url = http://127.0.0.1:8999/\\n' >/etc/pip.conf
printf '\\n[[index]]\\nurl = "http://127.0.0.1:8999/"\\ndefault = true\\n' >>/etc/uv/uv.toml
ls /srv/bench/index | wc -l
"""
ASK = """
import http.client, socket, sys
connection = http.client.HTTPConnection("shop.example.net")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request("GET", "/")
print(connection.getresponse().read().decode(), end="")
"""
MINUTES = 10


class Failed(Exception):
    """A tool did not do what is measured."""


@dataclass(frozen=True)
class Access:
    """One way to the server.

    :ivar name: also the stage's name.
    :ivar rtt: seconds.
    :ivar config: of OpenSSH, in which the server is called ``server``.
    """

    name: str
    rtt: float
    port: int
    config: Path
    known_hosts: Path
    line: Line | None = None

    @property
    def ssh(self) -> list[str]:
        """OpenSSH to the server, as a command."""
        return ["ssh", "-F", str(self.config), "server"]


class Server:
    """A target with what the peers need on it.

    :param target: a fresh one.
    :param work: a directory for what the run needs here; its path is short, for sockets of OpenSSH's lie in it.
    """

    hub = "/srv/bench/hub.git"

    def __init__(self, target: Target, work: Path) -> None:
        self.target = target
        self.key = target.key_path
        self.work = work
        self.accesses: list[Access] = []

    def access(self, name: str, port: int, rtt: float = 0, line: Line | None = None) -> Access:
        """Make a way to the server known, by the port it is reached at."""
        known = self.work / f"known_hosts-{name}"
        known.write_text(self.target.known_hosts.read_text().replace(f":{self.target.ssh_port} ", f":{port} "))
        config = self.work / f"ssh_config-{name}"
        config.write_text(
            f"Host server\n  HostName 127.0.0.1\n  Port {port}\n  User deploy\n  IdentityFile {self.key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n"
        )
        access = Access(name, rtt, port, config, known, line)
        self.accesses.append(access)
        return access

    def make_hub(self) -> None:
        """A repository on the server that the peers fetch from."""
        self.shell("mkdir -p /srv/bench && chown deploy: /srv/bench")
        self.shell(f"runuser -u deploy -- git init --quiet --bare --initial-branch=main {self.hub}")

    def make_index(self, requirements: str) -> int:
        """An index of packages on the server itself, so that no line and no other machine is measured.

        Gives the number of distributions in it. From then on pip and uv know no other index.
        """
        self.target.exec(["tee", "/etc/nginx/conf.d/index.conf"], input=INDEX.encode())
        done = self.target.exec(["sh", "-euc", MAKE_INDEX], input=requirements.encode())
        return int(done.stdout.split()[-1])

    def forget_cache(self, name: str) -> None:
        """Let the next tool find nothing in the login user's cache.

        Nothing is deleted for that, here or between deploys: ext4 takes a second more to give out a thousand files
        that were freed a moment ago, and whoever comes next would pay for it.
        """
        self.shell(f"if [ -e /home/deploy/.cache ]; then mv /home/deploy/.cache /srv/bench/cache-before-{name}; fi")

    def publish(self, application: Application) -> None:
        """Bring the hub up to date."""
        git_ssh = f"ssh -F {self.accesses[0].config}"
        command = ["git", "-C", str(application.path), "push", "--quiet", "--force", f"server:{self.hub}", "main"]
        subprocess.run(command, env={**os.environ, "GIT_SSH_COMMAND": git_ssh}, check=True)

    def make_program(self, name: str, root: str) -> None:
        """A directory of the login user's, and supervisor's configuration of the program in it."""
        self.shell(f"mkdir -p {root}/releases && chown -R deploy: {root}")
        text = PROGRAM.format(name=name, root=root)
        self.target.exec(["tee", f"/etc/supervisor/conf.d/{name}.conf"], input=text.encode())
        self.shell(f"supervisorctl reread && supervisorctl add {name}")

    def shell(self, script: str) -> str:
        """Run a script as root, past SSH, and give what it prints."""
        return self.target.exec(["sh", "-euc", script]).stdout.decode()

    def run(self, command: Command, status: int = 0) -> float:
        """Run a command to its end and give the seconds it took.

        Raises Failed with what it printed when its exit status is not the one it must have.
        """
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **command.env}
        with (command.stdin or Path(os.devnull)).open() as stdin:
            began = time.monotonic()
            done = subprocess.run(
                command.argv,
                cwd=command.cwd,
                env=env,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60 * MINUTES,
            )
            seconds = time.monotonic() - began
        if done.returncode != status:
            raise Failed(f"{' '.join(command.argv)} ended with {done.returncode}:\n{done.stdout}")
        return seconds

    def wait_for(self, socket: str, right: Callable[[str], bool]) -> None:
        """Wait until the application behind a socket gives the right answer: a deploy that did nothing is none."""
        end, said = time.monotonic() + 20, ""
        while time.monotonic() < end:
            done = self.target.exec(["python3", "-c", ASK, socket], check=False)
            said = done.stdout.decode()
            if said and right(said):
                return
            time.sleep(0.2)
        raise Failed(f"{socket} answers {said!r}: that is the wrong revision")
