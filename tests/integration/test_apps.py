"""The sample applications are real: they install, start under gunicorn and behave as their revisions say."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apps import ODD_FILES, ODD_LINK, ODD_SCRIPT, REVISIONS, Repository, make_repository, make_wheel

APPS = ("djangosite", "flasktodo")


@pytest.mark.parametrize("app", APPS)
def test_a_repository_has_the_same_commits_wherever_it_is_made(
    app: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_repository(app, tmp_path / "first")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    umask = os.umask(0o077)
    try:
        second = make_repository(app, tmp_path / "second")
    finally:
        os.umask(umask)
    assert tuple(first.revisions) == REVISIONS
    assert len(set(first.revisions.values())) == len(REVISIONS)
    assert first.revisions == second.revisions
    assert first.git("rev-parse", "HEAD").strip() == first.revisions["two"]
    assert first.git("status", "--porcelain") == ""


def test_a_repository_holds_odd_names_an_executable_and_a_symlink(tmp_path: Path) -> None:
    repository = make_repository("djangosite", tmp_path / "app", ("one",))
    entries = repository.git("ls-tree", "-r", "-z", "HEAD").split("\0")[:-1]
    modes = {path: line.split()[0] for line, path in (entry.split("\t") for entry in entries)}
    assert {modes[name] for name in ODD_FILES} == {"100644"}
    assert modes[ODD_SCRIPT] == modes["manage.py"] == "100755"
    assert modes[ODD_LINK] == "120000"


def test_djangosite_migrates_answers_and_keeps_what_is_posted(tmp_path: Path) -> None:
    repository = make_repository("djangosite", tmp_path / "app")
    python = virtualenv(tmp_path / "env", "--requirement", str(repository.path / "requirements.txt"))
    environment = {
        "SECRET_KEY": "not for the log",
        "DJANGO_DB": str(tmp_path / "db.sqlite3"),
        "DJANGO_ALLOWED_HOSTS": "localhost",
        "SHOW_START_SECONDS": "0",
    }
    for number, revision in enumerate(("one", "two"), start=1):
        checkout(repository, revision)
        for command in (
            ["migrate", "--noinput"],
            ["collectstatic", "--noinput", "--clear"],  # without it a file of this very second is kept
            ["makemigrations", "--check"],
        ):
            manage(repository, python, environment, *command)
        css = (repository.path / "static/pages/style.css").read_text()
        assert f"revision: {revision}" in css
        with gunicorn(python, "djangosite.wsgi", repository.path, environment) as ask:
            assert f"revision: {revision}" in ask("GET", "/")[1]
            assert ask("POST", "/echo?key=k", f"body of {revision}") == (200, f"body of {revision}")
            assert ask("GET", "/count?key=k") == (200, str(number))
            assert ask("GET", "/slow?seconds=0.1") == (200, f"revision: {revision}\n")
            seen = json.loads(ask("GET", "/env")[1])
            assert seen["env"]["DJANGO_DB"] == environment["DJANGO_DB"]
            assert "not for the log" not in json.dumps(seen)
            status, answer = ask("POST", "/upload", multipart("a.txt", "uploaded"), MULTIPART)
            stored = repository.path / json.loads(answer)["url"].lstrip("/")
            assert (status, stored.read_text()) == (200, "uploaded")
    checkout(repository, "one")
    with gunicorn(python, "djangosite.wsgi", repository.path, environment) as ask:
        assert ask("POST", "/echo?key=k", "old code, new table") == (200, "old code, new table")
    assert_broken(repository, python, "djangosite.wsgi", environment)


def test_flasktodo_answers_below_a_path_and_keeps_its_list(tmp_path: Path) -> None:
    repository = make_repository("flasktodo", tmp_path / "app")
    python = virtualenv(tmp_path / "env", "gunicorn", str(make_wheel("flasktodo", "one", tmp_path)))
    (tmp_path / "shared/data").mkdir(parents=True)
    config = tmp_path / "shared/config.py"
    config.write_bytes((repository.path / "deploy/config.py").read_bytes())
    environment = {"FLASKTODO_CONFIG": str(config), "SHOW_START_SECONDS": "0"}
    below = {"SCRIPT_NAME": "/todo-app"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    # From the installed wheel, then from the source of the next revision.
    for directory, revision, version in ((tmp_path, "one", "1.0"), (repository.path, "two", "1.1")):
        checkout(repository, revision)
        with gunicorn(python, "flasktodo:app", directory, environment) as ask:
            status, page = ask("GET", "/todo-app/", headers=below)
            assert status == 200
            assert f"revision: {revision}, version {version}" in page
            assert 'href="/todo-app/static/style.css"' in page
            assert f"revision: {revision}" in ask("GET", "/static/style.css")[1]
            assert ask("POST", "/todo", f"text=by+{revision}", form)[0] == 302
            assert f"by {revision}" in json.loads(ask("GET", "/todo")[1])
            assert json.loads(ask("GET", "/todo-app/env", headers=below)[1])["script_name"] == "/todo-app"
    assert_broken(repository, python, "flasktodo:app", environment)


def checkout(repository: Repository, revision: str) -> None:
    """Puts a revision into the work tree; Python would take compiled files of the same second for its own."""
    repository.git("clean", "--quiet", "--force", "-dx", "--", "*.pyc")
    repository.git("checkout", "--quiet", revision)


def assert_broken(repository: Repository, python: Path, app: str, environment: Mapping[str, str]) -> None:
    checkout(repository, "broken-500")
    with gunicorn(python, app, repository.path, environment) as ask:
        assert ask("GET", "/")[0] == 500
    checkout(repository, "slow-start")
    with gunicorn(python, app, repository.path, environment) as ask:
        assert "revision: slow-start" in ask("GET", "/")[1]
    checkout(repository, "broken-import")
    with pytest.raises(AssertionError, match="nothing_of_this_name"):
        gunicorn(python, app, repository.path, environment).__enter__()


def virtualenv(directory: Path, *requirements: str) -> Path:
    python = directory / "bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, *requirements], check=True)
    return python


def manage(repository: Repository, python: Path, environment: Mapping[str, str], *command: str) -> None:
    argv = [python, "manage.py", *command]
    subprocess.run(argv, cwd=repository.path, env=os.environ | environment, stdout=subprocess.DEVNULL, check=True)


MULTIPART = {"Content-Type": "multipart/form-data; boundary=edge"}


def multipart(name: str, content: str) -> str:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--edge\r\n{head}\r\n\r\n{content}\r\n--edge--\r\n"


@contextmanager
def gunicorn(python: Path, app: str, directory: Path, environment: Mapping[str, str]) -> Iterator[Ask]:
    """Gives a function that asks the application; AssertionError with its log when it does not start."""
    address, log = directory / "app.sock", directory / "app.log"
    command = [python, "-m", "gunicorn", "--bind", f"unix:{address}", "--no-control-socket", app]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=directory, env=os.environ | environment, stdout=output, stderr=output)
    ask = Ask(address)
    try:
        while not ask.answers():
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        yield ask
    finally:
        process.terminate()
        process.wait()
        log.unlink()


class Ask:
    """Asks over a unix socket: `ask("GET", "/")` gives the status and the body."""

    def __init__(self, address: Path) -> None:
        self.address = address

    def __call__(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.address))
        connection.request(method, path, body, dict(headers or {}))
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()

    def answers(self) -> bool:
        try:
            return self("GET", "/")[0] > 0
        except OSError:
            return False
