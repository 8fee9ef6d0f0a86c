"""The documents say what is so: commands, links, templates, dependencies, and the shape of the JSON output."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from fabric.main import program
from invoke.parser import Parser

from docs.reference import page
from fabrelease.tasks import ns
from fabrelease.tasks.engine.escape import FILTERS
from fabrelease.tasks.engine.remote import drivers
from fabrelease.tasks.engine.stages import load_stages
from tests.documents import NULL, blocks, documented, example, flatten

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in DOCUMENTS[2:]}
TEMPLATES = sorted(path.relative_to(ROOT / "templates") for path in (ROOT / "templates").rglob("*.j2"))
CONTEXTS = {context.name: context for context in ns.to_contexts()}  # made once: Invoke takes the help texts out
BEFORE = r"\s*(?:\$ |- |[\w.]+: |- run: |\(.* && )?"  # a prompt, a key of YAML, or another command
CI = ("name: deploy", "deploy:")  # what YAML of a CI begins with
NO_STAGE = (*CI, "- name:", "tls:", "hosts: {from", "hosts:\n  from")  # Ansible's, a section alone, hosts by a program that is not here
GROUPS = re.compile(r"(Main|Step [1-7]|Look|Server): \S")


def commands(text: str) -> Iterator[list[str]]:
    """The fab commands in a document: lines of its code blocks, and what stands between backticks."""
    fenced = "\n".join(re.findall(r"^ *```\w*\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)).splitlines()
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    for found in [*lines, *fenced, *re.findall(r"`([^`\n]+)`", text)]:
        match = re.match(rf"{BEFORE}(?:[\w./~-]*/bin/)?fab (.*?)(?:\).*)?$", found)
        if match:
            yield shlex.split(match[1].replace("…", ""), comments=True)


COMMANDS = [(path.relative_to(ROOT).as_posix(), words) for path in DOCUMENTS for words in commands(path.read_text())]


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


def test_a_command_is_found_in_a_recipe_too() -> None:
    shown = "```yaml\n      - run: /opt/bin/fab -H prod deploy\n  script:\n    - fab -H prod status\n```\n```sh\n(cd x && fab plan) </dev/null\n```\n"
    assert set().union(*map(tasks, commands(shown))) == {"deploy", "status", "plan"}


def test_the_documents_show_every_task_in_use() -> None:
    by_name = {name for kind in drivers.KINDS for name in drivers.packaged(kind)}
    assert set(ns.task_names) - by_name - set().union(*(tasks(words) for _, words in COMMANDS)) == set()


def test_the_page_of_the_commands_is_as_the_collection_has_them() -> None:
    assert PAGES["commands.md"] == page(CONTEXTS.values()), "run: python docs/reference.py"


def test_the_comparison_has_the_figures_of_the_last_whole_run() -> None:
    found = re.findall(r"^\| ([a-z]+, .*?) \| (\w+) (\w+) \| ([\d.]+ s) \|", (ROOT / "bench/results.md").read_text(), re.MULTILINE)
    medians = {(series, tool, verb): seconds for series, tool, verb, seconds in found}
    rows = re.findall(r"^\| (redeploy|rollback|first deploy), (\d+ \w+)[^|]* \|(.*)\|$", PAGES["compare.md"], re.MULTILINE)
    tools = ("fabrelease", "script", "pyinfra", "capistrano", "ansible")
    verbs = {"redeploy": ("warm", "deploy"), "rollback": ("warm", "rollback"), "first deploy": ("first", "first")}
    for work, series, cells in rows:
        kind, verb = verbs[work]
        measured = [medians.get((f"{kind}, {series}", tool, verb), "") for tool in tools]
        assert [cell.strip() for cell in cells.split("|")] == measured
    assert len(rows) == 5


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


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_stage_files_of_a_page_are_valid(name: str, tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    stages = [block for block in blocks(f"docs/{name}", "yaml") if not block.startswith(NO_STAGE)]
    for number, block in enumerate(stages):
        (tmp_path / f"hosts/stage{number}.yml").write_text(complete(block))
    found = load_stages(tmp_path) if stages else {}
    assert len(found) == len(stages)
    assert all(stage.hosts for stage in found.values())


def test_the_recipes_are_yaml_that_deploys_one_after_the_other() -> None:
    github, gitlab, forgejo = (
        yaml.load(text, yaml.BaseLoader)  # `on` is text
        for text in blocks("docs/recipes.md", "yaml")
        if text.startswith(CI)
    )
    for workflow in (github, forgejo):
        assert workflow["on"] == {"push": {"branches": ["main"]}}
        assert workflow["concurrency"] == {"group": "deploy-prod", "cancel-in-progress": "false"}
        (job,) = workflow["jobs"].values()
        assert job["steps"][-1]["run"].endswith("fab -H prod deploy")
        assert list(job["steps"][-1]["env"]) == ["SECRET_KEY"]
    assert gitlab["deploy"]["resource_group"] == "prod"
    assert gitlab["deploy"]["script"] == ["fab -H prod deploy"]


def test_the_hook_of_the_recipes_is_sound(tmp_path: Path) -> None:
    (hook,) = blocks("docs/recipes.md", "sh")
    (tmp_path / "hook").write_text(hook)
    done = subprocess.run(["shellcheck", "--shell=sh", tmp_path / "hook"], stdout=subprocess.PIPE, text=True)
    assert done.stdout == ""


def complete(part: str) -> str:
    """A stage file from a part of one, with what it leaves out."""
    stage = yaml.safe_load(part)
    whole = {"app": "shop", "web": {"app": "shop:app"}, "hosts": {"web1": {"address": "203.0.113.10"}}, **stage}
    whole["site"] = {"domains": ["shop.example.net"], **stage.get("site", {})}
    return str(yaml.safe_dump(whole))


@pytest.mark.parametrize("name", ["fabfile.md", "howto/from-fabric1.md"])
def test_a_fabfile_that_is_shown_has_its_own_deploy(name: str) -> None:
    (text,) = [block for block in blocks(f"docs/{name}", "python") if block.startswith("from fabric import task")]
    made: dict[str, Any] = {}
    exec(compile(ast.parse(text), name, "exec"), made)
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


@pytest.mark.parametrize(
    "command", ["status", "releases", "backups", "plan", "doctor", "schedule", "secrets", "notify"]
)
def test_each_key_of_a_json_example_is_documented_with_its_type(command: str) -> None:
    keys = documented(command)
    found = flatten(example(command))
    assert set(found) - set(keys) == set()
    assert {key: types - keys[key] for key, types in found.items() if types - keys[key]} == {}
    nothing = tuple(f"{key}." for key, types in found.items() if types == {NULL})
    assert [key for key in keys if key not in found and not key.startswith(nothing)] == []
