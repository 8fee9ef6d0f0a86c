"""One server and one project, and all that can be seen of them from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.faults import breakpoints
from tests.project import Project
from tests.target import HOST, Server
from tests.target.proxy import Proxy

ROOT = "/srv/tinysite"
LOCK = "/run/fabrelease/locks/tinysite.lock"
IS_FREE = f"[ ! -e {LOCK} ] || flock --shared --timeout 2 {LOCK} true"
IS_REACHED = f"for i in $(seq 20); do if [ -e {breakpoints.REACHED} ]; then echo yes; exit; fi; sleep 0.05; done"
TEMPORARY = r"\.[0-9]+\.[0-9]+(\.fabrelease-new)?$"  # how the names end that a rename takes away
CIRCUSCTL = "/opt/fabrelease/circus/bin/circusctl --endpoint ipc:///run/fabrelease-circus/tinysite/control"
LOOK = (Path(__file__).parent / "look.py").read_text()


@dataclasses.dataclass(frozen=True)
class Seen:
    """How a manager shows on a server.

    :ivar parent: the command line of the process that starts the programs; the machine's first process where empty.
    :ivar kill: the command that kills it; systemd cannot be killed, but begin anew.
    :ivar programs: the command that lists the programs; where empty, they are those that its processes tell.
    """

    parent: str
    kill: str
    programs: str = ""


MANAGERS = {
    "supervisor": Seen(r"/supervisord( |$)", "pkill -KILL -x supervisord", "supervisorctl status"),
    "systemd": Seen("", "systemctl daemon-reexec", "systemctl list-units --all --plain --no-legend 'tinysite-*.service'"),
    "circus": Seen(r"circusd", "pkill -KILL -f '[c]ircusd'", f"{CIRCUSCTL} status | tr : ' '"),
}


class World:
    """A prepared server, behind a proxy, and a project whose code, static file and configurations all tell
    which revision they are of.

    :param web: the name of the server that runs the application.
    :param manager: a name in MANAGERS.
    """

    def __init__(self, server: Server, directory: Path, web: str = "gunicorn", manager: str = "supervisor") -> None:
        self.server = server
        self.web, self.manager = web, manager
        self.proxy = Proxy(server.host, server.ssh_port)
        self.project = Project(directory, "tinysite")

    def close(self) -> None:
        self.proxy.__exit__(None, None, None)
        self.server.remove()

    def stage(self, revision: str) -> None:
        """Write the stage file that belongs to a revision."""
        self.project.stage(
            {"web1": self.server},
            env={"CONFIGURATION": revision},
            web={"server": self.web},
            manager=self.manager,
            site={"headers": {"X-Site": revision}},
            processes={"worker": "python worker.py"},
            hooks={"build": ["true"], "before_switch": ["true"], "after_switch": ["true"]},
            keep_releases=2,
        )
        path, known = self.project.path / "hosts/prod.yml", self.project.path / "known_hosts"
        stage = yaml.safe_load(path.read_text())
        stage["hosts"]["web1"] |= {"address": HOST, "port": self.proxy.port, "known_hosts": str(known)}
        path.write_text(yaml.safe_dump(stage))
        keys = [line.split(maxsplit=1)[1] for line in self.server.known_hosts.read_text().splitlines()]
        known.write_text("".join(f"[{HOST}]:{self.proxy.port} {key}\n" for key in keys))

    def deploy(self, revision: str) -> None:
        """Deploy, without any fault."""
        self.stage(revision)
        self.project.fab("-H", "prod", "deploy", "--ref", revision)
        self.wait_until_idle()

    def sh(self, script: str) -> str:
        """Run shell text on the server, past SSH."""
        return self.server.exec(["sh", "-c", script]).stdout.decode()

    def stopped_at(self, point: str, *arguments: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """fab, which stops on the server when it comes to a point, until go()."""
        return stopped_at(self.server, self.project, point, *arguments)

    def wait_for_point(self, fab: subprocess.Popen[str], seconds: float = 90) -> bool:
        """Whether fab came to its point, or what it left to be done on the server; both may end before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            is_over = fab.poll() is not None and self.is_idle()
            if self.sh(IS_REACHED):
                return True
            if is_over:
                return False
        raise TimeoutError("fab neither came to its point nor to its end")

    def go(self) -> None:
        """Let it go on."""
        self.server.exec(["touch", breakpoints.GO], check=False)

    def wait_until_left(self) -> None:
        """Wait until the host has heard that its deployer is gone: on a slow machine it might go on before.

        Where what was sent waits to be read, it hears that only after it goes on.
        """
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: self.sh(f"ls {breakpoints.LEFT} 2>/dev/null || true"), 10, "the host has heard it")

    def wait_until_idle(self, seconds: float = 60) -> None:
        """Wait until nobody has the lock: what a session does alone, once its deployer is gone, is done then."""
        wait_until(self.is_idle, seconds, "the lock is free")

    def is_idle(self) -> bool:
        return self.server.exec(["sh", "-c", IS_FREE], check=False).returncode == 0

    def site(self) -> dict[str, str]:
        """What the site says of itself: which revision each part is of."""
        home, page = self.get("/")
        style, static = self.get("/static/mark.txt")
        return {
            "status": f"{home.status} {style.status}",
            "code": home.headers.get("X-Revision", "-"),
            "configuration of the application": home.headers.get("X-Configuration", "-"),
            "configuration of nginx": home.headers.get("X-Site", "-"),
            "static file": static.partition("revision: ")[2].strip() or "-",
            "page": page.partition("revision: ")[2].partition("\n")[0] or "-",
        }

    def get(self, path: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection(self.server.host, self.server.http_port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"Host": "demo.example.net", "Connection": "close"})
            answer = connection.getresponse()
            return answer, answer.read().decode(errors="replace")

    def revision(self) -> str | None:
        """The one revision that every part of the site is of; None where it does not answer, or mixed."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            said = self.site()
            parts = {value for name, value in said.items() if name != "status"}
            if said["status"] == "200 200" and len(parts) == 1:
                return parts.pop()
        return None

    def look(self) -> dict[str, Any]:
        """What is on the server: links, processes, programs, sockets, names of files."""
        seen = MANAGERS[self.manager]
        found = self.server.exec(["python3", "-", ROOT, seen.parent, seen.programs], input=LOOK.encode()).stdout
        return dict(json.loads(found))


@contextmanager
def stopped_at(server: Server, project: Project, point: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """fab, which stops on a server when it comes to a point there, until breakpoints.GO is made."""
    names = " ".join((breakpoints.WANTED, breakpoints.TRACE, breakpoints.REACHED, breakpoints.GO, breakpoints.LEFT))
    server.exec(["sh", "-c", f"rm -f {names}; cat >{breakpoints.WANTED}"], input=point.encode())
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.fab", "-H", "prod", *arguments],
        cwd=project.path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as fab:
        try:
            yield fab
        finally:
            fab.kill()


class Asker:
    """Asks the site again and again, and remembers what was wrong."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0
        self.unanswered: list[str] = []
        self.mixed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            key = secrets.token_hex(4)
            try:
                answer, page = self.world.get(f"/?key={key}")
            except (OSError, http.client.HTTPException) as error:
                self.unanswered.append(f"{type(error).__name__} {error}")
                continue
            self.count += 1
            if answer.status != 200:
                self.unanswered.append(f"status {answer.status}")
                continue
            revision = answer.headers["X-Revision"]
            if answer.headers["X-Configuration"] != revision or page != f"revision: {revision}\nkey: {key}\n":
                self.mixed.append(f"{dict(answer.headers)} {page!r}")


def wait_until(is_so: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something to become true.

    Raises TimeoutError, which says what did not.
    """
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"not so within {seconds:g} s: {what}")
        time.sleep(0.1)
