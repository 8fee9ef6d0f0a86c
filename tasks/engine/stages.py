"""Stages: finding, reading, merging and checking hosts/*.yml.

What all.yml says holds for every stage; <stage>.yml adds to it or overrides it; an entry
under hosts: overrides again for one host; command-line options come last. Hosts may come from what a
command prints, too; the entries override that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import inventory, roles
from .errors import Problem, SettingsError, UsageError
from .mistakes import ROOT_KEYS, problems_of, unknown_key
from .remote import kinds
from .settings import HOST_KEYS, LOADER_FIELDS, STAGE_KEYS, Settings
from .wording import describe, nearest, show
from .yamltree import Node, from_plain, merge, read

SHARED_FILE = "all"
EXAMPLE = "example"


@dataclass(frozen=True)
class Stage:
    """A stage, or some of its hosts: the settings of each, by the host's short name."""

    name: str
    hosts: dict[str, Settings]


def find_project(start: Path) -> Path:
    """The nearest directory from `start` upwards whose hosts/ holds a .yml file.

    Raises UsageError when there is none.
    """
    start = start.resolve()
    for directory in (start, *start.parents):
        if any((directory / "hosts").glob("*.yml")):
            return directory
    raise UsageError(
        kinds.NO_STAGE,
        f"no hosts/*.yml in {start} or above it: a stage is described in a file there, like hosts/prod.yml"
    )


def stage_names(project: Path) -> list[str]:
    """The stages of a project, sorted: its files in hosts/, without all.yml and example.yml."""
    files = (project / "hosts").glob("*.yml")
    names = (file.stem for file in files if file.is_file() and not file.name.startswith("."))
    return sorted(name for name in names if name not in (SHARED_FILE, EXAMPLE))


def load_stage(project: Path, name: str, overrides: Mapping[str, Any] | None = None) -> Stage:
    """The settings of every host of a stage.

    `overrides` are settings from the command line, nested as in a file. Raises SettingsError
    with all that is wrong, UsageError when there is no such stage.
    """
    stages = stage_names(project)
    if name not in stages and not (name == EXAMPLE and _stage_file(project, name).is_file()):
        raise UsageError(kinds.UNKNOWN_NAME, _nobody_called(project, name, stages, []))
    stage, problems = _load(project, name, overrides)
    if problems:
        raise SettingsError(problems)
    return stage


def load_stages(project: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Stage]:
    """Every stage of the project by name. Raises SettingsError with the problems of all of them."""
    loaded = {name: _load(project, name, overrides) for name in stage_names(project)}
    if not loaded:
        raise UsageError(kinds.NO_STAGE, _nobody_called(project, None, [], []))
    problems = [problem for _, found in loaded.values() for problem in found]
    if problems:
        raise SettingsError(problems)
    return {name: stage for name, (stage, _) in loaded.items()}


def select(project: Path, name: str, overrides: Mapping[str, Any] | None = None) -> Stage:
    """What `-H name` means: a whole stage, or the one host of that name. A stage wins.

    Raises UsageError when nothing or more than one host has the name.
    """
    stages = stage_names(project)
    if name in stages:
        return load_stage(project, name, overrides)
    entries, problems = _entries(project)
    found = [entry for entry in entries if entry.host == name]
    if not found:
        _unreadable(problems)
        raise UsageError(
            kinds.UNKNOWN_NAME, _nobody_called(project, name, stages, sorted({entry.host for entry in entries}))
        )
    return _only(project, _one(found, f"the host {name}"), overrides)


def match_connection(
    project: Path,
    host: str,
    user: str | None = None,
    port: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of the host that somebody's own connection leads to.

    `host` is a host's name or address. A port that both sides name must be the same; `user`
    decides only between several hosts. Raises UsageError when none or several match.
    """
    entries, problems = _entries(project)
    found = [entry for entry in entries if host in (entry.host, entry.address) and entry.takes(port)]
    if not found:
        _unreadable(problems)
        raise UsageError(
            kinds.UNKNOWN_NAME, _nobody_called(project, host, [], sorted({entry.host for entry in entries}))
        )
    if len(found) > 1:
        found = [entry for entry in found if entry.user == user] or found
    entry = _one(found, f"the connection to {host}")
    return _only(project, entry, overrides).hosts[entry.host]


def default_stage(project: Path) -> str:
    """The stage for a command without -H: default_stage, or the only one.

    Raises UsageError with the stages there are.
    """
    stages = stage_names(project)
    tree, problems = _read_if_there(project, SHARED_FILE)
    chosen = tree.children.get("default_stage") if tree else None
    if tree is None:
        raise SettingsError(problems)
    if chosen is not None and chosen.value is not None:
        problems = problems + _check_default_stage(chosen, stages)
        if problems:
            raise SettingsError(problems)
        return str(chosen.value)
    if len(stages) == 1:
        return stages[0]
    if not stages:
        raise UsageError(kinds.NO_STAGE, _nobody_called(project, None, [], []))
    raise UsageError(
        kinds.WHICH_STAGE,
        f"which stage? Say -H and one of: {', '.join(stages)}; or set default_stage in hosts/all.yml",
    )


# --- reading and merging ------------------------------------------------------------------


def _stage_file(project: Path, name: str) -> Path:
    return project / "hosts" / f"{name}.yml"


def _read_if_there(project: Path, name: str) -> tuple[Node | None, list[Problem]]:
    file = _stage_file(project, name)
    label = f"hosts/{name}.yml"
    return read(file, label) if file.exists() else (Node({}, label, 1), [])


def _read_stage(project: Path, name: str) -> tuple[Node | None, list[Problem]]:
    """all.yml with the stage's file on top; no tree when one of them cannot be read."""
    shared, problems = _read_if_there(project, SHARED_FILE)
    own, own_problems = _read_if_there(project, name)
    problems = problems + own_problems
    if shared is None or own is None:
        return None, problems
    problems += _misplaced(project, shared, own)
    tree, more = _with_printed(project, merge(_with_entries(shared), _with_entries(own)))
    return tree, problems + more


def _with_printed(project: Path, tree: Node) -> tuple[Node | None, list[Problem]]:
    """The hosts that a command prints, where one is named, beneath those that the files name."""
    hosts = tree.children.get("hosts")
    source = hosts.children.get(inventory.FROM) if hosts else None
    if hosts is None or source is None:
        return tree, []
    named = hosts.without(inventory.FROM)
    if source.value is None:
        return replace(tree, value={**tree.children, "hosts": named}), []
    printed, problems = inventory.read(source, project)
    if printed is None:
        return None, problems
    whole = _with_entries(Node({"hosts": printed}, printed.file, printed.line))
    merged = merge(whole.children["hosts"], named)
    return replace(tree, value={**tree.children, "hosts": merged}), problems + _misplaced_in(whole)


def _with_entries(tree: Node) -> Node:
    """An empty host entry (`web1:`) is an empty mapping: it adds nothing and takes nothing away."""
    hosts = tree.children.get("hosts")
    if hosts is None or not hosts.children:
        return tree
    filled = {
        name: replace(entry, value={}) if entry.value is None and name != inventory.FROM else entry
        for name, entry in hosts.children.items()
    }
    return replace(tree, value={**tree.children, "hosts": replace(hosts, value=filled)})


def _load(project: Path, name: str, overrides: Mapping[str, Any] | None) -> tuple[Stage, list[Problem]]:
    """The stage as far as it is right, and all that is wrong with it."""
    tree, problems = _read_stage(project, name)
    if tree is None:
        return Stage(name, {}), problems
    hosts, host_problems = _host_entries(tree)
    problems += host_problems
    common = tree.without("hosts", *LOADER_FIELDS)
    settings: dict[str, Settings] = {}
    for host, entry in hosts.items():
        merged = _for_host(project, name, host, list(hosts), common, entry, overrides)
        try:
            settings[host] = Settings.model_validate(merged.plain())
        except ValidationError as error:
            problems += problems_of(error, merged)
    if problems:
        return Stage(name, settings), problems
    wrong = [_in_entry(hosts[mistake.host], mistake) for mistake in roles.mistakes(settings)]
    return Stage(name, settings if wrong else roles.assign(settings)), wrong


def _in_entry(entry: Node, mistake: roles.Mistake) -> Problem:
    """Where a host's entry says what makes no sense in the stage."""
    node = entry.children.get(mistake.key, entry)
    return Problem(node.file, node.line, f"hosts.{mistake.host}.{mistake.key}", mistake.message, mistake.hint)


def _host_entries(tree: Node) -> tuple[dict[str, Node], list[Problem]]:
    """The entries under hosts:, by name."""
    hosts = tree.children.get("hosts")
    # With no host the other settings are still checked, for a host that is never used.
    nobody = {"nobody": Node({}, tree.file, 1, ("hosts",))}
    if hosts is None or hosts.value in (None, {}):
        line = hosts.line if hosts else 1
        hint = "name the servers, like hosts: {web1: {address: 203.0.113.10}}"
        return nobody, [Problem(tree.file, line, "hosts", "a stage needs at least one host", hint)]
    if not isinstance(hosts.value, dict):
        message = f"expected keys and values, found {describe(hosts.plain())}"
        return nobody, [Problem(hosts.file, hosts.line, "hosts", message, "like hosts: {web1: {}}")]
    entries: dict[str, Node] = {}
    problems: list[Problem] = []
    for host, entry in hosts.value.items():
        entries[host] = entry if isinstance(entry.value, dict) else replace(entry, value={})
        if not isinstance(entry.value, dict):
            message = f"expected keys and values, found {describe(entry.plain())}"
            problems.append(Problem(entry.file, entry.line, entry.key, message, "like {address: 203.0.113.10}"))
    return entries, problems


def _for_host(
    project: Path,
    stage: str,
    host: str,
    members: list[str],
    common: Node,
    entry: Node,
    overrides: Mapping[str, Any] | None,
) -> Node:
    """The merged tree of one host, shaped as Settings wants it."""
    own = entry.without(*HOST_KEYS, *LOADER_FIELDS, *STAGE_KEYS, "hosts")
    merged = merge(merge(common, own), from_plain(dict(overrides or {}), "command line"))
    filled_in = {
        "host": replace(entry.only(*HOST_KEYS), value=dict(entry.only(*HOST_KEYS).value)),
        "stage": Node(stage, common.file, 0, ("stage",)),
        "project": Node(project, common.file, 0, ("project",)),
        "members": from_plain(members, common.file, ("members",)),
    }
    filled_in["host"].value["name"] = replace(entry, value=host)
    # What is missing altogether is missing in the stage's file, not in one host's entry.
    return replace(common, value={**merged.value, **filled_in})


def _misplaced(project: Path, shared: Node, own: Node) -> list[Problem]:
    """Keys that exist, but not where they stand."""
    problems = [*_misplaced_in(shared), *_misplaced_in(own), *_only_in_all(own)]
    chosen = shared.children.get("default_stage")
    if chosen is not None and chosen.value is not None:
        problems += _check_default_stage(chosen, stage_names(project))
    return problems


def _misplaced_in(tree: Node) -> list[Problem]:
    problems = _unknown(tree, LOADER_FIELDS, ROOT_KEYS)
    hosts = tree.children.get("hosts")
    for entry in hosts.children.values() if hosts else ():
        known = (HOST_KEYS | ROOT_KEYS) - STAGE_KEYS - {"hosts"}
        problems += _unknown(entry, LOADER_FIELDS | {"hosts"}, known)
        problems += [*_only_in_all(entry), *_only_for_all(entry)]
    return problems


def _unknown(tree: Node, names: Iterable[str], known: Iterable[str]) -> list[Problem]:
    present = [tree.children[name] for name in names if name in tree.children]
    return [Problem(node.file, node.line, node.key, *unknown_key(str(node.path[-1]), known)) for node in present]


def _not_here(tree: Node, key: str, why: str) -> list[Problem]:
    node = tree.children.get(key)
    return [Problem(node.file, node.line, node.key, "not allowed here", why)] if node else []


def _only_in_all(tree: Node) -> list[Problem]:
    return _not_here(tree, "default_stage", "it chooses among stages, so it belongs into hosts/all.yml")


def _only_for_all(entry: Node) -> list[Problem]:
    why = "it is for all hosts of the stage, so it belongs beside hosts:"
    return [problem for key in sorted(STAGE_KEYS - {"default_stage"}) for problem in _not_here(entry, key, why)]


def _check_default_stage(chosen: Node, stages: list[str]) -> list[Problem]:
    if not isinstance(chosen.value, str) or chosen.value in stages:
        return []  # a wrong type is found with the other types
    message = f"there is no stage {show(chosen.value)}"
    return [Problem(chosen.file, chosen.line, chosen.key, message, f"stages: {', '.join(stages) or 'none'}")]


# --- names --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Entry:
    """A host as its file, or a command, names it, before any check."""

    stage: str
    host: str
    address: str
    user: str | None
    port: int | None

    def takes(self, port: int | None) -> bool:
        return port is None or self.port is None or port == self.port


def _entries(project: Path) -> tuple[list[_Entry], list[Problem]]:
    """The hosts of every stage, before any check: a wrong value in one stage does not hide another's."""
    entries: list[_Entry] = []
    problems: list[Problem] = []
    for stage in stage_names(project):
        tree, found = _read_stage(project, stage)
        problems += found
        hosts = tree.children.get("hosts") if tree else None
        for host, node in hosts.children.items() if hosts else ():
            entry = node.only(*HOST_KEYS).plain() if isinstance(node.value, dict) else {}
            entries.append(
                _Entry(stage, host, str(entry.get("address") or host), entry.get("user"), entry.get("port"))
            )
    return entries, problems


def _unreadable(problems: list[Problem]) -> None:
    """A name nobody has may be in a file that could not be read."""
    if problems:
        raise SettingsError(problems)


def _one(found: list[_Entry], what: str) -> _Entry:
    if len(found) == 1:
        return found[0]
    places = ", ".join(f"{entry.host} in {entry.stage}" for entry in found)
    raise UsageError(
        kinds.WHICH_STAGE,
        f"{what} could be any of: {places}; give the stage with -H, or the hosts names of their own",
    )


def _only(project: Path, entry: _Entry, overrides: Mapping[str, Any] | None) -> Stage:
    stage = load_stage(project, entry.stage, overrides)
    return Stage(stage.name, {entry.host: stage.hosts[entry.host]})


def _nobody_called(project: Path, name: str | None, stages: list[str], hosts: list[str]) -> str:
    if name is None or not (stages or hosts):
        return f"there is no stage yet: describe one in {project / 'hosts'}, like hosts/prod.yml"
    near = nearest(name, [*stages, *hosts])
    kinds = [("stages", stages), ("hosts", hosts)]
    there = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)
    what = " or ".join(kind.removesuffix("s") for kind, names in kinds if names)
    guess = f' Did you mean "{near}"?' if near else ""
    other = " (hosts/*.yaml is not read: name the file .yml)" if _yaml_file(project, name) else ""
    return f"no {what} is called {show(name)}{other}.{guess} There are {there}"


def _yaml_file(project: Path, name: str) -> bool:
    return name in [file.stem for file in (project / "hosts").glob("*.yaml")]
