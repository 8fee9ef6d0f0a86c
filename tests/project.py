"""A user's project on the control machine: hosts/*.yml, an application's repository, and `fab`."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.apps import Repository, make_repository
from tests.target import Server

SETTINGS: dict[str, dict[str, Any]] = {
    "djangosite": {
        "app": "djangosite",
        "source": {"path": "app"},
        "web": {"app": "djangosite.wsgi:application", "workers": 2},
        "site": {
            "domains": ["demo.example.net"],
            "static": {"/static/": "static"},
            "media": {"/media/": "media"},
        },
        "env": {
            "DJANGO_ALLOWED_HOSTS": "demo.example.net",
            "DJANGO_DB": "/srv/djangosite/shared/data/db.sqlite3",
        },
        "secrets": "prod.env",
        "shared": {"dirs": ["data", "media"]},
        "hooks": {
            "build": ["python manage.py collectstatic --noinput"],
            "before_switch": ["python manage.py migrate --noinput"],
        },
        "health": {"timeout": 20},
    },
    "flasktodo": {
        "app": "flasktodo",
        "source": {"path": "app"},
        "web": {"app": "flasktodo:app", "workers": 2},
        "site": {"domains": ["demo.example.net"]},
        "env": {"FLASKTODO_CONFIG": "/srv/flasktodo/shared/config.py"},
        "shared": {"dirs": ["data"], "files": {"config.py": "app/deploy/config.py"}},
        "health": {"timeout": 20},
    },
    "tinysite": {
        "app": "tinysite",
        "source": {"path": "app"},
        "web": {"app": "tinysite:application", "workers": 2},
        "site": {"domains": ["demo.example.net"], "static": {"/static/": "static"}},
        "shared": {"dirs": ["data"]},
        "health": {"timeout": 20},
    },
    "asgisite": {
        "app": "asgisite",
        "source": {"path": "app"},
        "web": {"app": "asgisite:application", "server": "uvicorn", "workers": 2},
        "site": {"domains": ["demo.example.net"], "static": {"/static/": "static"}},
        "shared": {"dirs": ["data"]},
        "health": {"timeout": 20},
    },
}
FABFILE = "from fabrelease.tasks import ns\n"


class Directory:
    """A directory with a fabfile, that fab is run in.

    :param path: where; it is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "hosts").mkdir()
        (self.path / "fabfile.py").write_text(FABFILE)
        (self.path / "prod.env").write_text("SECRET_KEY=only-for-tests-0123456789\n")

    def entry(self, server: Server, user: str = "") -> dict[str, Any]:
        """The entry of a server under ``hosts:``."""
        return {
            "address": server.host,
            "port": server.ssh_port,
            "user": user or server.user,
            "key": str(server.key_path),
            "known_hosts": str(server.known_hosts),
        }

    def fab(
        self, *arguments: str, status: int | None = 0, timeout: float = 300, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run fab in the project, without a terminal.

        :param status: the exit status it must have; None for any.
        """
        done = subprocess.run(
            [*FAB, *arguments],
            cwd=self.path,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if status is not None and done.returncode != status:
            said = f"{done.stdout}\n{done.stderr}"
            raise AssertionError(f"fab {' '.join(arguments)} ended with {done.returncode}, not {status}:\n{said}")
        return done

    @contextmanager
    def fab_running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """fab in the background; killed at the end where it still runs."""
        with subprocess.Popen(
            [*FAB, *arguments],
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def status(self, host: str = "prod") -> dict[str, Any]:
        """What ``fab status --json`` says of the first host, whether all is well or not."""
        done = self.fab("-H", host, "status", "--json", status=None)
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout)["hosts"][0])


class Project(Directory):
    """One with stage files and, in app/, an application's repository.

    :param directory: where; it is made.
    :param app: which of the applications under tests/apps.
    """

    def __init__(self, directory: Path, app: str = "djangosite") -> None:
        super().__init__(directory)
        self.app = app
        self.repository: Repository = make_repository(app, self.path / "app")

    def stage(self, servers: Mapping[str, Server], name: str = "prod", **changes: Any) -> None:
        """Write hosts/<name>.yml: the application's usual settings, merged with *changes* (None removes a key)."""
        known = {"hosts": {host: self.entry(server) for host, server in servers.items()}}
        settings = merge({**copy.deepcopy(SETTINGS[self.app]), **known}, changes)
        (self.path / f"hosts/{name}.yml").write_text(yaml.safe_dump(settings, allow_unicode=True))

    def also(self, servers: Mapping[str, Server], name: str, **changes: Any) -> None:
        """The same with other settings, as a stage beside prod, on servers that are anybody's from now on."""
        self.stage(servers, name, **changes)
        for server in servers.values():
            forget_owner(server, self.app)


def forget_owner(server: Server, app: str) -> None:
    """Let any stage of any project deploy an application to where it was set up."""
    mark = f"/srv/{app}/.fabrelease"
    server.exec(["sh", "-c", f"[ ! -e {mark} ] || echo '{json.dumps({'app': app})}' >{mark}"])


FAB = [sys.executable, "-m", "fabric"]


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change nested settings; None removes a key."""
    for key, value in changes.items():
        if value is None:
            settings.pop(key, None)
        elif isinstance(value, dict) and isinstance(settings.get(key), dict):
            merge(settings[key], value)
        else:
            settings[key] = value
    return settings
