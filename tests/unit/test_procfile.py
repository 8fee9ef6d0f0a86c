"""A Procfile, as we read it and as honcho does."""

from __future__ import annotations

import pytest
from honcho.environ import parse_procfile
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import procfile
from fabrelease.tasks.engine.errors import UsageError

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,30}", fullmatch=True)
COMMANDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)
PIECES = st.tuples(NAMES, st.sampled_from([":", ": ", ":\t"]), COMMANDS)


@given(st.lists(PIECES, unique_by=lambda piece: piece[0]), st.sampled_from(["\n", "\r\n", "\n\n", "\n# no: process\n"]))
def test_honcho_agrees_on_what_a_procfile_says(pieces: list[tuple[str, str, str]], between: str) -> None:
    text = between.join("".join(piece) for piece in pieces)
    assert procfile.read(text, "Procfile") == dict(parse_procfile(text).processes)
    assert procfile.read(text, "Procfile") == {name: command for name, _, command in pieces}


@given(st.text())
def test_whatever_honcho_takes_we_take_or_refuse_and_never_read_otherwise(text: str) -> None:
    try:
        ours = procfile.read(text, "Procfile")
    except UsageError:
        return
    assert ours == {name: command.strip() for name, command in parse_procfile(text).processes.items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web: a\nnothing", "Procfile:2 is no NAME: COMMAND line: nothing"),
        ("worker:", "Procfile:1 is no"),
        ("a: b\n\na: c", "Procfile:3 names a a second time"),
        (f"{'a' * 32}: b", "Procfile:1 is no"),
    ],
)
def test_what_is_no_process_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        procfile.read(text, "Procfile")


@pytest.mark.parametrize(
    ("line", "server"),
    [
        ("gunicorn shop.wsgi --log-file -", "gunicorn"),
        ("PORT=1 python -m uvicorn shop:app", "uvicorn"),
        ("env/bin/uwsgi uwsgi.ini", "uwsgi"),
        ("python manage.py runserver", ""),
        ("echo 'gunicorn", ""),
        ("", ""),
    ],
)
def test_the_server_that_the_web_line_starts(line: str, server: str) -> None:
    assert procfile.server_of(line, ["gunicorn", "uvicorn", "uwsgi"]) == server
