"""What the documents say, for the tests that hold it against what is so."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/json.md"
NULL = "null"


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of one language in a document, named from the repository's root."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def documented(command: str) -> dict[str, set[str]]:
    """Each key that the document names for a command, with the types it may have."""
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z ]+) \|", _section(command), re.MULTILINE)
    return {key: {word.split()[0] for word in types.split(" or ")} for key, types in rows}


def example(command: str) -> Any:
    """The document's example of a command's output."""
    return json.loads(re.findall(r"```json\n(.*?)```", _section(command), re.DOTALL)[0])


def flatten(value: Any, key: str = "") -> dict[str, set[str]]:
    """Each key in a value, written as the document does (hosts[].current.id), with the types it has there."""
    found: dict[str, set[str]] = {key: {_type(value)}} if key and not key.endswith("[]") else {}
    inside = value.items() if isinstance(value, dict) else ()
    below = [(f"{key}.{name}" if key else name, item) for name, item in inside]
    if isinstance(value, list):
        below = [(f"{key}[]", item) for item in value]
    for name, item in below:
        for path, types in flatten(item, name).items():
            found.setdefault(path, set()).update(types)
    return found


def _type(value: Any) -> str:
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "boolean"
    names = {str: "text", int: "number", float: "number", list: "list", dict: "object"}
    return names[type(value)]


def _section(command: str) -> str:
    return DOCUMENT.read_text().split(f"## {command}\n", 1)[1].split("\n## ", 1)[0]
