"""The JSON Schema for editors and the reference page, both made from the models.

    python -m fabrelease.tasks.engine.schema

writes hosts/schema.json and docs/settings.md; the tests fail when they are out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .settings import LOADER_FIELDS, Hook, Host, Settings

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "hosts" / "schema.json"
EXAMPLE_FILE = ROOT / "hosts" / "example.yml"
REFERENCE_FILE = ROOT / "docs" / "settings.md"
HOOK_PREFIX = "hooks.<point>[]."

Schema = dict[str, Any]


def schema() -> Schema:
    """The JSON Schema of a stage file. No key is required: files add to one another."""
    whole = _tidy(Settings.model_json_schema(ref_template="#/$defs/{model}"))
    definitions = whole["$defs"]
    del definitions["Host"]
    definitions["Hook"] = {"anyOf": [{"type": "string"}, definitions["Hook"]]}
    hosts_own = _tidy(Host.model_json_schema())["properties"]
    del hosts_own["name"]
    settings = {key: value for key, value in whole["properties"].items() if key not in LOADER_FIELDS}
    one_host = {**hosts_own, **settings, **hosts_own}  # a host's user logs in
    del one_host["default_stage"]
    definitions["HostEntry"] = {
        "description": "How to reach this host, and any setting that differs on it.",
        "type": ["object", "null"],
        "properties": one_host,
        "additionalProperties": False,
    }
    settings["hosts"] = {
        "description": "The servers of the stage by short name.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/HostEntry"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stage of fabrelease: hosts/<stage>.yml",
        "type": "object",
        "properties": settings,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _tidy(schema: Any) -> Any:
    """Without what pydantic adds for programs: titles, and what only a merged whole must have."""
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"title", "required", "propertyNames"}
    if "$ref" in schema or schema.get("default") is None:
        dropped.add("default")
    if schema.get("additionalProperties") is True:  # says nothing, and not every pydantic says it
        dropped.add("additionalProperties")
    return {
        key: {name: _tidy(field) for name, field in value.items()} if key in ("properties", "$defs") else _tidy(value)
        for key, value in schema.items()
        if key not in dropped
    }


_INTRODUCTION = """\
# Settings

A stage is a file, `hosts/<stage>.yml`. `hosts/all.yml` holds what every stage shares, the stage's file adds
to it or overrides it, an entry under `hosts:` overrides again for one host, and command-line options come
last. Mappings merge, everything else replaces. `null` takes an optional value away again.

Local paths are taken from the directory that holds `hosts/`.

For completion and checks in an editor, copy `schema.json` from this package's `hosts/` beside your stage
files and begin each with `# yaml-language-server: $schema=schema.json`.

This page is made by `python -m fabrelease.tasks.engine.schema`.

"""


def reference() -> str:
    """The reference page: a table of all settings, then the example."""
    whole = schema()
    settings = {key: field for key, field in whole["properties"].items() if key != "hosts"}
    rows = [*_rows(settings, whole["$defs"], ""), *_host_rows(whole)]
    lines = [
        *_INTRODUCTION.splitlines(),
        "| key | type | default | meaning |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(_cell(text) for text in row)} |" for row in rows),
        "",
        "## All of them in one file",
        "",
        "```yaml",
        EXAMPLE_FILE.read_text(encoding="utf-8").rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


Row = tuple[str, str, str, str]


def _rows(properties: Schema, definitions: Schema, prefix: str) -> Iterator[Row]:
    for name, field in properties.items():
        key = prefix + name
        section = field.get("$ref", "").rpartition("/")[2]
        described = field if "description" in field else definitions[section]
        default = "required" if key in REQUIRED else "" if section else _default(field)
        yield f"`{key}`", "section" if section else _kind(field), default, described["description"]
        if section:
            yield from _rows(definitions[section]["properties"], definitions, f"{key}.")
        if section == "Hooks":
            hook = definitions["Hook"]["anyOf"][1]
            yield from _rows(hook["properties"], definitions, HOOK_PREFIX)


def _host_rows(whole: Schema) -> Iterator[Row]:
    hosts = whole["properties"]["hosts"]
    yield (
        "`hosts`",
        "mapping",
        "required",
        hosts["description"] + " Also takes any setting above, for one host.",
    )
    own = {key: value for key, value in whole["$defs"]["HostEntry"]["properties"].items() if key in Host.model_fields}
    yield from _rows(own, whole["$defs"], "hosts.<name>.")


def _required(model: Any, prefix: str = "") -> Iterator[str]:
    for name, info in model.model_fields.items():
        if info.is_required() and name not in LOADER_FIELDS:
            yield prefix + name
        if hasattr(info.annotation, "model_fields") and name not in LOADER_FIELDS:
            yield from _required(info.annotation, f"{prefix}{name}.")


REQUIRED = frozenset([*_required(Settings), *_required(Hook, HOOK_PREFIX)])

_KINDS = {"string": "text", "integer": "whole number", "array": "list", "object": "mapping", "null": ""}


def _kind(field: Schema) -> str:
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kinds = [_kind(choice) for choice in field.get("anyOf", ())] or [_KINDS[field["type"]]]
    return " or ".join(kind for kind in kinds if kind)


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    default = field["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write both files."""
    SCHEMA_FILE.write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    REFERENCE_FILE.parent.mkdir(exist_ok=True)
    REFERENCE_FILE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
