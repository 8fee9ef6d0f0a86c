"""YAML files as trees in which every value knows the file and line it came from.

Merging keeps those origins, so that a message about a merged setting names the
place a person has to edit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from .errors import Problem

Step: TypeAlias = "str | int"

# Far above any settings; aliases can make a small file a huge tree.
_MOST_VALUES = 50_000
_DEEPEST = 40

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + kind for kind in ("null", "bool", "int", "float", "str"))


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without its traps: 1:30 is text (not 90), so are a date, = and <<."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in (_TAG + "null", _TAG + "bool", _TAG + "merge")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _TAG + "int",
    re.compile(r"[-+]?(0b[01]+|0x[0-9a-fA-F]+|0[0-7]*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(r"[-+]?(([0-9][0-9_]*\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|\.(inf|Inf|INF))$|\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Node:
    """A value with its origin: a scalar, a list of nodes, or a mapping of text to nodes."""

    value: Any
    file: str
    line: int = 0
    path: tuple[Step, ...] = ()

    @property
    def key(self) -> str:
        """The path for people: web.settings.timeout, hooks.build[0]."""
        return dotted(self.path)

    @property
    def children(self) -> dict[str, Node]:
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value alone."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def without(self, *keys: str) -> Node:
        return replace(self, value={key: child for key, child in self.children.items() if key not in keys})

    def only(self, *keys: str) -> Node:
        return self.without(*(key for key in self.children if key not in keys))

    def find(self, steps: tuple[Step, ...]) -> tuple[Node, tuple[Step, ...]]:
        """The deepest node on the way, and the steps that lead no further."""
        for position, step in enumerate(steps):
            if step in self.children:
                child = self.children[str(step)]
            elif isinstance(self.value, list) and isinstance(step, int):
                child = self.value[step]
            else:
                return self, steps[position:]
            deeper, rest = child.find(steps[position + 1 :])
            return deeper, rest
        return self, ()


def dotted(path: tuple[Step, ...]) -> str:
    """A path for people. Below env and secrets only variable names are shown: by a slip a secret can be a key."""
    text = ""
    for position, step in enumerate(path):
        if {"env", "secrets"} & set(path[:position]) and not re.fullmatch(r"\w+", str(step), re.ASCII):
            break
        text += f"[{step}]" if isinstance(step, int) else f".{_printable(step)}"
    return text.removeprefix(".")


def _printable(text: str, limit: int = 60) -> str:
    text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def merge(base: Node, over: Node) -> Node:
    """`over` on top of `base`: mappings merge, everything else replaces."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, child in over.value.items():
        merged[key] = merge(merged[key], child) if key in merged else child
    return replace(over, value=merged)


def from_plain(value: Any, file: str, path: tuple[Step, ...] = ()) -> Node:
    """A tree of values that come from no YAML file, such as command-line options."""
    if isinstance(value, dict):
        value = {key: from_plain(child, file, (*path, key)) for key, child in value.items()}
    elif isinstance(value, list):
        value = [from_plain(child, file, (*path, index)) for index, child in enumerate(value)]
    return Node(value, file, 0, path)


def read(path: Path, name: str) -> tuple[Node | None, list[Problem]]:
    """The tree of a YAML file whose top is a mapping, and what is wrong with the file.

    `name` is the file's name for messages. There is no tree when the file is no YAML; after a
    lesser problem, such as a key that is there twice, it holds the rest.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, [Problem(name, 0, "", f"cannot be read: {error.strerror}")]
    return parse(content, name)


def parse(content: bytes, name: str) -> tuple[Node | None, list[Problem]]:
    """The same of YAML that is in no file; see read()."""
    try:
        return _compose(content, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [Problem(name, mark.line + 1 if mark else 0, "", f"this is no YAML: {_without_text(error)}")]
    except yaml.reader.ReaderError as error:
        return None, [Problem(name, 0, "", f"this is no text file: {error.reason} at position {error.position}")]
    except (RecursionError, _TooMuch):
        return None, [Problem(name, 0, "", "there is too much in it, or it is nested too deeply")]
    except ValueError as error:  # PyYAML lets escapes that name no character through to chr()
        return None, [Problem(name, 0, "", f"this is no YAML: {type(error).__name__}")]


def _without_text(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words, without pieces of the file: an alias may be a password that starts with *."""
    words = re.sub(r"\s*'[^']{2,}'", "", error.problem or error.context or "")
    if "alias" in words or "anchor" in words:
        words += " (text that starts with * or & needs quotes)"
    return _printable(words, 200)


def _compose(content: bytes, name: str) -> tuple[Node | None, list[Problem]]:
    loader = _Loader(content)
    try:
        top = loader.get_single_node()
        builder = _Builder(loader, name)
        if top is None or (isinstance(top, yaml.ScalarNode) and top.tag == _TAG + "null"):
            return Node({}, name, 1), []
        if not isinstance(top, yaml.MappingNode):
            return None, [Problem(name, 1, "", "expected keys and values, like app: myapp")]
        return replace(builder.build(top, 1, ()), line=1), builder.problems
    finally:
        loader.dispose()


class _TooMuch(Exception):
    pass


@dataclass
class _Builder:
    """Turns PyYAML's nodes into ours and notes what is wrong on the way."""

    loader: _Loader
    file: str
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def build(self, node: yaml.Node, line: int, path: tuple[Step, ...]) -> Node:
        self.count += 1
        if self.count > _MOST_VALUES or len(path) > _DEEPEST:
            raise _TooMuch
        return Node(self._value(node, path), self.file, line, path)

    def _value(self, node: yaml.Node, path: tuple[Step, ...]) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(child, _line(child), (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        return self._problem(node, path, "YAML tags are not used here")

    def _mapping(self, node: yaml.MappingNode, path: tuple[Step, ...]) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged = {**self._merge_key(value_node, path), **merged}
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in own:
                first = own[key].line
                self._problem(key_node, (*path, key), f"this key is there twice, first in line {first}")
                continue
            own[key] = self.build(value_node, _line(key_node), (*path, key))
        return {**merged, **own}

    def _merge_key(self, node: yaml.Node, path: tuple[Step, ...]) -> dict[str, Node]:
        """What `<<: *anchor` or `<<: [*one, *two]` brings in; the first one wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Node] = {}
        for source in sources:
            self.count += 1
            if self.count > _MOST_VALUES:
                raise _TooMuch
            if not isinstance(source, yaml.MappingNode):
                self._problem(node, path, "<< takes a mapping, or a list of mappings")
                continue
            found = {**self._mapping(source, path), **found}
        return found

    def _key(self, node: yaml.Node, path: tuple[Step, ...]) -> str | None:
        value = self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else node
        if isinstance(value, str):
            return value
        if isinstance(node, yaml.ScalarNode) and value is not None:
            self._problem(node, path, "expected text as a key", "put the key in quotes")
        elif not isinstance(node, yaml.ScalarNode) or node.tag == _TAG + "null":
            self._problem(node, path, "expected text as a key")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: tuple[Step, ...]) -> Any:
        if node.tag == _TAG + "merge":
            return node.value
        if node.tag not in _SCALARS:
            return self._problem(node, path, "YAML tags are not used here")
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, LookupError):
            return self._problem(node, path, "this is not the kind of value its YAML tag or form says")
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            return self._problem(node, path, "half of a character (a lone surrogate) is not text")
        return value

    def _problem(self, node: yaml.Node, path: tuple[Step, ...], message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, _line(node), dotted(path), message, hint))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
