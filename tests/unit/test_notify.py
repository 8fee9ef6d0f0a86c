"""Others are told of a deploy or a rollback: by a real web server, a program called sendmail, a real repository."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fabric import Connection
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fabrelease.tasks.engine import local, notify, passwords
from fabrelease.tasks.engine.errors import HostError, HostErrors, UsageError
from fabrelease.tasks.engine.hosts import Host
from fabrelease.tasks.engine.mistakes import mistakes
from fabrelease.tasks.engine.remote import kinds
from fabrelease.tasks.engine.settings import Settings
from fabrelease.tasks.engine.yamltree import dotted
from tests.documents import documented, flatten

from .examples import example_settings

COMMIT = "c5f1284f9b7c8571ed23c5d72bdf146e38c556cf"
RELEASE = "20261121T073413Z-c5f1284"
EVENT = notify.Event(
    "deploy", "success", "shop", "prod", ["web1"], RELEASE, COMMIT, "Greet", "ann@laptop", "2026-11-21T07:34:12Z", 8.4, None
)


class Receiver(ThreadingHTTPServer):
    """A web server that keeps what it is sent.

    :ivar answers: the status of each answer, in their order, then 200; 0 hangs.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int] = []
        self.bodies: list[Any] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/hunter2"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        assert self.path == "/hooks/hunter2"
        assert self.headers["Content-Type"] == "application/json"
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status = self.server.answers.pop(0) if self.server.answers else 200
        if not status:
            self.server.over.wait(30)
            return
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(notify, "PAUSES", (0.01, 0.02))
    server = Receiver()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def sendmail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, first on PATH, that keeps its arguments and what it reads; where it keeps them."""
    program = tmp_path / "bin/sendmail"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/mail; cat >>{tmp_path}/mail\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "mail"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "one")
    return tmp_path


def git(path: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=path, capture_output=True, text=True, check=True).stdout.strip()


def commit(path: Path, subject: str) -> str:
    git(path, "commit", "--quiet", "--allow-empty", "-m", subject)
    return git(path, "rev-parse", "HEAD")


def stage(project: Path, *notices: dict[str, Any], **more: Any) -> list[Host]:
    settings = example_settings(project=project, notify=list(notices), source={"path": "."}, **more)
    return [Host(settings, Connection("192.0.2.1"))]


def deploy(targets: list[Host], error: BaseException | None = None, revision: str = COMMIT) -> None:
    with notify.telling(targets, "deploy", revision, "Greet <!here> & @channel") as about:
        about.release = RELEASE
        if error:
            raise error


# --- webhooks -----------------------------------------------------------------------------


def test_a_webhook_is_sent_the_event_as_it_is_documented(tmp_path: Path, receiver: Receiver) -> None:
    deploy(stage(tmp_path, {"webhook": receiver.url}))
    (event,) = receiver.bodies
    assert (event["event"], event["outcome"], event["release"], event["error"]) == ("deploy", "success", RELEASE, None)
    assert (event["hosts"], event["revision"], event["stage"]) == (["web1"], COMMIT, "prod")
    keys = documented("notify")
    assert {key: types - keys[key] for key, types in flatten(event).items() if types - keys[key]} == {}
    assert set(flatten(event)) == set(keys)


@pytest.mark.parametrize("format", ["slack", "mattermost"])
def test_a_chat_is_sent_a_sentence_that_calls_nobody(tmp_path: Path, receiver: Receiver, format: str) -> None:
    deploy(stage(tmp_path, {"webhook": receiver.url, "format": format}))
    (sent,) = receiver.bodies
    assert list(sent) == ["text"]
    assert sent["text"].startswith("flask-todo prod: c5f1284 Greet &lt;!here&gt; &amp; @\u200bchannel is live (deploy by ")


def test_a_failure_is_told_by_the_first_line_of_each_host_and_fails_as_before(tmp_path: Path, receiver: Receiver) -> None:
    failure = HostErrors([HostError(kinds.HOOK, "web1", "no answer\nTOKEN=hunter2"), HostError(kinds.DISK_FULL, "web2", "no room", "free some")])
    with pytest.raises(HostErrors) as caught:
        deploy(stage(tmp_path, {"webhook": receiver.url}), failure)
    assert caught.value is failure
    (event,) = receiver.bodies
    assert (event["outcome"], event["error"]) == ("failure", "web1: no answer; web2: no room")
    assert event["codes"] == ["FR-407", "FR-309"]


def test_an_interrupted_deploy_is_a_failure(tmp_path: Path, receiver: Receiver) -> None:
    with pytest.raises(KeyboardInterrupt):
        deploy(stage(tmp_path, {"webhook": receiver.url}), KeyboardInterrupt())
    assert receiver.bodies[0]["error"] == "interrupted"


def test_nothing_is_told_where_nothing_was_to_do_or_nobody_wants_it(tmp_path: Path, receiver: Receiver) -> None:
    with notify.telling(stage(tmp_path, {"webhook": receiver.url}), "deploy"):
        pass
    deploy(stage(tmp_path, {"webhook": receiver.url, "when": ["failure"]}))
    deploy(stage(tmp_path))
    assert receiver.bodies == []


@pytest.mark.parametrize(
    ("answers", "attempts", "said"),
    [
        ([500, 503], 3, ""),
        ([429], 2, ""),
        ([500, 500, 500], 3, "it answers 500"),
        ([404], 1, "it answers 404"),
        ([302], 1, "it answers 302"),
        ([307], 1, "it answers 307"),
    ],
)
def test_what_may_pass_is_tried_three_times_and_nothing_else_is(
    tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str], answers: list[int], attempts: int, said: str
) -> None:
    receiver.answers = answers
    deploy(stage(tmp_path, {"webhook": receiver.url}))
    assert len(receiver.bodies) == attempts
    shown = capfd.readouterr().err
    assert (f"the webhook 127.0.0.1 was not told: {said}" in shown) == bool(said)
    assert "hunter2" not in shown


def test_one_that_hangs_holds_up_neither_the_others_nor_the_person(
    tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sendmail: Path
) -> None:
    monkeypatch.setattr(notify, "SECONDS", 1.0)
    receiver.answers = [0, 0, 0]
    began = time.monotonic()
    deploy(stage(tmp_path, {"webhook": receiver.url}, {"email": "team@example.net"}))
    assert 0.9 < time.monotonic() - began < 3
    assert "127.0.0.1 was not told" in capfd.readouterr().err
    assert "is live" in sendmail.read_text()


def test_nobody_listens(tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        deploy(stage(tmp_path, {"webhook": f"http://127.0.0.1:{unused.getsockname()[1]}/hunter2"}))
    shown = capfd.readouterr().err
    assert "the webhook 127.0.0.1 was not told: it cannot be reached: Connection refused" in shown
    assert "hunter2" not in shown


def test_an_address_among_the_secrets_is_used_and_not_given_to_the_application(
    tmp_path: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prod.env").write_text(f"CHAT_URL={receiver.url}\nTOKEN=1\n")
    targets = stage(tmp_path, {"webhook": {"secret": "CHAT_URL"}}, secrets="prod.env")
    local.check(targets[0].settings)
    deploy(targets)
    assert len(receiver.bodies) == 1
    assert passwords.of_application(targets[0].settings) == {"TOKEN": "1"}
    (tmp_path / "prod.env").write_text("CHAT_URL=file:///etc/hunter2\n")
    deploy(targets)
    shown = capfd.readouterr().err
    assert "the webhook CHAT_URL was not told: its secret is no address" in shown
    assert "hunter2" not in shown


def test_an_address_that_is_not_among_the_secrets_is_told_before_a_deploy_and_stops_no_rollback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prod.env").write_text("TOKEN=1\n")
    targets = stage(tmp_path, {"webhook": {"secret": "CHAT_URL"}}, secrets="prod.env")
    with pytest.raises(UsageError, match=r"prod: secrets: there is no CHAT_URL in prod\.env, which notify: names\n  Add it"):
        local.check(targets[0].settings)
    (tmp_path / "prod.env").unlink()
    deploy(targets)
    assert "a webhook was not told: prod: secrets: " in capfd.readouterr().err


# --- mail and tags ------------------------------------------------------------------------


def test_people_are_told_by_sendmail(tmp_path: Path, sendmail: Path) -> None:
    deploy(stage(tmp_path, {"email": ["team@example.net", "ann"]}))
    lines = sendmail.read_text().splitlines()
    assert lines[0] == "-i -- team@example.net ann"
    assert lines[1] == "To: team@example.net, ann"
    assert lines[2].startswith("Subject: flask-todo prod: c5f1284 Greet <!here> & @channel is live (deploy by")


def test_a_sendmail_that_fails_is_tried_again_and_told(
    tmp_path: Path, receiver: Receiver, sendmail: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin/sendmail").write_text(f"#!/bin/sh\necho try >>{sendmail}; echo no queue >&2; exit 75\n")
    deploy(stage(tmp_path, {"email": "team@example.net"}))
    assert sendmail.read_text() == "try\n" * 3
    assert "team@example.net was not told: " in (shown := capfd.readouterr().err)
    assert "failed with exit status 75: no queue" in shown


def test_what_is_live_gets_a_tag(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    head = git(repository, "rev-parse", "HEAD")
    targets = stage(repository, {"git_tag": "deployed/{stage}/{release}"})
    for _ in range(2):  # a rollback comes to a release that has its tag
        deploy(targets, revision=head)
    assert git(repository, "for-each-ref", "--format=%(refname) %(objectname)", "refs/tags") == (
        f"refs/tags/deployed/prod/{RELEASE} {head}"
    )
    assert "not told" not in capfd.readouterr().err
    deploy(targets, revision=commit(repository, "two"))
    assert "was not told: the tag deployed/prod/" in capfd.readouterr().err
    assert git(repository, "rev-parse", f"deployed/prod/{RELEASE}") == head


def test_a_failure_gets_no_tag(repository: Path) -> None:
    with pytest.raises(HostError):
        deploy(stage(repository, {"git_tag": "deployed/{stage}"}), HostError(kinds.HOOK, "web1", "no"))
    assert git(repository, "tag") == ""


# --- the settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notice", "said"),
    [
        ({}, "notify.0: expected one of webhook, email and git_tag, found none"),
        ({"email": "a@b", "git_tag": "x"}, "notify.0: expected one of webhook, email and git_tag, found email and git_tag"),
        ({"webhook": "ftp://hunter2"}, "notify.0.webhook.url: expected https://… or http://…"),
        ({"webhook": {"url": "https://hunter2", "secret": "A"}}, "notify.0.webhook: expected one of url and secret"),
        ({"webhook": {"secret": "hunter2 x"}}, "notify.0.webhook.secret: expected a variable name"),
        ({"webhook": {"secret": "A"}}, "notify.0.webhook: there are no secrets that could hold the address"),
        ({"webhook": ["hunter2"]}, "notify.0.webhook: expected keys and values, found a list"),
        ({"webhook": "https://x", "format": "hunter2"}, "notify.0.format: expected"),
        ({"email": "-oQ/tmp"}, "notify.0.email.0: expected an address of mail"),
        ({"email": "a@b\nBcc: c"}, "notify.0.email.0: expected an address of mail"),
        ({"email": "a@b", "format": "slack"}, "notify.0.format: only a webhook has a format"),
        ({"git_tag": "-d"}, "notify.0.git_tag: expected the name of a tag"),
        ({"git_tag": "x/{host}"}, "notify.0.git_tag: expected the name of a tag"),
        ({"git_tag": "a..b"}, "notify.0.git_tag: expected the name of a tag"),
        ({"git_tag": "x", "when": ["failure"]}, "notify.0.when: a tag is for what succeeded alone"),
        ({"email": "a", "when": []}, "notify.0.when: expected at least one"),
    ],
)
def test_notices_that_cannot_be_are_refused_without_an_address(notice: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        example_settings(notify=[notice])
    (mistake,) = mistakes(caught.value, Settings)
    words = f"{'.'.join(map(str, mistake.path))}: {mistake.message}"
    assert words.startswith(said), words
    assert "hunter2" not in dotted(mistake.path) + mistake.message + mistake.hint or "format" in said


def test_a_tag_needs_a_local_repository() -> None:
    with pytest.raises(ValidationError, match="no local repository"):
        example_settings(notify=[{"git_tag": "x"}], source={"package": "flasktodo==1.2"})


@given(st.text(max_size=20))
def test_any_name_of_a_tag_that_is_taken_is_one_for_git(name: str) -> None:
    try:
        (notice,) = example_settings(notify=[{"git_tag": name}]).notify
    except ValidationError:
        return
    made = (notice.git_tag or "").format(app="a", stage="prod", release=RELEASE)
    subprocess.run(["git", "check-ref-format", f"refs/tags/{made}"], check=True)


@given(st.text(), st.text(), st.text())
def test_any_words_are_one_body_and_one_mail(subject: str, revision: str, error: str) -> None:
    event = replace(EVENT, subject=subject, revision=revision, error=error, outcome="failure")
    sent = json.loads(notify.body("slack", event))["text"]
    assert not {"<", ">"} & set(sent)
    assert "@channel" not in sent
    assert json.loads(notify.body("json", event))["subject"] == subject


@given(st.text(), st.text(max_size=300))
def test_any_words_go_by_mail(tmp_path_factory: pytest.TempPathFactory, subject: str, error: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "sendmail"
    folder.mkdir(exist_ok=True)
    (folder / "sendmail").write_text(f"#!/bin/sh\ncat >{folder}/mail\n")
    (folder / "sendmail").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        notify._mail(["team@example.net"], replace(EVENT, subject=subject, error=error, outcome="failure"), 10)
    head = (folder / "mail").read_text().split("\n\n")[0]
    assert [line.split(":")[0] for line in head.splitlines() if not line.startswith(" ")][:2] == ["To", "Subject"]
    assert "Bcc" not in [line.split(":")[0] for line in head.splitlines()]


# --- the command line ---------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["deploy", "rollback"])
def test_a_command_that_fails_tells_and_ends_with_its_own_status(repository: Path, receiver: Receiver, verb: str) -> None:
    (repository / "fabfile.py").write_text("from fabrelease.tasks import ns\n")
    (repository / "hosts").mkdir()
    (repository / "hosts/prod.yml").write_text(
        "app: demo\nweb: {app: 'demo:app'}\nsite: {domains: [demo.example.net]}\n"
        f"hosts: {{web1: {{address: 127.0.0.1, port: 1}}}}\nnotify: [{{webhook: '{receiver.url}'}}, {{webhook: 'http://127.0.0.1:1/'}}]\n"
    )
    argv = [sys.executable, "-c", "from fabric.main import program; program.run()", verb]
    done = subprocess.run(argv, cwd=repository, capture_output=True, text=True, timeout=60)
    (event,) = receiver.bodies
    assert (event["event"], event["outcome"], event["release"]) == (verb, "failure", None)
    assert event["error"].startswith("web1: ")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].strip() != ""
    assert "notify" in done.stderr
    assert "hunter2" not in done.stderr
