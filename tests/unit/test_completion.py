"""What the shells complete, from what fab kept of its last run: by the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fabrelease.tasks.engine import completion, verb
from fabrelease.tasks.engine.settings import ROLES
from fabrelease.tasks.engine.stages import load_stage

from .test_terminal import read_terminal

STAGE = """\
app: shop
web: {app: "shop:app"}
site: {domains: [shop.example.net]}
hosts:
  web1: {address: 203.0.113.10, user: deploy}
  web2: {address: 203.0.113.11, user: deploy}
"""
OLD, NEW = "20261121T072953Z-74ddfc1", "20261121T073413Z-c5f1284"
LISTING = [
    {"id": OLD, "state": "good", "subject": "Read settings from the environment"},
    {"id": "20261121T073000Z-302b66e", "state": "bad", "subject": "Use a library that is not there"},
    {"id": NEW, "state": "good", "subject": "Greet *the* world\x1b[2J"},
]
MILLISECONDS = 50


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with two stages, a repository, and what a command, a listing and a deploy have left in the cache."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("completion") / "my shop"
        patch.setenv("XDG_CACHE_HOME", str(path / "cache"))
        (path / "hosts").mkdir(parents=True)
        (path / "hosts/all.yml").write_text("keep_releases: 5\n")
        (path / "hosts/prod.yml").write_text(STAGE)
        (path / "hosts/staging.yml").write_text(STAGE.replace("web", "test").replace("test: {", "web: {"))
        (path / "fabfile.py").write_text("from fabrelease.tasks import ns\n")
        (path / "deep/below").mkdir(parents=True)
        git(path, "init", "-q", "-b", "main")
        git(path, "add", "fabfile.py")
        git(path, "commit", "-qm", "Begin")
        git(path, "branch", "feature/one")
        git(path, "tag", "v1.0")
        for shell in completion.SHELLS:
            printed = run(path, "fab", "completion", "--shell", shell)
            (path / f"fab.{shell}").write_text(printed)
        completion.remember_releases(load_stage(path, "prod").hosts["web1"], LISTING)
        yield path


def git(path: Path, *words: str) -> None:
    run(path, "git", "-c", "user.name=Ann", "-c", "user.email=ann@example.net", *words)


def run(path: Path, *argv: str) -> str:
    return subprocess.run(argv, cwd=path, check=True, stdout=subprocess.PIPE, text=True).stdout


def bash(path: Path, line: str, folder: str = ".") -> list[str]:
    """What bash offers at the end of a line."""
    code = (
        '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fabrelease; '
        '(( ${#COMPREPLY[@]} )) && printf "%s\\n" "${COMPREPLY[@]}"; true'
    )
    return run(path / folder, "bash", "--norc", "-c", code, "bash", str(path / "fab.bash"), *line.split(" ")).split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fab dep", ["deploy"]),
        ("fab -H prod ro", ["rollback"]),
        ("fab -H ", ["prod", "staging", "web1", "web2", "test1", "test2"]),
        ("fab --hosts pr", ["prod"]),
        ("fab -H web1,w", ["web1,web1", "web1,web2"]),
        ("fab -H prod deploy --re", ["--ref"]),
        ("fab deploy --ref ", ["feature/one", "main", "v1.0"]),
        ("fab deploy -r fea", ["feature/one"]),
        ("fab push --ref v", ["v1.0"]),
        ("fab -H prod rollback --to ", [NEW, OLD]),
        ("fab rollback --to 20261121T0734", [NEW]),
        ("fab -H staging rollback -t ", [NEW, OLD]),
        ("fab deploy --continue-without web1,web", ["web1,web1", "web1,web2"]),
        ("fab logs --which ", []),
        ("fab logs --which deploy --fol", ["--follow"]),
        ("fab --prompt-for-s", ["--prompt-for-sudo-password"]),
        ("fab deploy --role app,", ["app,app", "app,proxy", "app,worker", "app,scheduler"]),
        ("fab completion --shell ", ["bash", "zsh", "fish"]),
        ("fab deploy no-such-", []),
    ],
)
def test_bash_completes(project: Path, line: str, offered: list[str]) -> None:
    assert bash(project, line) == offered


def test_the_same_is_offered_below_the_project(project: Path) -> None:
    assert bash(project, "fab -H web", "deep/below") == ["web1", "web2"]


def test_a_new_stage_and_a_new_branch_are_offered_at_once(project: Path) -> None:
    (project / "hosts/new.yml").write_text(STAGE)
    git(project, "branch", "newer")
    try:
        assert bash(project, "fab -H n") == ["new"]
        assert bash(project, "fab deploy --ref n") == ["newer"]
    finally:
        (project / "hosts/new.yml").unlink()
        git(project, "branch", "-D", "newer")


@pytest.mark.parametrize("line", ["fab dep", "fab -H ", "fab -H prod deploy --", "fab deploy --ref ", "fab rollback --to "])
def test_the_candidates_are_there_within_a_twentieth_of_a_second(project: Path, line: str) -> None:
    *before, typed = line.split(" ")
    argv = ["sh", str(completion.SCRIPTS / "candidates.sh"), typed, *before]
    assert min(seconds(lambda: run(project, *argv)) for _ in range(9)) * 1000 < MILLISECONDS


def seconds(function: Callable[[], object]) -> float:
    began = time.monotonic()
    function()
    return time.monotonic() - began


def test_where_nothing_ran_yet_the_tasks_are_asked_of_fab_itself(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "none"))
    assert bash(project, "fab roll") == ["rollback"]


def test_an_interactive_bash_completes_on_a_tab(project: Path) -> None:
    ours, its = pty.openpty()
    argv = ["bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, cwd=project, start_new_session=True) as process:
        os.close(its)
        os.write(ours, b". ./fab.bash; fab() { printf '<%s>' \"$@\"; }\n")
        os.write(ours, b"fab -H pro\troll\t--to 20261121T0734\t\nexit\n")
        written = read_terminal(ours)
    os.close(ours)
    assert process.returncode == 0
    assert f"<-H><prod><rollback><--to><{NEW}>" in written


def test_zsh_completes(project: Path) -> None:
    code = (
        'autoload -Uz compinit; compinit -D; . "$1"; shift; '
        'words=("$@"); CURRENT=$#; _describe() { print -rl -- "${found[@]}"; }; _fabrelease'
    )
    offered = run(project, "zsh", "-f", "-c", code, "zsh", "./fab.zsh", "fab", "-H", "prod", "rollback", "--to", "")
    assert offered.splitlines() == [f"{NEW}:Greet *the* world\\x1b[2J", f"{OLD}:Read settings from the environment"]


def test_fish_completes(project: Path) -> None:
    code = 'source ./fab.fish; complete -C "fab -H prod rollback --to "'
    offered = run(project, "fish", "--no-config", "-c", code)
    assert offered.splitlines() == [f"{NEW}\tGreet *the* world\\x1b[2J", f"{OLD}\tRead settings from the environment"]


def test_every_role_is_offered_and_named_in_the_help_of_its_option(project: Path) -> None:
    assert bash(project, "fab status --role ") == list(ROLES)
    assert all(re.search(rf"\b{role}\b", verb.OPTIONS["role"]) for role in ROLES)


def test_the_candidates_can_stand_between_single_quotes_in_every_shell() -> None:
    text = (completion.SCRIPTS / "candidates.sh").read_text()
    assert not {"'", "\\"} & set(text)
    assert "CANDIDATES" not in text


def test_a_deploy_adds_its_release_and_forgets_what_is_cleared_away(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "another"))
    settings = load_stage(project, "prod").hosts["web1"]
    completion.remember(load_stage(project, "prod").hosts.values())
    for second in range(7):
        completion.add_release(settings, f"20261121T07000{second}Z-c5f1284", "Greet the world")
    completion.add_release(settings, "20261121T070006Z-c5f1284", "Greet the world")
    kept = (project / "another/fabrelease/completion" / str(project)[1:] / "%releases.prod").read_text()
    assert [line[14] for line in kept.splitlines()] == ["6", "5", "4", "3", "2"]


def test_a_cache_that_cannot_be_written_to_stops_no_command(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    completion.remember(load_stage(project, "prod").hosts.values())
    completion.add_release(load_stage(project, "prod").hosts["web1"], NEW, "Greet the world")
    assert not (Path("/dev/null") / "fabrelease").exists()
