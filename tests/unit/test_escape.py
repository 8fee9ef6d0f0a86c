"""Each filter against the parser of the program that reads what it writes."""

import ast
import configparser
import contextlib
import http.client
import json
import math
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from fabrelease.tasks.engine import escape
from fabrelease.tasks.engine.errors import Error
from fabrelease.tasks.engine.escape import Unsafe
from tests.target import Target

HOSTILE = [
    *"'\"\\`$%;#@&|<>(){}[]*?~!=, \t\x0b\x7f\x85\u2028é😀",
    *[
        "$(id)",
        "%%",
        "%(here)s",
        "%(ENV_HOME)s",
        "%s",
        "${HOME}",
        " ;",
        " #",
        "\\n",
        "''",
        "</",
        "{{",
        "{%",
        "-n",
    ],
]


def texts(without: str) -> st.SearchStrategy[str]:
    """Any text the language can carry, and mixtures of what is known to be trouble."""
    any_text = st.text(st.characters(codec="utf-8", exclude_characters=without))
    pieces = st.sampled_from([piece for piece in HOSTILE if not set(piece) & set(without)])
    return any_text | st.lists(pieces | any_text, max_size=8).map("".join)


# sh


@settings(deadline=None, max_examples=60)
@given(st.lists(texts(without="\0"), min_size=1, max_size=60))
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_sh_reads_back_any_text(shell: str, values: list[str]) -> None:
    script = r"printf '%s\0' " + " ".join(map(escape.sh, values))
    run = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)
    assert run.stdout.decode().split("\0")[:-1] == values


def test_sh_takes_numbers_and_paths() -> None:
    assert escape.sh(8000) == "8000"
    assert escape.sh(PurePosixPath("/srv/my app")) == "'/srv/my app'"


def test_sh_does_not_show_a_value_that_may_be_secret() -> None:
    with pytest.raises(Unsafe) as refused:
        escape.sh("hunter2\0")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A=B", "$(id)", "A\n", "É", "UID", "PPID"])
def test_a_name_the_shell_cannot_assign_is_refused(name: str) -> None:
    with pytest.raises(Unsafe):
        escape.sh_name(name)


def test_a_variable_name_is_kept() -> None:
    assert escape.sh_name("_FLASK_2") == "_FLASK_2"


# supervisor


def read_program(folder: Path, lines: str) -> Any:
    """The program that supervisor itself makes of *lines*."""
    conf = folder / "conf.d"
    conf.mkdir(exist_ok=True)
    (conf / "app.conf").write_text(f"[program:app]\n{lines}\n", encoding="utf-8")
    main = folder / "supervisord.conf"
    main.write_text("[supervisord]\n[include]\nfiles=conf.d/*.conf\n")
    options = ServerOptions()
    options.realize(["-c", str(main)])
    (group,) = options.process_group_configs
    (program,) = group.process_configs
    return program


one_line = texts(without="\0\n\r")


@settings(deadline=None, max_examples=300)
@given(st.lists(one_line, min_size=1, max_size=5), one_line, one_line)
def test_supervisor_reads_back_any_line(words: list[str], directory: str, log: str) -> None:
    log = f"x{log.replace('/', '')}x"
    with tempfile.TemporaryDirectory() as folder:
        program = read_program(
            Path(folder),
            f"command={escape.supervisor(' '.join(map(escape.sh, words)))}\n"
            f"directory={escape.supervisor(directory)}\n"
            f"stdout_logfile={escape.supervisor(escape.supervisor(f'{folder}/{log}'))}",
        )
        assert shlex.split(program.command) == words
        assert program.directory == directory
        assert program.stdout_logfile == f"{folder}/{log}"


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), one_line, min_size=1, max_size=4)
)
def test_supervisor_environment_is_read_back_or_refused(variables: dict[str, str]) -> None:
    lossy = any('"' in v or v.startswith("'") or v.endswith("'") for v in variables.values())
    if lossy or set(variables) & escape.SHELL_READONLY:
        with pytest.raises(Unsafe):
            escape.supervisor_environment(variables)
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = f"command=true\nenvironment={escape.supervisor_environment(variables)}"
        assert read_program(Path(folder), lines).environment == variables


@pytest.mark.parametrize("value", ["a\nb", "a\n[program:x]", "a\r", "\0"])
def test_supervisor_refuses_what_is_not_one_line(value: str) -> None:
    with pytest.raises(Unsafe, match="supervisor"):
        escape.supervisor(value)


# nginx

nginx_texts = texts(without="\0\n\r$").filter(lambda text: len(text) < 900)
needs_programs = pytest.mark.usefixtures("programs")


@settings(deadline=None, max_examples=200)
@given(st.lists(nginx_texts, min_size=1, max_size=20))
def test_crossplane_reads_back_any_text(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(
            "".join(f"add_header X {escape.nginx(value)};\n" for value in values), encoding="utf-8"
        )
        parsed = crossplane.parse(str(conf), check_ctx=False, check_args=False)
    assert parsed["errors"] == []
    # crossplane leaves \\ as it stands in the file; nginx, below, reads one backslash.
    read = [line["args"][1].replace("\\\\", "\\") for line in parsed["config"][0]["parsed"]]
    assert read == values


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


@contextmanager
def answering(values: list[str]) -> Iterator[UnixConnection]:
    """A real nginx that answers /0, /1, … with *values*."""
    with tempfile.TemporaryDirectory() as folder:
        locations = "".join(
            f"location = /{n} {{ return 200 {escape.nginx(v)}; }}\n" for n, v in enumerate(values)
        )
        conf = Path(folder, "nginx.conf")
        conf.write_text(
            f"pid {folder}/pid; daemon off; master_process off; error_log {folder}/error.log;\n"
            "events {}\n"
            f"http {{ access_log off; server {{ listen unix:{folder}/sock; keepalive_requests 10000;\n"
            f"{locations}}} }}\n",
            encoding="utf-8",
        )
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", str(conf)], stderr=subprocess.PIPE)
        try:
            connection = UnixConnection(f"{folder}/sock")
            wait_for(lambda: nginx.poll() is not None or try_connect(connection))
            assert nginx.poll() is None, nginx.stderr and nginx.stderr.read()
            yield connection
            connection.close()
        finally:
            nginx.terminate()
            nginx.communicate(timeout=10)


def try_connect(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.connect()
    except OSError:
        return False
    return True


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.01)


@needs_programs
@settings(deadline=None, max_examples=15)
@given(st.lists(nginx_texts, min_size=20, max_size=80))
def test_nginx_answers_with_any_text(values: list[str]) -> None:
    with answering(values) as connection:
        for number, value in enumerate(values):
            connection.request("GET", f"/{number}")
            assert connection.getresponse().read().decode() == value


@needs_programs
@pytest.mark.parametrize("character", ["a", " "])  # a bare word, a quoted one
def test_the_longest_word_nginx_reads_is_written_and_no_longer_one(character: str) -> None:
    longest = character * (escape.NGINX_WORD_BYTES - (1 if character == "a" else 3))
    with answering([longest]) as connection:
        connection.request("GET", "/0")
        assert connection.getresponse().read().decode() == longest
    with pytest.raises(Unsafe, match="4096 bytes"):
        escape.nginx(longest + character)


@pytest.mark.parametrize("value", ["$host", "a$", "a\nb", "a\r\nSet-Cookie: x", "\0"])
def test_nginx_refuses_what_it_cannot_carry(value: str) -> None:
    with pytest.raises(Unsafe, match="nginx"):
        escape.nginx(value)


# python

scalars = (
    st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)
literals = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(scalars, inner, max_size=5),
    max_leaves=20,
)


@given(literals)
def test_python_reads_back_any_literal(value: object) -> None:
    text = escape.python(value)
    assert text.isascii()
    read = ast.literal_eval(text)
    assert read == value
    assert type(read) is type(value)


class Sly(str):
    def __repr__(self) -> str:
        return "__import__('os').system('id')"


@pytest.mark.parametrize(
    "value", [math.inf, math.nan, [math.inf], {"a": object()}, (1,), b"x", Sly("x"), [Sly("x")]]
)
def test_python_refuses_what_has_no_literal(value: object) -> None:
    with pytest.raises(Unsafe, match="python"):
        escape.python(value)


@pytest.mark.parametrize("name", ["", "a b", "a\nimport os", "a=1", "1a", "é", "class", "a.b"])
def test_python_refuses_what_is_not_a_name(name: str) -> None:
    with pytest.raises(Unsafe):
        escape.python_name(name)


# logrotate


@needs_programs
@pytest.mark.parametrize(
    "name", ["plain", "my app", "100%", "é", "a;b#c", "$(id)", "a=b,c", "~", "{a}", 'a"b', "a'b", "*"]
)
def test_logrotate_finds_the_path_or_it_is_refused(tmp_path: Path, name: str) -> None:
    log = tmp_path / name
    if set(name) & set("{}\"'*"):
        with pytest.raises(Unsafe, match="logrotate"):
            escape.logrotate(log)
        return
    log.write_text("x")
    conf = tmp_path / "conf"
    conf.write_text(f'"{escape.logrotate(log)}" {{\n}}\n')
    conf.chmod(0o644)
    state = tmp_path / "state"
    run = subprocess.run(["logrotate", "-d", "-s", state, conf], capture_output=True, text=True, check=True)
    assert f"considering log {log}\n" in run.stderr


# gaffer


@settings(deadline=None)
@given(st.lists(one_line, min_size=1, max_size=20))
def test_gaffer_s_parser_reads_back_any_line_or_it_is_refused(values: list[str]) -> None:
    written = {}
    for number, value in enumerate(values):
        with contextlib.suppress(Unsafe):
            written[f"key{number}"] = (escape.gaffer(value), value)
    parser = configparser.ConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string("[process:web]\n" + "".join(f"{key} = {text}\n" for key, (text, _) in written.items()))
    assert dict(parser["process:web"]) == {key: value for key, (_, value) in written.items()}


# uwsgi

uwsgi_texts = texts(without="\0\n").map(lambda text: text.strip(" \t\r")).filter(
    lambda text: not re.search(r"[$@%]\(", text)
)


def read_uwsgi(folder: Path, lines: str) -> list[tuple[str, str]]:
    """The options that uWSGI itself reads; it says all of them and serves nothing."""
    (folder / "uwsgi.ini").write_text(f"[uwsgi]\nstrict = true\n{lines}\n", encoding="utf-8")
    argv = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--ini", f"{folder}/uwsgi.ini"]
    done = subprocess.run([*argv, "--show-config", "--no-server"], capture_output=True)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    shown = said.split("[uwsgi]\n", 1)[1].split("\n;end of configuration", 1)[0].split("\n")
    options = [tuple(line.split(" = ", 1)) for line in shown]
    return [(name, value) for name, value in options if name not in ("ini", "strict", "show-config", "no-server")]


@settings(deadline=None, max_examples=30)
@given(st.lists(uwsgi_texts, min_size=1, max_size=60))
def test_uwsgi_reads_back_any_line(values: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = "\n".join(f"env = {escape.uwsgi(value)}" for value in values)
        assert read_uwsgi(Path(folder), lines) == [("env", value) for value in values]


def test_uwsgi_reads_numbers_truth_and_names(tmp_path: Path) -> None:
    given = {"max_requests": 500, "lazy_apps": True, "auto_procname": False}
    lines = "\n".join(f"{escape.uwsgi_name(name)} = {escape.uwsgi(value)}" for name, value in given.items())
    read = [("max-requests", "500"), ("lazy-apps", "true"), ("auto-procname", "false")]
    assert read_uwsgi(tmp_path, lines) == read


@pytest.mark.parametrize("value", ["a\nb", " a", "a\t", "a\r", "$(HOME)", "@(/etc/passwd)", "%(ini)", "\0", ["x"], None])
def test_uwsgi_refuses_what_it_would_change(value: object) -> None:
    with pytest.raises(Unsafe, match="uwsgi"):
        escape.uwsgi(value)


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a\n", "[x]", ";x", "A"])
def test_uwsgi_refuses_what_is_no_option_s_name(name: str) -> None:
    with pytest.raises(Unsafe, match="uwsgi"):
        escape.uwsgi_name(name)


# all of them


# systemd

NO_CHARACTERS = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
NO_CHARACTERS += "".join(map(chr, range(0xFDD0, 0xFDF0)))
RUN_UNIT = """
import json, os, subprocess, sys, pathlib
asked = json.load(sys.stdin)
path = pathlib.Path(f"/run/systemd/system/{asked['name']}.service")
path.write_text(asked["text"])
pathlib.Path("/run/tell.py").write_text("import json, os, sys; print(ascii([sys.argv[1:], os.environ.get('WORD')]))")
out = pathlib.Path("/run/told")
started = subprocess.run(["systemctl", "start", path.name], capture_output=True, text=True)
show = ["systemctl", "show", "--value", "--property=Description", path.name]
print(ascii([started.stderr, out.read_text() if out.exists() else "", subprocess.run(show, capture_output=True).stdout.decode()]))
path.unlink()
out.unlink(missing_ok=True)
"""


def run_unit(server: Target, name: str, description: str, arguments: str, word: str) -> tuple[str, str, Any]:
    """What systemd itself makes of a unit: its complaints, its description, and what its program was given."""
    text = (
        f"[Unit]\nDescription={description}\n[Service]\nType=oneshot\nStandardOutput=file:/run/told\n"
        f"Environment={word}\nExecStart=/usr/bin/python3 /run/tell.py {arguments}\n"
    )
    asked = json.dumps({"name": name, "text": text}).encode()
    said, told, shown = ast.literal_eval(server.exec(["python3", "-c", RUN_UNIT], input=asked).stdout.decode())
    return said, shown.removesuffix("\n"), ast.literal_eval(told) if told else None


@settings(deadline=None, max_examples=40)
@given(
    st.lists(texts(without="\0" + NO_CHARACTERS), min_size=1, max_size=30),
    texts(without="\0\n\r" + NO_CHARACTERS),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=NO_CHARACTERS)),
)
def test_systemd_reads_back_arguments_words_and_lines(
    shared_bare_server: Target, arguments: list[str], line: str, word: str
) -> None:
    if line != line.strip() or line.endswith("\\") or not line:
        line = "plain"
    name = f"escape-{time.monotonic_ns()}"
    found = run_unit(
        shared_bare_server,
        name,
        escape.systemd(line),
        " ".join(map(escape.systemd_argument, arguments)),
        escape.systemd_word(f"WORD={word}"),
    )
    assert found == ("", line, [arguments, word])


@pytest.mark.parametrize("value", ["a\nb", "a\rb", " a", "a ", "a\\", "a\0", "\ufffe", "\ufdd0", "\U0010ffff"])
@pytest.mark.parametrize("function", [escape.systemd, escape.systemd_setting])
def test_systemd_refuses_what_one_line_cannot_hold(function: Any, value: str) -> None:
    with pytest.raises(Unsafe, match="systemd"):
        function(value)


def test_a_setting_of_systemd_s_own_keeps_its_percent_and_says_yes_and_no() -> None:
    values = ["50%", "%t/x", True, False, 512, 0.5, ""]
    assert [*map(escape.systemd_setting, values)] == ["50%", "%t/x", "yes", "no", "512", "0.5", ""]
    with pytest.raises(Unsafe):
        escape.systemd_setting({"a": 1})


@pytest.mark.parametrize("function", [escape.sh, escape.supervisor, escape.nginx, escape.logrotate])
@pytest.mark.parametrize("value", ["\0", "\ud800", None, True, 1.5, b"x", ["x"]])
def test_what_is_not_text_is_refused(function: Any, value: object) -> None:
    with pytest.raises(Unsafe) as refused:
        function(value)
    assert isinstance(refused.value, Error)
    assert refused.value.value is value
    assert function.__name__ in str(refused.value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(Unsafe) as refused:
        escape.nginx("$" * 10_000)
    assert len(str(refused.value)) < 200


def test_the_environment_of_the_tests_does_not_leak_into_supervisor_values(tmp_path: Path) -> None:
    os.environ["FABRELEASE_TEST"] = "leaked"
    try:
        program = read_program(tmp_path, f"command={escape.supervisor('%(ENV_FABRELEASE_TEST)s')}")
    finally:
        del os.environ["FABRELEASE_TEST"]
    assert program.command == "%(ENV_FABRELEASE_TEST)s"
