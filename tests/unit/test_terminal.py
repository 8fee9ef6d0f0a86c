"""What a host says reaches the terminal as text, never as commands to the terminal."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import pytest
from rich.text import Text

from fabrelease.tasks.engine import terminal
from fabrelease.tasks.engine.errors import HostError
from fabrelease.tasks.engine.remote import kinds

HOSTILE = "a\x1b[31mred\x1b[0m\tb \x1b]0;title\x07 \x1b[2J\x9b5A \r\x08 \u202egpj.exe \ud800 é✓"
SHOWN = "ared\tb \\x1b]0;title\\x07 \\x1b[2J\\x9b5A \\x0d\\x08 \\u202egpj.exe \\ud800 é✓"
FORBIDDEN = set(terminal.CONTROL.findall(HOSTILE))
assert len(FORBIDDEN) == 7


def test_colours_go_and_other_controls_are_written_out() -> None:
    assert terminal.visible(HOSTILE) == SHOWN
    assert terminal.visible(SHOWN) == SHOWN
    assert terminal.visible("one\ntwo\tthree") == "one\ntwo\tthree"


def test_nothing_that_is_printed_commands_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "console", terminal.console.__wrapped__)
    terminal.output("web1", HOSTILE)
    terminal.say("web1", "step", HOSTILE)
    terminal.show("[red]web1[/]: ", Text(HOSTILE))
    said, shown = capsys.readouterr()[::-1]
    assert not FORBIDDEN & set(said + shown)
    assert said.count("\\x1b[2J") == 2
    assert shown.startswith("web1:  ared")
    assert shown.count("\n") == 1


def test_an_errors_text_commands_no_terminal() -> None:
    error = HostError(kinds.HOOK, "web1", f"it failed: {HOSTILE}", HOSTILE)
    assert not FORBIDDEN & set(str(error) + error.what + error.text)
    assert not FORBIDDEN & set(str(error.message))  # what Invoke prints


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json({"said": HOSTILE})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"said": HOSTILE}
    assert "é✓" in shown
    assert not FORBIDDEN & set(shown)


def test_a_terminal_that_is_not_utf8_ends_no_command() -> None:
    code = (
        "from fabrelease.tasks.engine import terminal\n"
        "terminal.show('✓ größer'); terminal.say('web1', 'step', '✓ größer'); terminal.show_json({'a': 'größer'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"? gr??er\n")
    assert b"? gr??er" in done.stderr
    assert json.load(io.BytesIO(done.stdout.partition(b"\n")[2])) == {"a": "größer"}


LONG = "the application cannot be loaded; nothing live was touched: it ended with exit status 1, and said why below"
PATH = "/srv/shop/releases/20261121T073413Z-c5f1284/public/" + "x" * 40


def on_a_terminal(code: str, columns: int = 80) -> list[str]:
    """The lines that a terminal shows, without colours, of what a program writes on standard error."""
    program = f"from fabrelease.tasks.engine import terminal, errors\nfrom fabrelease.tasks.engine.remote import kinds\n{code}"
    pty = pytest.importorskip("pty", exc_type=ImportError)  # test_elsewhere tries the rest without it
    ours, its = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", program], stderr=its, env=environment) as process:
        os.close(its)
        written = read_terminal(ours)
    os.close(ours)
    assert process.returncode == 0, written
    return terminal.COLOUR.sub("", written).replace("\r", "").splitlines()


def read_terminal(handle: int) -> str:
    """All that is written to a terminal, until nobody has it open any more."""
    written = b""
    while piece := _read(handle):
        written += piece
    return written.decode()


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


def test_on_a_terminal_a_long_line_goes_on_between_words_below_its_own_beginning() -> None:
    shown = on_a_terminal(f"terminal.say('web1', 'gunicorn', {LONG!r}); terminal.output('web1', {LONG!r})")
    assert all(len(line) <= 80 for line in shown)
    assert [re.sub(r"[^ |].*", "", line[12:]) for line in shown] == [" ", " " * 12, " " * 12 + "| ", *[" " * 14] * 2]
    assert " ".join(line[24:].strip(" |") for line in shown) == f"{LONG} {LONG}"


def test_an_error_on_a_terminal_breaks_between_words_and_no_path() -> None:
    shown = on_a_terminal(
        "import sys\n"
        f"error = errors.HostError(kinds.HOOK, 'web1', {LONG + chr(10) + '    | ' + PATH!r}, {LONG!r})\n"
        "print(error.message, file=sys.stderr)"
    )
    words = " ".join(line.strip() for line in shown)
    assert words == f"web1: {LONG} [FR-407] | {PATH} {LONG}"
    assert f"    | {PATH}" in shown
    assert all(len(line) <= 80 for line in shown if PATH not in line)


def test_in_a_log_each_thing_stays_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "console", terminal.console.__wrapped__)
    monkeypatch.setenv("COLUMNS", "80")
    terminal.say("web1", "gunicorn", LONG)
    assert capsys.readouterr().err == f"web1         gunicorn   {LONG}\n"
    assert HostError(kinds.HOOK, "web1", LONG).message == f"web1: {LONG} [FR-407]"
