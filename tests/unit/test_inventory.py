"""Hosts that a command prints: in three forms, checked like a file, and asked for once."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import inventory, stages
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.settings import Settings
from fabrelease.tasks.engine.yamltree import Node

PROD = "app: demo\nweb: {app: 'demo:app'}\nsite: {domains: [demo.example.net]}\n"
ANSIBLE = """\
{
    "_meta": {
        "hostvars": {
            "web1": {
                "ansible_host": "203.0.113.10",
                "ansible_port": "2222",
                "ansible_ssh_private_key_file": "~/.ssh/deploy",
                "ansible_user": "deploy",
                "colour": {"red": [1, 2]}
            },
            "web2": {"ansible_port": 22}
        }
    },
    "all": {"children": ["ungrouped", "web"]},
    "web": {"hosts": ["web1", "web2", "web3"]}
}
"""

Printing = Callable[..., Path]


@pytest.fixture
def printing(tmp_path: Path) -> Printing:
    """Makes a project whose hosts are what a command prints, and where it notes that it ran."""

    def make(text: str, beside: str = "", **files: str) -> Path:
        (tmp_path / "hosts").mkdir(exist_ok=True)
        (tmp_path / "printed").write_text(text)
        command = json.dumps("echo run >>runs; cat printed")
        (tmp_path / "hosts/prod.yml").write_text(f"{PROD}hosts:\n  from: {command}\n{beside}")
        for name, content in files.items():
            (tmp_path / f"hosts/{name}.yml").write_text(content)
        return tmp_path

    return make


def hosts(project: Path) -> dict[str, Settings]:
    return stages.load_stage(project, "prod").hosts


def problems(project: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        stages.load_stage(project, "prod")
    return str(caught.value).split("\n")


MAPPING = {"web1": {"address": "203.0.113.10", "user": "deploy"}, "web2": {"web": {"workers": 4}}, "web3": None}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(MAPPING),
        json.dumps(MAPPING, indent="\t"),
        yaml.safe_dump(MAPPING),
        "---\n" + yaml.safe_dump({"hosts": MAPPING}),
        json.dumps({"hosts": MAPPING}),
    ],
)
def test_hosts_are_what_a_command_prints_as_json_or_yaml_or_a_stage_file(printing: Printing, text: str) -> None:
    found = hosts(printing(text))
    assert list(found) == sorted(MAPPING)
    assert (found["web1"].host.address, found["web1"].host.user) == ("203.0.113.10", "deploy")
    assert (found["web2"].web.workers, found["web3"].host.address) == (4, "web3")
    assert found["web1"].members == ["web1", "web2", "web3"]


def test_hosts_are_what_ansible_inventory_prints(printing: Printing) -> None:
    found = {name: settings.host for name, settings in hosts(printing(ANSIBLE)).items()}
    web1 = found["web1"]
    assert list(found) == ["web1", "web2", "web3"]
    assert (web1.address, web1.user, web1.port, web1.key) == ("203.0.113.10", "deploy", 2222, "~/.ssh/deploy")
    assert [(found[name].address, found[name].port) for name in ("web2", "web3")] == [("web2", 22), ("web3", None)]


def test_the_entries_beside_it_override_and_add(printing: Printing) -> None:
    found = hosts(printing(ANSIBLE, "  web1: {port: 22, web: {workers: 8}}\n  web9: {address: 10.0.0.9}\n"))
    assert list(found) == ["web1", "web2", "web3", "web9"]
    assert (found["web1"].host.port, found["web1"].host.address, found["web1"].web.workers) == (22, "203.0.113.10", 8)


def test_a_stage_takes_away_or_replaces_what_all_says_of_it(printing: Printing) -> None:
    project = printing("web1: {}", all="hosts: {from: 'touch ran; exit 1'}")
    assert list(hosts(project)) == ["web1"]
    (project / "hosts/prod.yml").write_text(PROD + "hosts: {from: null, web7: {}}")
    assert list(hosts(project)) == ["web7"]
    assert not (project / "ran").exists()


def test_a_command_runs_once_for_all_stages_and_hosts(printing: Printing) -> None:
    project = printing("{web1: {}, web2: {}}")
    (project / "hosts/staging.yml").write_text((project / "hosts/prod.yml").read_text().replace("app: demo", "app: two"))
    stages.load_stages(project)
    assert list(stages.select(project, "prod").hosts) == ["web1", "web2"]
    assert (project / "runs").read_text() == "run\n"


def test_a_host_is_found_by_its_name_and_address(printing: Printing) -> None:
    project = printing(ANSIBLE)
    assert stages.select(project, "web2").hosts["web2"].host.port == 22
    assert stages.match_connection(project, "203.0.113.10", port=2222).host.name == "web1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("web1:\n  prot: 22\n", ':2: hosts.web1.prot: unknown key; did you mean "port"?'),
        ("hosts:\n  web1:\n    port: '22'\n", ":3: hosts.web1.port: expected a whole number"),
        ('{"web1": {"port": "22"}}', ": hosts.web1.port: expected a whole number"),
        (ANSIBLE.replace('"2222"', '"ssh"'), ": _meta.hostvars.web1.ansible_port: expected a whole number"),
        ("web1: {}\nweb1: {}\n", ":2: web1: this key is there twice, first in line 1"),
        ('{"web1": {},\n "web1": {}}', ":2: web1: this key is there twice, first in line 1"),
        ('{"web1": {"user": "\\ud800"}}', ":1: web1.user: half of a character"),
        ("web1: {rollout: {}}", ":1: hosts.web1.rollout: not allowed here"),
        ("web1: {hosts: {}}", ":1: hosts.web1.hosts: unknown key"),
        ("from: x", ":1: hosts.from: expected keys and values"),
        ("app: shop\nhosts: {web1: {}}\n", ":1: app: only hosts: is taken from here"),
        ("hosts: [web1]", ":1: hosts: expected keys and values, found a list"),
        ("[web1]", ":1: expected keys and values"),
        ("", ":1: there is no host in it"),
        ("{}", ": there is no host in it"),
        ("hosts:", ":1: there is no host in it"),
        ('{"_meta": {"hostvars": {}}, "all": {"children": ["ungrouped"]}}', ": there is no host in it"),
        ("web1: {", ":1: this is no YAML"),
        ('{"a":' * 3000, ": there is too much in it, or it is nested too deeply"),
        ('{"-x": {}}', ": hosts.-x: expected a short name"),
    ],
)
def test_a_mistake_is_told_of_what_was_printed(printing: Printing, text: str, said: str) -> None:
    found = problems(printing(text))
    assert found[0].startswith(f'what "echo run >>runs; cat printed" printed{said}'), found
    assert len(found) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("'echo no state >&2; exit 1'", '"echo no state >&2; exit 1" failed with exit status 1: no state; run it by hand in'),
        ("[a]", "expected a command that prints hosts, found a list"),
        ("{address: 10.0.0.1}", "expected a command that prints hosts, found keys and values"),
        ("''", "expected a command that prints hosts, found none in one line"),
        ('"a\\nb"', "expected a command that prints hosts, found none in one line"),
    ],
)
def test_a_command_that_cannot_be_used_is_told_where_it_is_written(printing: Printing, typed: str, said: str) -> None:
    project = printing("")
    (project / "hosts/prod.yml").write_text(f"{PROD}hosts:\n  from: {typed}\n")
    (problem,) = problems(project)
    assert problem.startswith("hosts/prod.yml:5: hosts.from: ")
    assert said in problem


def test_mistakes_of_the_stage_and_of_what_is_printed_are_told_together(printing: Printing) -> None:
    project = printing("web1: {prot: 1}", "  web2: {port: x}\n")
    found = problems(project)
    assert [line.split(":")[0] for line in found] == ["hosts/prod.yml", 'what "echo run >>runs; cat printed" printed']


def test_the_list_of_commands_runs_it_not(printing: Printing) -> None:
    project = printing("web1: {address: 127.0.0.1, port: 1}")
    (project / "fabfile.py").write_text("from fabrelease.tasks import ns\n")
    fab = [sys.executable, "-c", "from fabric.main import program; program.run()"]
    for words in (["--list"], ["--help", "deploy"], ["-H", "prod", "--list"]):
        subprocess.run([*fab, *words], cwd=project, check=True, capture_output=True, env=dict(os.environ), timeout=60)
    assert not (project / "runs").exists()
    subprocess.run([*fab, "-H", "web1", "status"], cwd=project, capture_output=True, timeout=60)
    assert (project / "runs").read_text() == "run\n"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "_meta", "hostvars", "web1", "ansible_host", "ansible_port", "port"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def printed(content: bytes, tmp: Path) -> Any:
    (tmp / "content").write_bytes(content)
    source = Node(f"cat content # {shlex.quote(str(hash(content)))}", "hosts/prod.yml", 1, ("hosts", "from"))
    return inventory.read(source, tmp)


@given(plain | st.binary(max_size=60))
def test_any_output_gives_hosts_or_a_reason(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    tree, found = printed(content, tmp_path_factory.getbasetemp())
    assert tree is not None or found
    if tree is not None:
        assert tree.value
        assert all(isinstance(name, str) for name in tree.plain())
    assert all(str(problem).isprintable() for problem in found)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9-]{0,9}", fullmatch=True).filter(lambda name: name != "hosts"),
        st.fixed_dictionaries(
            {}, optional={"address": st.text(max_size=9), "port": st.integers(), "user": st.text(max_size=9)}
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_three_forms_say_the_same(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Any]) -> None:
    theirs = {"address": "ansible_host", "port": "ansible_port", "user": "ansible_user"}
    variables = {name: {theirs[key]: value for key, value in entry.items()} for name, entry in entries.items()}
    forms = [entries, {"hosts": entries}, {"_meta": {"hostvars": variables}}]
    for form in forms:
        tree, found = printed(json.dumps(form).encode(), tmp_path_factory.getbasetemp())
        assert (tree.plain(), found) == (entries, [])
