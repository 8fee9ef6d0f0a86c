"""What circus makes of its files, and how it is asked: with circus and ZeroMQ themselves."""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path

import pytest
import zmq
from circus.config import get_config
from circus.util import replace_gnu_args
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine.escape import Unsafe, circus, circus_word
from fabrelease.tasks.engine.remote import zmtp
from fabrelease.tasks.engine.rendering import Renderer

from .examples import example, example_settings
from .test_templates import check_golden

LINES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))
TRICKS = st.sampled_from(
    ["$(circus.env.HOME)", "((circus.wid))", "$(CIRCUS.wid)", " ;", "\t;", "$WID", "'", '"', "\\"]
)


def read(tmp: Path, *lines: str) -> dict[str, str]:
    """What circus reads of a watcher, with all that it replaces when it starts one."""
    path = tmp / "circus.ini"
    path.write_text("[circus]\n[watcher:x]\n" + "\n".join(lines) + "\n", newline="")
    (watcher,) = get_config(str(path))["watchers"]
    env = {"HOME": "/root"}
    return {
        key: replace_gnu_args(value, wid=1, env=env, sockets={"web": 7}) if isinstance(value, str) else value
        for key, value in watcher.items()
    }


@given(words=st.lists(st.lists(LINES | TRICKS).map("".join), min_size=1))
def test_words_of_a_command_come_out_as_they_went_in(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    line = "cmd = x " + " ".join(map(circus_word, words))
    found = read(tmp_path_factory.mktemp("circus"), line)["cmd"]
    assert shlex.split(found) == ["x", *words]
    assert "$WID" not in found


@given(value=st.lists(LINES | TRICKS).map("".join))
def test_a_value_comes_out_as_it_went_in_or_is_refused(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        line = f"working_dir = {circus(value)}"
    except Unsafe:
        return
    assert read(tmp_path_factory.mktemp("circus"), line)["working_dir"] == value


def test_only_the_socket_is_replaced(tmp_path: Path) -> None:
    word = circus_word("--fd=$(circus.sockets.web) $(circus.wid)", "$(circus.sockets.web)")
    assert shlex.split(read(tmp_path, f"cmd = {word}")["cmd"]) == ["--fd=7 $(circus.wid)"]


@pytest.mark.parametrize("word", ["a\nb", "a\r"])
def test_line_breaks_are_refused(word: str) -> None:
    with pytest.raises(Unsafe):
        circus_word(word)


def render(address: str = "") -> list[str]:
    settings = example_settings(web={"server": "chaussette", "workers": 3}, manager="circus")
    given = example(settings, address=address)
    return [
        Renderer(None, "web1").render("circus/program.ini.j2", **{**given, "unit": unit})
        for unit in (given["web"], *given["processes"])
    ]


def test_what_is_rendered_reads_as_in_its_golden_files() -> None:
    web, worker, beat = render()
    check_golden("circus.web.ini", web)
    check_golden("circus.worker.ini", worker)
    check_golden("circus.beat.ini", beat)


def test_what_is_rendered_is_understood_by_circus(tmp_path: Path) -> None:
    (tmp_path / "circus.ini").write_text("[circus]\ninclude = *.part\n")
    for number, text in enumerate(render("127.0.0.1:8004")):
        (tmp_path / f"{number}.part").write_text(text)
    found = get_config(str(tmp_path / "circus.ini"))
    web = next(watcher for watcher in found["watchers"] if watcher["numprocesses"] == 3)
    assert (web["use_sockets"], web["graceful_timeout"], web["uid"]) == (True, 40.0, "flasktodo")
    assert web["env"].items() >= {"HOME": "/srv/flask-todo/home", "USER": "flasktodo"}.items()
    assert [watcher["stop_children"] for watcher in found["watchers"]].count(True) == 1
    assert [(socket["host"], socket["port"]) for socket in found["sockets"]] == [("127.0.0.1", "8004")]


def test_a_question_to_a_zeromq_socket_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{path}")

        def answer() -> None:
            for _ in range(2):
                sender, asked = router.recv_multipart()
                router.send_multipart([sender, json.dumps({"asked": len(asked)}).encode() + b" " * len(asked)])

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            for size in (10, 70_000):
                assert json.loads(zmtp.ask(str(path), b"x" * size, 10)) == {"asked": size}
        finally:
            thread.join(10)


def test_who_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{tmp_path}/control")
        with pytest.raises(TimeoutError):
            zmtp.ask(f"{tmp_path}/control", b"hello", 0.2)
