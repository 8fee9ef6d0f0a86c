"""The tutorial's way from an empty folder to a live site, walked as it is written; what it shows is what is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.apps import Repository
from tests.documents import ROOT, blocks
from tests.integration.support import ask
from tests.project import Directory
from tests.target import Target

TUTORIAL = "docs/tutorial.md"
WALK = (ROOT / TUTORIAL).read_text().split("## 4. ", 1)[1].split("## 9. ", 1)[0]


def block(language: str, beginning: str) -> str:
    """The one block of the tutorial that begins so."""
    (found,) = [text for text in blocks(TUTORIAL, language) if text.startswith(beginning)]
    return found


def commands() -> Iterator[tuple[list[str], list[str]]]:
    """Each command that the walk shows, with the lines it shows of what that prints."""
    words: list[str] = []
    shown: list[str] = []
    for line in re.findall(r"^    (.*)", WALK, re.MULTILINE):
        if line.startswith("$ fab "):
            if words:
                yield words, shown
            words, shown = line.split()[2:], []
        else:
            shown.append(line)
    yield words, shown


def anyhow(line: str) -> str:
    """A line without what is another each time: ids, revisions, people, numbers and the width of columns."""
    line = line.replace("STARTING", "RUNNING")  # which it becomes after a second
    line = re.sub(r"\S+@\S+", "WHO", line)
    line = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{7}", "RELEASE", line)
    line = re.sub(r"\b[0-9a-f]{7}\b", "REVISION", line)
    line = re.sub(r"\d+(\.\d+)?( bytes| kB)?", "N", line)
    return " ".join(line.split())


def first_missing(shown: list[str], printed: list[str]) -> str | None:
    """The first line that is shown and was not printed after the one before it; at a … some are left out."""
    rest = iter([anyhow(line) for line in printed])
    return next((line for line in shown if line != "…" and anyhow(line) not in rest), None)


def commit(project: Directory, subject: str) -> None:
    repository = Repository("mysite", project.path, {})
    repository.git("init", "--quiet", "--initial-branch=main")  # the second time it changes nothing
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", subject)


def make_project(directory: Path, server: Target) -> Directory:
    """What `django-admin startproject` makes, with what the tutorial says to put into it."""
    project = Directory(directory)
    start = ["uv", "tool", "run", "--quiet", "--from", "django", "django-admin", "startproject", "mysite", "."]
    subprocess.run(start, cwd=directory, check=True)
    greet(project, "Hello")
    for name, more in (("urls", block("python", "from . import")), ("settings", block("python", "import os\n"))):
        with (directory / f"mysite/{name}.py").open("a") as file:
            file.write(more)
    stage = yaml.safe_load(block("yaml", "app: mysite"))
    stage["hosts"]["web1"] = project.entry(server)
    (directory / "hosts/prod.yml").write_text(yaml.safe_dump(stage))
    (directory / ".gitignore").write_text(".venv\n__pycache__/\nprod.env\n")
    (directory / "requirements.txt").write_text("django\n")
    commit(project, "Read settings from the environment")
    return project


def begun_by_init(project: Directory, server: Target) -> None:
    """In place of what is there: what `fab init` writes, where there is no fabfile. How to log in, hosts/all.yml says."""
    for name in ("fabfile.py", "hosts/prod.yml", "prod.env"):
        (project.path / name).unlink()
    login = f"{server.user}@{server.host}:{server.ssh_port}"
    argv = [sys.executable, "-m", "fabrelease", "init", "--yes", "--address", login, "--domain", "www.example.net"]
    subprocess.run(argv, cwd=project.path, check=True)
    entry = {key: value for key, value in project.entry(server).items() if key in ("key", "known_hosts")}
    (project.path / "hosts/all.yml").write_text(yaml.safe_dump({"hosts": {"web1": entry}}))


def greet(project: Directory, greeting: str) -> None:
    (project.path / "mysite/views.py").write_text(block("python", "from django.http").replace("Hello", greeting))


def test_the_way_of_the_tutorial_leads_to_a_live_site(bare_server: Target, tmp_path: Path) -> None:
    project = make_project(tmp_path / "mysite", bare_server)
    deploys, greetings = 0, []
    for words, shown in commands():
        if words[-1] == "deploy":
            deploys += 1
            if deploys == 2:
                greet(project, "Hello, world")
                commit(project, "Greet the world")
        done = project.fab(*words)
        printed = [*done.stderr.splitlines(), *done.stdout.splitlines()]
        assert first_missing(shown, printed) is None, "\n".join(printed)
        greetings.append(ask(bare_server, host="www.example.net").body)
    assert all("Welcome to nginx!" in page for page in greetings[:2])
    assert greetings[2:] == ["Hello", *["Hello, world"] * 3, *["Hello"] * 2]  # rolled back, and scaled


def test_what_fab_init_writes_goes_live_without_an_edit(bare_server: Target, tmp_path: Path) -> None:
    project = make_project(tmp_path / "mysite", bare_server)
    begun_by_init(project, bare_server)
    project.fab("-H", "prod", "setup")
    done = project.fab("-H", "prod", "deploy")
    assert ask(bare_server, host="www.example.net").body == "Hello", done.stderr
