"""The hosts of a stage from elsewhere: what a command on this machine prints.

It prints the same as stands below hosts: in a stage file, a stage file with hosts: in it, or what
``ansible-inventory --list`` prints.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import command
from .errors import Problem
from .wording import describe, show
from .yamltree import Node, Step, from_plain, parse

FROM = "from"
OF_ANSIBLE = {
    "ansible_host": "address",
    "ansible_user": "user",
    "ansible_port": "port",
    "ansible_ssh_private_key_file": "key",
}


def read(source: Node, project: Path) -> tuple[Node | None, list[Problem]]:
    """The tree of hosts that a command prints, by their names, and what is wrong with it.

    :param source: the command, where it was written.
    :param project: the directory that it runs in.
    :returns: no tree where the command or its output cannot be used.
    """
    typed = source.value
    if not isinstance(typed, str) or not typed.strip() or any(char in typed for char in "\0\r\n"):
        found = describe(source.plain()) if not isinstance(typed, str) else "none in one line"
        hint = "like from: terraform output -json fabrelease; a host has another name"
        return None, [_problem(source, f"expected a command that prints hosts, found {found}", hint)]
    try:
        content = command.output(typed, project)
    except command.Failed as error:
        return None, [_problem(source, f"{show(typed, 100)} {error}", f"run it by hand in {project}")]
    tree, problems = _parse(content, f"what {show(typed, 100)} printed")
    if tree is None:
        return None, problems
    hosts, more = _hosts(tree)
    if not (hosts.value or problems or more):
        more = [Problem(tree.file, tree.line, "", "there is no host in it", "like web1: {address: 203.0.113.10}")]
    problems += more
    return (hosts if hosts.value else None), problems


def _problem(node: Node, message: str, hint: str) -> Problem:
    return Problem(node.file, node.line, node.key, message, hint)


def _parse(content: bytes, label: str) -> tuple[Node | None, list[Problem]]:
    """JSON or YAML. What is not right as JSON is YAML's to tell, which knows the lines."""
    try:
        value = json.loads(content, object_pairs_hook=_each_key_once)
        json.dumps(value, ensure_ascii=False).encode()  # halves of characters are no text
        return (from_plain(value, label), []) if isinstance(value, dict) else parse(content, label)
    except (ValueError, RecursionError):
        return parse(content, label)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _hosts(tree: Node) -> tuple[Node, list[Problem]]:
    """The hosts by name, in whichever of the three forms."""
    if "_meta" in tree.children:
        return _of_ansible(tree), []
    whole = tree.children.get("hosts")
    if whole is None:
        return _below(tree, "hosts"), []
    others = tree.without("hosts").children.values()
    problems = [_problem(node, "only hosts: is taken from here", "put it into the stage's file") for node in others]
    if isinstance(whole.value, dict) or whole.value is None:
        return replace(whole, value=whole.children), problems
    message = f"expected keys and values, found {describe(whole.plain())}"
    return replace(whole, value={}), [*problems, _problem(whole, message, "like hosts: {web1: {}}")]


def _below(node: Node, *steps: Step) -> Node:
    """The same tree, as it would be below a key."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _below(child, *steps) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_below(child, *steps) for child in value]
    return replace(node, value=value, path=(*steps, *node.path))


def _of_ansible(tree: Node) -> Node:
    """The hosts of Ansible's groups, with what its variables say of how to reach them."""
    variables = tree.children["_meta"].children.get("hostvars", Node({}, tree.file)).children
    groups = [group.children["hosts"].value for group in tree.children.values() if "hosts" in group.children]
    listed = [node for names in groups if isinstance(names, list) for node in names if isinstance(node.value, str)]
    # Those without a variable are in the groups alone.
    nodes = {**{node.value: replace(node, value={}) for node in listed}, **variables}
    return Node({name: _login(node) for name, node in nodes.items()}, tree.file, tree.line, tree.path)


def _login(host: Node) -> Node:
    there = {ours: host.children[name] for name, ours in OF_ANSIBLE.items() if name in host.children}
    port = there.get("port")
    if port is not None and isinstance(port.value, str) and port.value.isdecimal():
        there["port"] = replace(port, value=int(port.value))  # in an ini file all is text
    return replace(host, value=there)
