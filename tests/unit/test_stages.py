"""The loader: merging, places of mistakes, words, and names for -H."""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fabrelease.tasks.engine import errorpage, schema, stages
from fabrelease.tasks.engine.errors import SettingsError, UsageError
from fabrelease.tasks.engine.mistakes import model_in
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.settings import (
    HOST_KEYS,
    LOADER_FIELDS,
    Hook,
    Model,
    Notice,
    Settings,
    Static,
    SwitchHook,
)
from fabrelease.tasks.engine.yamltree import from_plain, merge

REPOSITORY = Path(__file__).parents[2]

PROD = """\
app: demo
web: {app: "demo:app"}
site: {domains: [demo.example.net]}
hosts: {web1: {address: 203.0.113.10}}
"""

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes hosts/<name>.yml for each keyword and gives the project's directory."""

    def write(**files: str) -> Path:
        (tmp_path / "hosts").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "hosts" / f"{name}.yml").write_text(text, encoding="utf-8")
        return tmp_path

    return write


def problems(project: Path, stage: str = "prod") -> list[str]:
    with pytest.raises(SettingsError) as caught:
        stages.load_stage(project, stage)
    assert caught.value.exit_status == 2
    return str(caught.value).split("\n")


# --- merging ------------------------------------------------------------------------------


def test_all_then_stage_then_host_then_command_line(project: Project) -> None:
    path = project(
        all="app: demo\nweb: {app: 'demo:app', workers: 1, settings: {timeout: 10, threads: 2}}\n"
        "site: {domains: [a.net, b.net]}\nkeep_releases: 3\nenv: {A: all, B: all}\n",
        prod="site: {domains: [c.net]}\nenv: {B: prod}\nkeep_releases: 4\n"
        "hosts:\n  web1:\n    web: {workers: 8, settings: {timeout: 20}}\n    env: {C: host}\n  web2: {}\n",
    )
    stage = stages.load_stage(path, "prod", {"source": {"ref": "v2"}, "keep_releases": 9})
    web1, web2 = stage.hosts["web1"], stage.hosts["web2"]
    assert web1.web.settings == {"timeout": 20, "threads": 2}
    assert (web1.web.workers, web2.web.workers) == (8, 1)
    assert web1.site.domains == ["c.net"]  # a list replaces
    assert web1.env == {"A": "all", "B": "prod", "C": "host"}
    assert web2.env == {"A": "all", "B": "prod"}
    assert (web1.keep_releases, web2.source.ref) == (9, "v2")
    assert (web1.stage, web1.project, web1.host.name) == ("prod", path, "web1")


def test_the_user_of_a_host_entry_logs_in_and_the_other_one_runs_the_app(project: Project) -> None:
    path = project(prod=PROD.replace("hosts: {web1: {", "user: runner\nhosts: {web1: {user: deploy, "))
    settings = stages.load_stage(path, "prod").hosts["web1"]
    assert (settings.user, settings.host.user) == ("runner", "deploy")


def test_an_empty_host_entry_is_reached_by_its_name(project: Project) -> None:
    path = project(prod=PROD.replace("{web1: {address: 203.0.113.10}}", "\n  web1:\n  web2: {}"))
    hosts = stages.load_stage(path, "prod").hosts
    assert [(name, host.host.address) for name, host in hosts.items()] == [("web1", "web1"), ("web2", "web2")]


def test_an_empty_host_entry_keeps_what_all_says_of_it(project: Project) -> None:
    path = project(all="hosts: {web1: {address: 10.0.0.1}}", prod=PROD.split("hosts:")[0] + "hosts: {web1: }")
    assert stages.load_stage(path, "prod").hosts["web1"].host.address == "10.0.0.1"


@pytest.mark.parametrize("empty", ["", "# nothing yet\n", "---\n", "{}", "null"])
def test_an_empty_file_is_an_empty_mapping(project: Project, empty: str) -> None:
    assert stages.load_stage(project(all=PROD, prod=empty), "prod").hosts["web1"].app == "demo"


def test_null_takes_an_optional_value_away(project: Project) -> None:
    path = project(
        all="source: {git: 'https://example.net/x.git'}", prod=PROD + "source: {git: null, path: .}\n"
    )
    source = stages.load_stage(path, "prod").hosts["web1"].source
    assert (source.git, source.path) == (None, ".")


def test_anchors_and_merge_keys_work(project: Project) -> None:
    path = project(
        prod=PROD.split("hosts:")[0]
        + "env: &env {A: '1', B: '2'}\n"
        + "hosts:\n  web1: &web {port: 2222, user: deploy}\n  web2: {<<: *web, port: 22}\n"
    )
    hosts = stages.load_stage(path, "prod").hosts
    assert (hosts["web2"].host.port, hosts["web2"].host.user) == (22, "deploy")
    assert hosts["web1"].host.port == 2222


@pytest.mark.parametrize("text", ["1:30", "2024-01-01", "=", "1e3", "0o17", "~x", "12:30:45", "é", "no way"])
def test_text_that_yaml_likes_to_turn_into_something_else_stays_text(project: Project, text: str) -> None:
    path = project(prod=PROD + f"env: {{VALUE: {text}}}\n")
    assert stages.load_stage(path, "prod").hosts["web1"].env == {"VALUE": text}


trees = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def simple_merge(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            key: simple_merge(base[key], over[key])
            if key in base and key in over
            else over.get(key, base.get(key))
            for key in {**base, **over}
        }
    return over


@given(mappings, mappings)
@budget(deadline=None)
def test_merging_with_origins_is_merging(base: Any, over: Any) -> None:
    merged = merge(from_plain(base, "one"), from_plain(over, "two"))
    assert merged.plain() == simple_merge(base, over)


# --- mistakes -----------------------------------------------------------------------------

MANAGERS = " or ".join(f'"{name}"' for name in drivers.names("managers"))
SERVERS = " or ".join(f'"{name}"' for name in drivers.names("servers"))
MISTAKES = [
    (
        "web: {app: 'a:b', worker: 2}",
        'hosts/prod.yml:5: web.worker: unknown key; did you mean "workers"? '
        "(known: app, bind, server, settings, workers)",
    ),
    ("keep_releases: two", 'hosts/prod.yml:5: keep_releases: expected a whole number, found "two"'),
    (
        "keep_releases: '2'",
        'hosts/prod.yml:5: keep_releases: expected a whole number, found "2"; write it without quotes',
    ),
    ("keep_releases: 0", "hosts/prod.yml:5: keep_releases: expected 1 or more, found the number 0"),
    ("keep_releases: yes", "hosts/prod.yml:5: keep_releases: expected a whole number, found true"),
    ("keep_releases: 1:30", 'hosts/prod.yml:5: keep_releases: expected a whole number, found "1:30"'),
    ("health: {status: 600}", "hosts/prod.yml:5: health.status: expected 599 or less, found the number 600"),
    (
        "health:\n  status: 200\n  path: ok",
        'hosts/prod.yml:7: health.path: expected a path that starts with /, without spaces and #, found "ok"',
    ),
    (
        "python: {version: 3.10}",
        "hosts/prod.yml:5: python.version: expected text, found the number 3.1; "
        "YAML reads 3.10 as the number 3.1: put it in quotes",
    ),
    (
        "env: {DEBUG: no}",
        "hosts/prod.yml:5: env.DEBUG: expected text, found true or false; "
        "YAML reads yes, no, on and off as true and false: put it in quotes",
    ),
    ("env: {PORT: 80}", "hosts/prod.yml:5: env.PORT: expected text, found a number; put it in quotes"),
    (
        "env:",
        "hosts/prod.yml:5: env: expected keys and values, found nothing; "
        "give it a value, or leave the key out",
    ),
    (
        "host_keys: strickt",
        'hosts/prod.yml:5: host_keys: expected "strict" or "accept-new", found "strickt"; '
        'did you mean "strict"?',
    ),
    (
        "manager: supervisr",
        f'hosts/prod.yml:5: manager: expected {MANAGERS}, found "supervisr"; did you mean "supervisor"?',
    ),
    ("manager: 1", "hosts/prod.yml:5: manager: expected keys and values, found the number 1"),
    ("manager: {nmae: x}", 'hosts/prod.yml:5: manager.nmae: unknown key; did you mean "name"? (known: activation, name, settings)'),
    ("manager:\n  settings: {}", "hosts/prod.yml:5: manager.name: missing; The program's name"),
    ("manager:\n  name: supervisor\n  activation: sockets", 'hosts/prod.yml:7: manager.activation: expected "socket", found "sockets"; did you mean "socket"?'),
    (
        "web: {app: 'a:b', server: gunicron, worker: 1}",
        f'hosts/prod.yml:5: web.server: expected {SERVERS}, found "gunicron"; did you mean "gunicorn"?',
    ),
    (
        "web: {app: 'a:b', wsgi: x, settings: {chdir: /}}",
        "hosts/prod.yml:5: web.settings.chdir: chdir cannot be set here: the release's directory is used",
    ),
    (
        "hooks: {build: make}",
        'hosts/prod.yml:5: hooks.build: expected a list, found "make"; '
        "write it as [one, two], or each on a line of its own after a dash",
    ),
    (
        "hooks:\n  build:\n    - make\n    - {run: x, timeout: soon}",
        'hosts/prod.yml:8: hooks.build[1].timeout: expected a whole number, found "soon"',
    ),
    ("app: other", "hosts/prod.yml:5: app: this key is there twice, first in line 1"),
    ("yes: 1", "hosts/prod.yml:5: expected text as a key; put the key in quotes"),
    ("? [a, b]\n: 1", "hosts/prod.yml:5: expected text as a key"),
    (
        "default_stage: prod",
        "hosts/prod.yml:5: default_stage: not allowed here; "
        "it chooses among stages, so it belongs into hosts/all.yml",
    ),
    ("secrets: !vault x", "hosts/prod.yml:5: secrets: YAML tags are not used here"),
    ("processes: !!omap [a: b]", "hosts/prod.yml:5: processes: YAML tags are not used here"),
    (
        "web: {app: 'a:b', settings: {daemon: true}}",
        "hosts/prod.yml:5: web.settings.daemon: daemon cannot be set here: "
        "the manager keeps the server in the foreground; a daemon would escape it",
    ),
    (
        "source: {path: ., git: 'https://a.net/b'}",
        "hosts/prod.yml:5: source: expected one of path, git and package, "
        "found path and git; a stage drops what all.yml sets with null, as in path: null",
    ),
]


@pytest.mark.parametrize(("line", "message"), MISTAKES)
def test_a_mistake_is_told_with_its_place(project: Project, line: str, message: str) -> None:
    text = PROD.replace('web: {app: "demo:app"}\n', "\n") if line.startswith("web:") else PROD
    assert message in problems(project(prod=text + line + "\n"))


def test_a_key_in_the_wrong_section_is_told_where_it_belongs(project: Project) -> None:
    (problem,) = problems(project(prod=PROD + "domains: [a.net]\n"))
    assert problem.startswith(
        "hosts/prod.yml:5: domains: unknown key; domains belongs below site (known: app, "
    )


@pytest.mark.parametrize("name", ["host", "stage", "project", "name"])
def test_what_the_loader_fills_in_is_no_key(project: Project, name: str) -> None:
    (problem,) = problems(project(prod=PROD + f"{name}: x\n"))
    assert problem.startswith(f"hosts/prod.yml:5: {name}: unknown key; ")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{prot: 22}", 'web1.prot: unknown key; did you mean "port"? (known: address, app, backup, env,'),
        ("{adress: x}", 'web1.adress: unknown key; did you mean "address"? (known: address, app, backup, env,'),
        ("{name: x}", "web1.name: unknown key; "),
        ("{hosts: {}}", "web1.hosts: unknown key; "),
        ("{stage: x}", "web1.stage: unknown key; "),
        ("{default_stage: prod}", "web1.default_stage: not allowed here"),
        ("{port: 99999}", "web1.port: expected 65535 or less, found the number 99999"),
        ("{web: {wokers: 1}}", 'web1.web.wokers: unknown key; did you mean "workers"?'),
        (
            "203.0.113.10",
            'web1: expected keys and values, found "203.0.113.10"; like {address: 203.0.113.10}',
        ),
    ],
)
def test_host_entries_are_checked_too(project: Project, entry: str, message: str) -> None:
    path = project(prod=PROD.split("hosts:")[0] + f"hosts:\n  web1: {entry}\n")
    (problem,) = problems(path)
    assert problem.startswith(f"hosts/prod.yml:5: hosts.{message}")


def test_a_host_needs_a_name_that_is_safe(project: Project) -> None:
    (problem,) = problems(project(prod=PROD.replace("web1", "../x")))
    assert problem.startswith("hosts/prod.yml:4: hosts.../x: expected a short name")


@pytest.mark.parametrize("hosts", ["", "hosts: {}\n", "hosts:\n"])
def test_a_stage_needs_a_host(project: Project, hosts: str) -> None:
    (problem,) = problems(project(prod=PROD.split("hosts:")[0] + hosts))
    assert "hosts: a stage needs at least one host; name the servers" in problem


def test_what_is_missing_is_told_with_its_meaning(project: Project) -> None:
    found = problems(project(prod="web:\n  workers: 1\nhosts: {web1: {}, web2: {}}\n"))
    assert found == [
        "hosts/prod.yml:1: app: missing; "
        "The application's name: names the directory, the unix user and the programs",
        "hosts/prod.yml:1: site: missing; What nginx serves",
        'hosts/prod.yml:1: web.app: missing; WSGI or ASGI callable, like "mysite.wsgi:application"',
    ]


def test_the_place_is_in_the_file_the_value_came_from(project: Project) -> None:
    path = project(all=PROD + "\nenv:\n  GOOD: x\n  BAD: 1\n", prod="env:\n  OTHER: 2\nhealth: {}\n")
    assert [problem.partition(": expected")[0] for problem in problems(path)] == [
        "hosts/all.yml:8: env.BAD",
        "hosts/prod.yml:2: env.OTHER",
    ]


def test_all_problems_are_told_together_and_once(project: Project) -> None:
    path = project(
        all="app: Demo\nweb: {app: x}\ndefault_stage: prdo\n",
        prod="site: {domains: [], port: http}\nhosts: {web1: {port: x}, web2: {}, web3: {}}\n",
    )
    assert [problem.split(": expected")[0].split(": there")[0] for problem in problems(path)] == [
        "hosts/all.yml:1: app",
        "hosts/all.yml:2: web.app",
        "hosts/all.yml:3: default_stage",
        "hosts/prod.yml:1: site.domains",
        "hosts/prod.yml:1: site.port",
        "hosts/prod.yml:2: hosts.web1.port",
    ]


def test_load_stages_tells_the_problems_of_every_stage(project: Project) -> None:
    path = project(prod=PROD + "layout: x\n", test=PROD + "layout: y\n", good=PROD)
    with pytest.raises(SettingsError) as caught:
        stages.load_stages(path)
    assert [problem.file for problem in caught.value.problems] == ["hosts/prod.yml", "hosts/test.yml"]


def test_command_line_options_are_checked_like_files(project: Project) -> None:
    with pytest.raises(SettingsError, match=r"^command line: source\.ref: a revision may not start with -$"):
        stages.load_stage(project(prod=PROD), "prod", {"source": {"ref": "-x"}})


def test_a_manager_is_a_name_or_a_section_and_the_stage_s_replaces_or_adds(project: Project) -> None:
    path = project(
        all="manager: {name: systemd, settings: {Nice: 1}}\n",
        name=PROD + "manager: systemd\n",
        section=PROD + "manager: {settings: {TasksMax: 5}}\n",
    )
    managers = {name: stage.hosts["web1"].manager for name, stage in stages.load_stages(path).items()}
    assert managers["name"].settings == {}
    assert managers["section"].settings == {"Nice": 1, "TasksMax": 5}
    assert {manager.name for manager in managers.values()} == {"systemd"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"app: [a\nb: c\n", "hosts/prod.yml:2: this is no YAML: "),
        (b"app: 'a\n", "hosts/prod.yml:2: this is no YAML: "),
        (b"\tapp: x\n", "hosts/prod.yml:1: this is no YAML: "),
        (b"a: 1\n---\nb: 2\n", "hosts/prod.yml:2: this is no YAML: "),
        (b"app: *x\n", "hosts/prod.yml:1: this is no YAML: "),
        (b"\xff\xfe\x00", "hosts/prod.yml: this is no text file: "),
        (b"a: \x00", "hosts/prod.yml: this is no text file: "),
        (b"a: " + b"[" * 5000, "hosts/prod.yml: there is too much in it"),
        (b"a: &a [*a]\n", "hosts/prod.yml: there is too much in it"),
        (b"- a\n", "hosts/prod.yml:1: expected keys and values"),
        (b"just text", "hosts/prod.yml:1: expected keys and values"),
        (b'a: "\\ud800"', "hosts/prod.yml:1: a: half of a character"),
        (b"a: !!int x", "hosts/prod.yml:1: a: this is not the kind of value"),
        (b"a: " + b"9" * 5000, "hosts/prod.yml:1: a: this is not the kind of value"),
        (b"<<: [1]\n", "hosts/prod.yml:1: << takes a mapping"),
    ],
)
def test_a_file_that_is_no_good_is_told_so(project: Project, content: bytes, message: str) -> None:
    path = project(prod="")
    (path / "hosts" / "prod.yml").write_bytes(content)
    assert [line for line in problems(path) if line.startswith(message)]


def test_aliases_of_aliases_do_not_eat_the_memory(project: Project) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    assert problems(project(prod="\n".join(lines))) == [
        "hosts/prod.yml: there is too much in it, or it is nested too deeply"
    ]


def test_a_file_that_cannot_be_read_is_told_so(project: Project) -> None:
    path = project(prod=PROD)
    (path / "hosts" / "all.yml").mkdir()
    assert problems(path) == ["hosts/all.yml: cannot be read: Is a directory"]


SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        "env: hunter2",
        "env: [hunter2]",
        "env: {hunter2 x: y}",
        "env: {PW=hunter2: }",
        "env: {PW=hunter2: 1, PW=hunter2: 2}",
        "env: {PW: [hunter2]}",
        "env: {PW: {hunter2.x: 1}}",
        "env: {PW: *hunter2}",
        "env: {PW: &hunter2 }",
        "env: {PW: !hunter2 x}",
        'env: {PW: "hunter2\\0"}',
        "env: {PW: 'hunter2",
        "env: {PW: %hunter2}",
        "env: {PW: @hunter2}",
        "secrets: [hunter2]",
        "secrets: 'hunter2\n\n  x'",
        "secrets: {hunter2 x: y}",
        "secrets: {TOKEN: hunter2}",
        "secrets: {file: [hunter2]}",
        "secrets: {command: 'hunter2\n\n  x'}",
        "secrets: {environment: [TOKEN=hunter2]}",
        "secrets: {environment: hunter2}",
        "source: {git: 'ext::hunter2'}",
        "source: {git: [hunter2]}",
        "source: {git: 'https://me:hunter2@example.net/x', path: .}",
    ],
)
def test_secrets_are_not_in_messages(project: Project, text: str) -> None:
    message = "\n".join(problems(project(prod=PROD + text + "\n")))
    assert message
    assert SECRET not in message


# --- any input ----------------------------------------------------------------------------

KNOWN = sorted(
    {name for model in (Settings, SwitchHook) for name in model.model_fields}
    | {name for field in Settings.model_fields.values() if (model := model_in(field.annotation)) for name in model.model_fields}
    | HOST_KEYS
    | {"hosts", "<<", "timeout", "bind"}
)
garbage = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=5) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def load_text(content: bytes) -> stages.Stage:
    with tempfile.TemporaryDirectory() as directory:
        hosts = Path(directory) / "hosts"
        hosts.mkdir()
        (hosts / "prod.yml").write_bytes(content)
        return stages.load_stage(Path(directory), "prod")


def loads_or_says_why(content: bytes) -> None:
    assume(b"from" not in content)  # what stands there would be run
    try:
        stage = load_text(content)
    except SettingsError as error:
        assert error.problems
        assert "not usable" not in str(error)
        assert all(str(problem).startswith("hosts/prod.yml") for problem in error.problems)
        assert all(str(problem).isprintable() for problem in error.problems)
    else:
        assert all(isinstance(settings, Settings) for settings in stage.hosts.values())


@given(st.dictionaries(st.sampled_from(KNOWN), garbage, max_size=8))
@budget(deadline=None)
def test_any_tree_loads_or_is_refused(data: dict[str, Any]) -> None:
    loads_or_says_why(yaml.safe_dump({**yaml.safe_load(PROD), **data}).encode())


@given(
    st.binary(max_size=60)
    | st.text(alphabet="ab:-?[]{}&*!|>'\"%@#, \n\t\\xu0123<~=.", max_size=60).map(str.encode)
)
@budget(deadline=None)
def test_any_bytes_load_or_are_refused(content: bytes) -> None:
    loads_or_says_why(content)
    loads_or_says_why(PROD.encode() + content)


# Every place of a stage file that takes text: where it is, and a key's place as {…: None}.
TEXT_PLACES: list[tuple[str | int, ...]] = [
    ("app",),
    ("layout",),
    ("root",),
    ("user",),
    ("secrets", "file"),
    ("secrets", "command"),
    ("secrets", "environment", 0),
    ("host_keys",),
    ("manager",),
    ("source", "path"),
    ("source", "git"),
    ("source", "package"),
    ("source", "ref"),
    ("python", "version"),
    ("python", "requirements"),
    ("python", "installer"),
    ("python", "wheelhouse"),
    ("python", "packages", 0),
    ("web", "app"),
    ("web", "server"),
    ("web", "bind"),
    ("web", "settings", "x"),
    ("processes", "worker"),
    ("site", "domains", 0),
    ("site", "path"),
    ("site", "client_max_body_size"),
    ("site", "static", "/static/"),
    ("site", "media", "/media/"),
    ("site", "headers", "X-A"),
    ("env", "A"),
    ("shared", "dirs", 0),
    ("shared", "files", "config.py"),
    ("hooks", "build", 0),
    ("hooks", "before_switch", 0),
    ("hooks", "after_switch", 0),
    ("hooks", "build", 0, "run"),
    ("health", "path"),
    ("host", "address"),
    ("host", "user"),
    ("host", "key"),
    ("host", "known_hosts"),
]
KEY_PLACES: list[tuple[tuple[str, ...], str]] = [
    (("processes",), "x"),
    (("site", "static"), "x"),
    (("site", "media"), "x"),
    (("site", "headers"), "x"),
    (("env",), "x"),
    (("shared", "files"), "x"),
    (("web", "settings"), "x"),
]
HOSTILE = [  # each on its own terms: shells, ini files, nginx, Jinja2, YAML, terminals, paths
    "",
    " ",
    "'",
    '"',
    "a'b\"c",
    "a\nb",
    "a\r\nb",
    "\0",
    "$(touch x)",
    "`id`",
    "%",
    "%(x)s",
    "%s",
    ";",
    "a;b",
    "{}",
    "{{ x }}",
    "{% raw %}",
    "$host",
    "é",
    "日本語",
    "\U0001f600",
    "\x85",
    "\u2028",
    "\x1b[31m",
    "..",
    "../x",
    "/etc/passwd",
    "-rf",
    "--help",
    "a b",
    "#x",
    "x #y",
    "\\",
    "\\n",
    "*",
    "~",
    "&a",
    "!a",
    "x" * 10_240,
    "é" * 10_240,
    "a/" * 5_000 + "b",
]
hostile = (
    st.sampled_from(HOSTILE)
    | st.text(max_size=30)
    | st.builds("{}{}".format, st.just("a"), st.sampled_from(HOSTILE))
)


def place(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    data = deepcopy(yaml.safe_load(PROD))
    target = data
    if path[0] == "host":
        target, path = data["hosts"]["web1"], path[1:]
    *parents, last = path
    for step, following in zip(parents, path[1:], strict=True):
        fresh: Any = [{}] if following == 0 else {}
        target = target[step] if isinstance(target, list) else target.setdefault(step, fresh)
    if isinstance(target, list):
        target[:] = [value]
    else:
        target[last] = value
    return data


def read_back(settings: Settings, path: tuple[str | int, ...]) -> Any:
    found: Any = settings
    for step in path:
        found = found[step] if isinstance(found, (dict, list)) else getattr(found, str(step))
    match found:
        case Hook():
            return found.run
        case Static():
            return found.directory
    return found


def written(path: tuple[str | int, ...]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    return f"hosts.web1.{text.removeprefix('host.')}" if path[0] == "host" else text


# Paths inside a directory lose ./ and closing slashes; they are the same paths.
CLEANED = [
    ("shared", "dirs", 0),
    ("site", "static", "/static/"),
    ("site", "media", "/media/"),
    ("python", "requirements"),
]


@given(st.sampled_from(TEXT_PLACES), hostile)
@budget(deadline=None, max_examples=600)
def test_hostile_text_is_refused_by_name_or_unchanged(path: tuple[str | int, ...], value: str) -> None:
    content = yaml.safe_dump(place(path, value)).encode()
    try:
        settings = load_text(content).hosts["web1"]
    except SettingsError as error:
        key = written(path)
        named = [
            problem for problem in error.problems if problem.key == key or key.startswith(problem.key + "[")
        ]
        assert named or (path[0] == "source" and error.problems[0].key.startswith("source")), error
        assert len(str(error)) < 2_000
        assert all(line.isprintable() for line in str(error).split("\n"))
    else:
        is_package_s = path[0] == "site" and ":" in value  # a module and what is in it, no path alone
        expected = posixpath.normpath(value) if path in CLEANED and not is_package_s else value
        found = read_back(settings, path)
        assert found == expected or (path in CLEANED and found == expected.replace("/./", "/"))


@given(st.sampled_from([path for path, _ in KEY_PLACES]), hostile)
@budget(deadline=None, max_examples=300)
def test_hostile_keys_are_refused_by_name_or_unchanged(path: tuple[str, ...], key: str) -> None:
    content = yaml.safe_dump(place((*path, key), "static")).encode()
    try:
        settings = load_text(content).hosts["web1"]
    except SettingsError as error:
        assert all(problem.key.startswith(written(path)) for problem in error.problems)
        assert len(str(error)) < 2_000
    else:
        expected = posixpath.normpath(key) if path == ("shared", "files") else key
        assert list(read_back(settings, path)) == [expected]


def test_every_hostile_value_is_tried_in_every_place() -> None:
    refused = unchanged = 0
    for path in TEXT_PLACES:
        for value in HOSTILE:
            try:
                settings = load_text(yaml.safe_dump(place(path, value)).encode()).hosts["web1"]
            except SettingsError as error:
                assert any(written(path).startswith(problem.key) for problem in error.problems), (path, value)
                refused += 1
            else:
                assert read_back(settings, path) == value
                unchanged += 1
    assert refused + unchanged == len(TEXT_PLACES) * len(HOSTILE)
    assert refused > unchanged > 100


# --- names --------------------------------------------------------------------------------


def test_the_project_is_the_nearest_directory_with_stage_files(project: Project, tmp_path: Path) -> None:
    project(prod=PROD)
    below = tmp_path / "src" / "deep"
    below.mkdir(parents=True)
    (tmp_path / "src" / "hosts").mkdir()  # without a .yml file it is somebody else's
    assert stages.find_project(below) == tmp_path.resolve()


def test_no_project_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no hosts/\*\.yml in .* or above it"):
        stages.find_project(tmp_path)


def test_stages_are_the_files_but_for_all_and_example(project: Project) -> None:
    path = project(all="", example="", prod="", demo="", staging="")
    (path / "hosts" / ".hidden.yml").write_text("")
    (path / "hosts" / "notes.txt").write_text("")
    assert stages.stage_names(path) == ["demo", "prod", "staging"]


TWO = {
    "prod": PROD.split("hosts:")[0]
    + "hosts: {web1: {address: 10.0.0.1, port: 22}, web2: {address: 10.0.0.2}}\n",
    "test": PROD.split("hosts:")[0]
    + "hosts: {prod: {address: 10.0.0.3}, box: {address: 10.0.0.1, port: 2222}, web2: {address: 10.0.0.4}}\n",
}


def test_a_stage_wins_over_a_host_of_the_same_name(project: Project) -> None:
    selected = stages.select(project(**TWO), "prod")
    assert (selected.name, list(selected.hosts)) == ("prod", ["web1", "web2"])


def test_a_host_is_selected_by_its_name(project: Project) -> None:
    selected = stages.select(project(**TWO), "box", {"keep_releases": 2})
    assert (selected.name, list(selected.hosts)) == ("test", ["box"])
    assert selected.hosts["box"].keep_releases == 2


def test_a_host_name_in_two_stages_is_a_question(project: Project) -> None:
    with pytest.raises(UsageError, match=r"web2 could be any of: web2 in prod, web2 in test"):
        stages.select(project(**TWO), "web2")


def test_an_unknown_name_is_answered_with_the_names_there_are(project: Project) -> None:
    with pytest.raises(UsageError) as caught:
        stages.select(project(**TWO), "prdo")
    assert str(caught.value) == (
        'no stage or host is called "prdo". Did you mean "prod"? '
        "There are stages: prod, test; hosts: box, prod, web1, web2"
    )
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["../../etc/x", "all", "example", "a\0b", "", "x" * 5000, "prod.yml"])
def test_names_that_are_no_stage(project: Project, name: str) -> None:
    with pytest.raises(UsageError, match="is called"):
        stages.load_stage(project(all="", prod=PROD), name)


def test_a_stage_with_the_other_ending_is_told_its_name(project: Project) -> None:
    path = project(prod=PROD)
    (path / "hosts" / "test.yaml").write_text(PROD)
    with pytest.raises(UsageError, match=r"name the file \.yml"):
        stages.load_stage(path, "test")


def test_an_unknown_name_is_no_answer_while_a_file_cannot_be_read(project: Project) -> None:
    with pytest.raises(SettingsError, match=r"hosts/broken\.yml:1: this is no YAML"):
        stages.select(project(prod=PROD, broken="hosts: ["), "web9")


def test_a_mistake_in_one_stage_does_not_hide_a_host_of_another(project: Project) -> None:
    path = project(prod=PROD, test=PROD.replace("web1", "other") + "keep_releases: x\n")
    assert stages.select(path, "web1").name == "prod"


@pytest.mark.parametrize(
    ("host", "user", "port", "found"),
    [
        ("web1", None, None, "web1"),
        ("10.0.0.2", "me", 22, "web2"),
        ("10.0.0.1", None, 22, "web1"),
        ("10.0.0.1", None, 2222, "box"),
        ("box", "me", None, "box"),
    ],
)
def test_a_connection_is_matched_by_name_or_address(
    project: Project, host: str, user: str | None, port: int | None, found: str
) -> None:
    assert stages.match_connection(project(**TWO), host, user, port).host.name == found


def test_the_user_decides_between_two_hosts_at_one_address(project: Project) -> None:
    entry = "hosts: {a: {address: 10.0.0.1, user: ann}, b: {address: 10.0.0.1, user: bob}}\n"
    path = project(prod=PROD.split("hosts:")[0] + entry)
    assert stages.match_connection(path, "10.0.0.1", "bob").host.name == "b"
    with pytest.raises(UsageError, match="a in prod, b in prod"):
        stages.match_connection(path, "10.0.0.1", "eve")


def test_a_connection_to_nowhere_we_know_is_refused(project: Project) -> None:
    with pytest.raises(
        UsageError, match=r'no host is called "10\.9\.9\.9"\. There are hosts: box, prod, web1, web2'
    ):
        stages.match_connection(project(**TWO), "10.9.9.9")


def test_without_a_name_the_only_stage_or_the_default_is_meant(project: Project) -> None:
    assert stages.default_stage(project(prod=PROD)) == "prod"
    path = project(test=PROD)
    with pytest.raises(UsageError, match=r"which stage.* prod, test; or set default_stage"):
        stages.default_stage(path)
    project(all="default_stage: test\n")
    assert stages.default_stage(path) == "test"
    project(all="default_stage: tset\n")
    with pytest.raises(SettingsError, match='default_stage: there is no stage "tset"; stages: prod, test'):
        stages.default_stage(path)


def test_no_stage_at_all_is_said(project: Project) -> None:
    path = project(all=PROD)
    for call in (stages.default_stage, stages.load_stages):
        with pytest.raises(UsageError, match="there is no stage yet"):
            call(path)


# --- the example, the schema and the reference --------------------------------------------

EXAMPLE = REPOSITORY / "hosts" / "example.yml"


def model_keys(model: Any, prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, field in fields_of(model, prefix):
        keys.add(key)
        if section := section_of(field.annotation):
            keys |= model_keys(section, f"{key}.")
    return keys


def fields_of(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The keys that may be written, with what stands there."""
    for name, field in model.model_fields.items():
        if prefix or name not in LOADER_FIELDS:
            yield prefix + name, field


def section_of(annotation: Any) -> Any:
    """The model of a section, or of one that may be left out; no model that is in a list or a mapping."""
    if get_origin(annotation) is Annotated:
        return section_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next(filter(None, map(section_of, get_args(annotation))), None)
    return model_in(annotation) if isinstance(annotation, type) else None


def reference_keys(model: Any, prefix: str = "") -> set[str]:
    """Those of model_keys, and of sections that may be left out, or that a mapping has of each prefix."""
    keys: set[str] = set()
    for key, field in fields_of(model, prefix):
        keys.add(key)
        kind = get_origin(field.annotation)
        for found in () if kind is list else get_args(field.annotation) or (field.annotation,):
            found = get_args(found)[0] if get_origin(found) is Annotated else found
            if isinstance(found, type) and issubclass(found, Model):
                keys |= reference_keys(found, f"{key}.<key>." if kind is dict else f"{key}.")
    return keys


def example_keys(data: Any, known: set[str], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for name, value in data.items():
        keys.add(prefix + name)
        if isinstance(value, dict) and any(key.startswith(f"{prefix}{name}.") for key in known):
            keys |= example_keys(value, known, f"{prefix}{name}.")
    return keys


def is_left_out(data: Any, key: str) -> bool:
    """Whether a key is one of a section that is null in the example."""
    *sections, _ = key.split(".")
    for name in sections:
        data = data[name]
        if data is None:
            return True
    return False


def test_the_example_is_a_stage_with_two_app_hosts_and_a_proxy() -> None:
    stage = stages.load_stage(REPOSITORY, "example")
    assert {name: one.balances for name, one in stage.hosts.items()} == {"web1": False, "web2": False, "lb": True}
    assert [settings.web.workers for settings in stage.hosts.values()] == [2, 4, 2]


def test_the_example_shows_every_setting_and_no_other() -> None:
    text = EXAMPLE.read_text(encoding="utf-8").replace("\n# default_stage:", "\ndefault_stage:")
    data = yaml.safe_load(text)
    hosts = data.pop("hosts")
    known = model_keys(Settings)
    assert example_keys(data, known) == {key for key in known if not is_left_out(data, key)}
    assert set(hosts) == {"from", "web1", "web2", "lb"}
    assert set(hosts["web1"]) == HOST_KEYS
    hook = next(item for item in data["hooks"]["before_switch"] if isinstance(item, dict))
    assert set(hook) == set(SwitchHook.model_fields)
    assert set().union(*data["notify"]) == set(Notice.model_fields)


def test_what_the_example_shows_as_a_default_is_the_default(project: Project) -> None:
    shown = stages.load_stage(REPOSITORY, "example").hosts["web2"]
    default = stages.load_stage(project(prod=PROD), "prod").hosts["web1"]
    for name in ("layout", "source", "manager", "health", "keep_releases", "host_keys"):
        assert getattr(shown, name) == getattr(default, name), name
    assert shown.site.timeouts == default.site.timeouts
    assert (shown.root, shown.user) == ("/srv/flasktodo", "flasktodo")


def test_the_four_lines_at_the_top_of_the_example_are_enough(project: Project) -> None:
    lines = re.findall(r"^#   (\w+: .*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    assert stages.load_stage(project(prod="\n".join(lines)), "prod").hosts["web1"].host.user == "deploy"


def test_the_contract_s_own_example_loads(project: Project) -> None:
    text = """\
app: flasktodo
root: /srv/flasktodo
user: flasktodo
source: {path: ., ref: HEAD}
python: {version: "3.11", requirements: auto, installer: auto}
web:
  app: flasktodo:app
  server: gunicorn
  workers: 2
  settings: {}
processes: {worker: "celery -A flasktodo worker"}
manager: supervisor
site:
  domains: [demo.example.net]
  path: /
  static: {/static/: static}
  media: {/media/: media}
env: {FLASKTODO_CONFIG: /srv/flasktodo/shared/config.py}
secrets: prod.env
shared: {dirs: [media], files: {config.py: deploy/config.py}}
hooks: {build: [], before_switch: ["python manage.py migrate --noinput"], after_switch: []}
health: {path: /, status: 200, timeout: 30}
keep_releases: 5
hosts:
  web1: {address: 203.0.113.10, user: deploy, port: 22}
"""
    settings = stages.load_stage(project(prod=text), "prod").hosts["web1"]
    assert settings.hooks.before_switch == [SwitchHook(run="python manage.py migrate --noinput", timeout=600)]
    assert settings.host.user == "deploy"


def test_the_schema_is_current() -> None:
    assert json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8")) == schema.schema()


def test_the_reference_is_current() -> None:
    reference = Path(__file__).parents[2] / "docs/settings.md"  # in the repository: a wheel has no docs
    assert reference.read_text(encoding="utf-8") == schema.reference()


def test_the_reference_has_a_row_with_a_meaning_for_every_setting() -> None:
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.+) \|$", schema.reference(), re.MULTILINE)
    hosts = {f"hosts.<name>.{key}" for key in HOST_KEYS} | {"hosts", "hosts.from"}
    hooks = {f"{schema.HOOK_PREFIX}{key}" for key in SwitchHook.model_fields}
    notices = reference_keys(Notice, "notify[].")
    assert {key for key, _ in rows} == reference_keys(Settings) | hosts | hooks | notices
    assert all(len(meaning) > 10 for _, meaning in rows)


def test_the_page_of_errors_is_current() -> None:
    page = Path(__file__).parents[2] / "docs/errors.md"  # in the repository: a wheel has no docs
    assert page.read_text(encoding="utf-8") == errorpage.page()


def test_the_schema_takes_the_example() -> None:
    committed = json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(committed)
    data = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    assert list(Draft202012Validator(committed).iter_errors(data)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"web": {"worker": 1}},
        {"web": {"workers": "2"}},
        {"hosts": {"web1": {"prot": 1}}},
        {"hosts": {"web1": {"name": "x"}}},
        {"host": {}},
        {"python": {"version": 3.11}},
        {"hooks": {"build": [{"command": "x"}]}},
        {"host_keys": "none"},
        {"env": {"A": 1}},
    ],
)
def test_the_schema_refuses_what_the_models_refuse(wrong: dict[str, Any]) -> None:
    assert not Draft202012Validator(schema.schema()).is_valid(wrong)


def test_a_list_of_the_commands_imports_no_pydantic() -> None:
    code = (
        "import sys; from fabric.main import program; program.run('fab --list', exit=False);"
        "print('fabrelease.tasks' in sys.modules, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "rollback" in done.stdout
    assert done.stdout.endswith("True False\n")


def test_the_tasks_alone_import_nothing_that_is_slow_to_import() -> None:
    slow = {"fabrelease.tasks.engine.settings", "jinja2", "rich", "http.client"}
    code = f"import sys, fabrelease.tasks; print({slow}.isdisjoint(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
