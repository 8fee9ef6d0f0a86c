"""Secrets from a command or the environment: read once, before anything is connected to, and never shown."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from dotenv.parser import parse_stream
from fabric import Connection
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import command, configuration, local, passwords, secretsource
from fabrelease.tasks.engine.errors import UsageError
from fabrelease.tasks.engine.hosts import Host
from fabrelease.tasks.engine.remote import entry
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings

SECRET = "hunter2"
STAGE = """\
app: demo
web: {app: 'demo:app'}
site: {domains: [demo.example.net], paths: {/admin/: {basic_auth: ADMINS}}}
hosts: {web1: {address: 192.0.2.1}, web2: {address: 192.0.2.2}}
"""


def settings(project: Path, secrets: object, **more: object) -> Settings:
    return example_settings(secrets=secrets, project=project, **more)


def fab(project: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The real program, with a fabfile of the project's own."""
    (project / "fabfile.py").write_text("from fabrelease.tasks import ns\n")
    argv = [sys.executable, "-c", "from fabric.main import program; program.run()", *words]
    return subprocess.run(argv, cwd=project, capture_output=True, text=True, env={**os.environ, **more}, timeout=60)


def stage(project: Path, secrets: object) -> None:
    (project / "hosts").mkdir()
    (project / "hosts/prod.yml").write_text(f"{STAGE}secrets: {json.dumps(secrets)}\n")


def refusal(given: Settings) -> str:
    with pytest.raises(UsageError) as caught:
        local.check(given)
    assert caught.value.exit_status == 2
    return str(caught.value)


# --- a command ----------------------------------------------------------------------------


def test_what_a_command_prints_is_read_as_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("# of production\nexport TOKEN='a b'\nOTHER=1\n")
    assert secretsource.read(settings(tmp_path, {"command": "cat kept | cat"})) == {"TOKEN": "a b", "OTHER": "1"}


def test_a_command_runs_once_though_hosts_side_by_side_ask_for_it(tmp_path: Path) -> None:
    given = settings(tmp_path, {"command": "echo run >>runs; sleep 0.1; echo TOKEN=1"})
    threads = [threading.Thread(target=secretsource.read, args=(given,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    local.check(given)
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("echo TOKEN=hunter2; echo no key >&2; exit 3", "failed with exit status 3: no key\n"),
        ("echo TOKEN=hunter2; kill -9 $$", "failed with exit status -9\n"),
        ("no-such-program-anywhere", "no-such-program-anywhere: not found\n"),
        ("printf '\\033[2Jx' >&2; false", "failed with exit status 1: \\x1b[2Jx\n"),
        ("true", "there is no NAME=value line in what `true` printed\n"),
        ("echo; echo '# none'", "there is no NAME=value line"),
        ("echo A=1; echo hunter2 hunter2", "line 2 of what `echo A=1; echo ${S}` printed is no NAME=value line"),
        ("printf 'A=\\377hunter2'", "cannot be read: invalid start byte"),
    ],
)
def test_a_command_that_gives_no_secrets_is_told_with_stage_cause_and_remedy(
    tmp_path: Path, typed: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S", "hunter2 hunter2")
    typed = typed.replace("hunter2 hunter2", "${S}")
    message = refusal(settings(tmp_path, {"command": typed}))
    assert message.startswith("prod: secrets: ")
    assert said in message
    assert "\n  " in message
    assert SECRET not in message.replace(typed, "")


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    for typed in ("sleep 60", "exec >&- 2>&-; sleep 60", "sleep 5 & wait"):
        with pytest.raises(command.Failed, match="took too long"):
            command.output(typed, tmp_path, seconds=0.3)


def test_a_command_that_prints_without_an_end_is_ended(tmp_path: Path) -> None:
    for stream in ("", " >&2"):
        with pytest.raises(command.Failed, match="printed more than"):
            command.output(f"exec yes{stream}", tmp_path)


def test_a_command_may_ask_on_the_terminal(tmp_path: Path) -> None:
    stage(tmp_path, {"command": "read answer; echo TOKEN=$answer ADMINS=a:b | tr ' ' '\\n'"})
    (tmp_path / "fabfile.py").write_text("from fabrelease.tasks import ns\n")
    argv = [sys.executable, "-c", "from fabric.main import program; program.run()", "secrets", "--json"]
    done = subprocess.run(argv, cwd=tmp_path, input=f"{SECRET}\n", capture_output=True, text=True, timeout=60)
    assert [one["name"] for one in json.loads(done.stdout)["hosts"][0]["secrets"]] == ["ADMINS", "TOKEN"]
    assert SECRET not in done.stdout + done.stderr


# --- the environment ----------------------------------------------------------------------


def test_named_variables_are_taken_from_the_environment_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", " 'a' #b$c\nd ")
    assert secretsource.read(settings(tmp_path, {"environment": ["TOKEN"]})) == {"TOKEN": " 'a' #b$c\nd "}


def test_variables_that_are_missing_or_empty_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("THERE", SECRET)
    monkeypatch.delenv("GONE", raising=False)
    message = refusal(settings(tmp_path, {"environment": ["THERE", "GONE", "EMPTY"]}))
    assert message == (
        "prod: secrets: GONE, EMPTY of secrets.environment not set, or empty, in the environment of this machine\n"
        "  Set it where fab runs: export GONE=…"
    )


def test_a_value_that_is_no_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", os.fsdecode(b"hunter2\xff"))
    message = refusal(settings(tmp_path, {"environment": ["TOKEN"]}))
    assert "TOKEN" in message
    assert SECRET not in message


# --- wherever they come from --------------------------------------------------------------


def test_passwords_of_nginx_come_from_the_same_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site: dict[str, Any] = {"paths": {"/admin/": {"basic_auth": "ADMINS"}}}
    monkeypatch.setenv("ADMINS", "alice:$6$salt$hash")
    monkeypatch.setenv("TOKEN", "1")
    for source in ({"command": "echo TOKEN=1; echo 'ADMINS=alice:$6$salt$hash'"}, {"environment": ["TOKEN", "ADMINS"]}):
        given = settings(tmp_path, source, site=site)
        assert passwords.file_of(given, "ADMINS", "key") == "alice:$6$salt$hash\n"
        assert passwords.of_application(given) == {"TOKEN": "1"}
    message = refusal(settings(tmp_path, {"environment": ["TOKEN"]}, site=site))
    assert "there is no ADMINS in secrets.environment, which basic_auth in site: names" in message


def test_a_release_is_the_same_wherever_the_same_secrets_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prod.env").write_text("# kept here\nTOKEN=1\n")
    monkeypatch.setenv("TOKEN", "1")
    sources = ["prod.env", {"command": "echo TOKEN=1"}, {"environment": ["TOKEN"]}, {"command": "echo TOKEN=2"}, None]
    first, *others = [digest(settings(tmp_path, source)) for source in sources]
    assert [other == first for other in others] == [True, True, False, False]


class Supposed(Host):
    """A host that is not asked for its key."""

    def begin(self, what: str) -> entry.Entry:
        return cast(entry.Entry, {"key": "kept on the host"})


def digest(given: Settings) -> str:
    return configuration.digest(Supposed(given, Connection("192.0.2.1")))


@given(st.text())
def test_a_text_is_read_as_dotenv_does_or_refused_by_a_line_without_its_words(text: str) -> None:
    try:
        content = text.encode()
    except UnicodeEncodeError:
        return
    with_marker = content + f"\n{SECRET} {SECRET}\n".encode()
    given = example_settings(secrets="x")
    with pytest.raises(UsageError) as caught:
        secretsource._variables(given, with_marker, "x:{line}", "x")
    found = re.search(r"x:(\d+) is no NAME=value line", str(caught.value))
    assert found
    assert 1 <= int(found[1]) <= len(text.splitlines()) + 2
    assert SECRET not in str(caught.value)
    try:
        read = secretsource._variables(given, content, "x:{line}", "x")
    except UsageError:
        return
    expected = {one.key: one.value for one in parse_stream(io.StringIO(text, newline=None)) if one.key}
    assert read == expected


names = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(codec="utf-8", exclude_characters="'\\\r\0"), max_size=20)


@given(st.dictionaries(names, values, max_size=5))
def test_any_values_in_single_quotes_are_read_back(known: dict[str, str]) -> None:
    text = "".join(f"{name}='{value}'\n" for name, value in known.items())
    assert secretsource._variables(example_settings(), text.encode(), "x:{line}", "x") == known


# --- the command line ---------------------------------------------------------------------


def test_the_verb_shows_names_and_when_a_file_changed_and_no_value(tmp_path: Path) -> None:
    stage(tmp_path, "prod.env")
    (tmp_path / "prod.env").write_text(f"TOKEN={SECRET}\nADMINS='alice:{SECRET}'\n")
    os.utime(tmp_path / "prod.env", (1795000000, 1795000000))
    shown, plain = fab(tmp_path, "-H", "web1", "secrets"), fab(tmp_path, "secrets", "--json")
    assert shown.stdout.splitlines() == [
        "prod/web1: prod.env, changed 2026-11-18T11:06:40Z",
        "  ADMINS (nginx)",
        "  TOKEN",
    ]
    hosts = json.loads(plain.stdout)["hosts"]
    assert [host["host"] for host in hosts] == ["web1", "web2"]
    assert (hosts[0]["source"], hosts[0]["changed"]) == ("file", "2026-11-18T11:06:40Z")
    assert SECRET not in shown.stdout + shown.stderr + plain.stdout + plain.stderr


def test_the_verb_says_where_other_secrets_come_from(tmp_path: Path) -> None:
    stage(tmp_path, {"command": "echo TOKEN=1; echo ADMINS=a:b"})
    shown = fab(tmp_path, "-H", "web2", "secrets").stdout.splitlines()
    assert shown[0] == "prod/web2: read now from `echo TOKEN=1; echo ADMINS=a:b`"
    (tmp_path / "hosts/prod.yml").write_text(STAGE + "secrets: {environment: [ADMINS]}\n")
    shown = fab(tmp_path, "-H", "web2", "secrets", ADMINS="a:b").stdout.splitlines()
    assert shown == ["prod/web2: read now from the environment", "  ADMINS (nginx)"]


@pytest.mark.parametrize("words", [["deploy"], ["push"], ["venv"], ["server"], ["manager"], ["plan"]])
def test_a_command_that_needs_secrets_runs_it_before_it_connects(tmp_path: Path, words: list[str]) -> None:
    stage(tmp_path, {"command": "echo run >>runs; echo locked >&2; exit 2"})
    done = fab(tmp_path, *words)
    assert done.returncode == 2
    assert "prod: secrets: `echo run >>runs; echo locked >&2; exit 2` failed with exit status 2: locked" in done.stderr
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("words", [["--list"], ["--help", "deploy"], ["-H", "web1", "status"], ["-H", "web1", "rollback"]])
def test_a_command_that_needs_no_secrets_does_not_run_it(tmp_path: Path, words: list[str]) -> None:
    stage(tmp_path, {"command": "touch ran; echo TOKEN=1"})
    text = (tmp_path / "hosts/prod.yml").read_text().replace("192.0.2.1", "127.0.0.1, port: 1")
    (tmp_path / "hosts/prod.yml").write_text(text)
    fab(tmp_path, *words)
    assert not (tmp_path / "ran").exists()
