"""The documents say what is so: commands, links, templates, dependencies, and the shape of the JSON output."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jinja2
import pytest
from fabric.main import program
from invoke.parser import Parser

from fabrelease.tasks import ns
from fabrelease.tasks.engine.escape import FILTERS
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.stages import load_stages
from tests.documents import NULL, documented, example, flatten

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()
TEMPLATES = sorted(path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*.j2"))
CONTEXTS = {context.name: context for context in ns.to_contexts()}  # made once: Invoke takes the help texts out
GROUPS = re.compile(r"(Main|Step [1-7]|Look|Server): \S")


def commands(text: str) -> Iterator[list[str]]:
    """The fab commands in a document: lines of its code blocks, and what stands between backticks."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    for found in [*lines, *re.findall(r"`([^`\n]+)`", text)]:
        match = re.match(r"(?:\$ )?(?:\.tox/demo/bin/)?fab (.*)", found)
        if match:
            yield shlex.split(match[1].replace("…", ""), comments=True)


COMMANDS = [(path.name, words) for path in DOCUMENTS for words in commands(path.read_text())]


def tasks(words: list[str]) -> set[str]:
    """The tasks that a command runs, as Fabric reads it: its own options first, then the tasks and theirs."""
    core = Parser(initial=program.initial_context, ignore_unknown=True).parse_argv(words)
    if core.unparsed[:1] == ["run"]:  # whose argument is left out in a text about it
        return {"run"}
    return {str(context.name) for context in Parser(contexts=CONTEXTS.values()).parse_argv(core.unparsed)}


@pytest.mark.parametrize(("document", "words"), COMMANDS, ids=lambda value: str(value))
def test_fab_understands_each_command_of_the_documents(document: str, words: list[str]) -> None:
    assert tasks(words) <= set(ns.task_names)


def test_a_task_is_shown_by_a_command_that_runs_it_and_not_by_its_name_alone() -> None:
    shown = "`status`, `fab -H prod logs --which nginx`, `fab rollback --to deploy`\n\n    $ fab push venv  # and then switch\n"
    assert set().union(*map(tasks, commands(shown))) == {"logs", "rollback", "push", "venv"}


def test_the_readme_shows_every_task() -> None:
    by_name = {name for kind in drivers.KINDS for name in drivers.packaged(kind)}
    assert set(ns.task_names) - by_name - set().union(*map(tasks, commands(README))) == set()


@pytest.mark.parametrize("name", sorted(ns.task_names))
def test_a_task_says_its_group_and_what_it_does_and_describes_each_option(name: str) -> None:
    task = ns[name]
    assert GROUPS.match(task.__doc__ or "")
    assert [argument.name for argument in CONTEXTS[name].args.values() if not argument.help] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_are_there(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    local = [target for target in targets if not target.startswith("https://")]
    assert [target for target in local if not (path.parent / target).exists()] == []


def test_the_stage_files_of_the_readme_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    whole = [block for block in blocks if block.startswith("app:")]
    (tmp_path / "hosts").mkdir()
    for number, block in enumerate(whole):
        (tmp_path / f"hosts/stage{number}.yml").write_text(block)
    parts = [block for block in blocks if not block.startswith("app:")]
    for number, block in enumerate(parts):
        (tmp_path / f"hosts/part{number}.yml").write_text(complete(block))
    stages = load_stages(tmp_path)
    assert len(whole) == 2
    assert len(stages) == len(blocks)
    assert all(stage.hosts for stage in stages.values())


def complete(part: str) -> str:
    """A stage file from a part of one, with what it leaves out."""
    keys = set(re.findall(r"^(\w+):", part, re.MULTILINE))
    rest = {
        "app": "app: shop\n",
        "web": "web: {app: 'shop:app'}\n",
        "site": "site: {domains: [shop.example.net]}\n",
        "hosts": "hosts: {web1: {address: 203.0.113.10}}\n",
    }
    text = part + "".join(line for key, line in rest.items() if key not in keys)
    return text if "domains" in text else text.replace("site: {", "site: {domains: [shop.example.net], ")


def test_the_fabfile_of_the_readme_has_its_own_deploy() -> None:
    blocks = re.findall(r"```python\n(from fabric import task.*?)```", README, re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(ast.parse(blocks[0]), "README.md", "exec"), made)
    assert len(blocks) == 1
    assert {"deploy", "push", "switch", "status"} <= made.keys()


def test_the_templates_their_blocks_and_the_filters_are_all_described() -> None:
    text = (ROOT / "docs/templates.md").read_text()
    rows = re.findall(r"^\| (?:`([^`]+)`)? *\| `(\w+)` \|", section(text, "Blocks"), re.MULTILINE)
    described, template = set(), ""
    for name, block in rows:
        template = name or template
        described.add((template, block))
    environment = jinja2.Environment(autoescape=False)
    there = {
        (str(path), block.name)
        for path in TEMPLATES
        for block in environment.parse((ROOT / "templates" / path).read_text()).find_all(jinja2.nodes.Block)
    }
    assert described == there
    assert set(re.findall(r"^\| `([^`]+\.j2)`", text.split("## ")[0], re.MULTILINE)) == set(map(str, TEMPLATES))
    assert set(re.findall(r"^\| `(\w+)`", section(text, "Filters"), re.MULTILINE)) == set(FILTERS)


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_each_dependency_has_its_reason() -> None:
    installed, tests = (ROOT / "docs/dependencies.md").read_text().split("## For the tests")
    assert reasons(installed) == {requirement(line) for line in requires("fabrelease") or []}
    used = {
        requirement(line)
        for block in re.findall(r"^deps =(.*(?:\n    .*)*)", (ROOT / "tox.ini").read_text(), re.MULTILINE)
        for line in block.split()
    }
    assert used - reasons(tests) == set()


def reasons(text: str) -> set[str]:
    """The packages in the first column of a table."""
    cells = re.findall(r"^\| ([a-z0-9, -]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in cell.split(", ")} - {"package", "---"}


def requirement(line: str) -> str:
    return re.split(r"[^A-Za-z0-9_-]", line)[0].lower()


@pytest.mark.parametrize("command", ["status", "releases", "plan", "doctor", "secrets", "errors", "notify"])
def test_each_key_of_a_json_example_is_documented_with_its_type(command: str) -> None:
    keys = documented(command)
    found = flatten(example(command))
    assert set(found) - set(keys) == set()
    assert {key: types - keys[key] for key, types in found.items() if types - keys[key]} == {}
    nothing = tuple(f"{key}." for key, types in found.items() if types == {NULL})
    assert [key for key in keys if key not in found and not key.startswith(nothing)] == []
