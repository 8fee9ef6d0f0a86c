"""The JSON Schema for editors and the reference page, both made from the models.

    python -m fabrelease.tasks.engine.schema

writes hosts/schema.json and docs/settings.md; the tests fail when they are out of date.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from .inventory import FROM
from .settings import LOADER_FIELDS, STAGE_KEYS, Settings

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "hosts" / "schema.json"
EXAMPLE_FILE = ROOT / "hosts" / "example.yml"
REFERENCE_FILE = ROOT / "docs" / "settings.md"
HOOK_PREFIX = "hooks.<point>[]."

Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without titles, which would only say the names of the keys again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Schema:
        made = super().model_schema(schema)
        del made["title"]
        return made


def _models() -> Schema:
    """The JSON Schema of Settings and of each section."""
    whole = Settings.model_json_schema(schema_generator=_Untitled)
    return {"Settings": whole, **whole["$defs"]}


def schema() -> Schema:
    """The JSON Schema of a stage file. No key of a section is required: files add to one another."""
    models = _models()
    for name in models.keys() - {"Hook", "SwitchHook"}:  # commands are in lists, which replace one another
        models[name].pop("required", None)
    settings = _without(models.pop("Settings")["properties"], LOADER_FIELDS)
    login = _without(models.pop("Host")["properties"], {"name"})
    models["HostEntry"] = {
        "description": "How to reach this host, and any setting that differs on it.",
        "type": ["object", "null"],
        "properties": {**_without(settings, STAGE_KEYS), **login},  # a host's user logs in
        "additionalProperties": False,
    }
    settings["hosts"] = {
        "description": "The servers of the stage by short name.",
        "type": "object",
        "properties": {FROM: {"type": ["string", "null"], "description": HOSTS_FROM[3]}},
        "additionalProperties": {"$ref": "#/$defs/HostEntry"},
    }
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "title": "A stage of fabrelease: hosts/<stage>.yml",
        "type": "object",
        "properties": settings,
        "additionalProperties": False,
        "$defs": models,
    }


def _without(properties: Schema, names: Collection[str]) -> Schema:
    return {name: field for name, field in properties.items() if name not in names}


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
    models = _models()
    rows = [
        *_rows(models, "Settings", without=LOADER_FIELDS),
        HOSTS,
        HOSTS_FROM,
        *_rows(models, "Host", "hosts.<name>.", {"name"}),
    ]
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

HOSTS = (
    "`hosts`",
    "mapping",
    "required",
    "The servers of the stage by short name. Also takes any setting above, for one host.",
)
HOSTS_FROM = (
    f"`hosts.{FROM}`",
    "text",
    "",
    "Shell command, run on this machine in the project, that prints such a mapping as JSON or YAML, a stage file, "
    "or what ansible-inventory --list prints. The entries beside it override that.",
)


def _rows(models: Schema, model: str, prefix: str = "", without: Collection[str] = ()) -> Iterator[Row]:
    for name, field in _without(models[model]["properties"], without).items():
        section, each = _section(field), _section(_values(field))
        item = field.get("items", {}).get("$ref", "").rpartition("/")[2]
        default = "required" if name in models[model].get("required", ()) else _default(field)
        # A section's meaning is left out where its model says the same.
        meaning = field.get("description") or models[section]["description"]
        yield f"`{prefix}{name}`", _kind(field), default, meaning
        if section:
            yield from _rows(models, section, f"{prefix}{name}.")
        if each:
            yield from _rows(models, each, f"{prefix}{name}.<key>.")
        if item:
            yield from _rows(models, item, f"{prefix}{name}[].")
        if section == "Hooks":
            yield from _rows(models, "SwitchHook", HOOK_PREFIX)


def _values(field: Schema) -> Schema:
    """What the values of a mapping with any keys are; nothing for any other field."""
    values = field.get("additionalProperties")
    return values if isinstance(values, dict) else {}


def _section(field: Schema) -> str:
    """The name of the section's model; nothing for any other field."""
    references = [choice["$ref"] for choice in (field, *field.get("anyOf", ())) if "$ref" in choice]
    return references[0].rpartition("/")[2] if references else ""


_KINDS = {
    "string": "text",
    "integer": "whole number",
    "array": "list",
    "object": "mapping",
    "null": "",
    "boolean": "`true` or `false`",
}


def _kind(field: Schema) -> str:
    if "$ref" in field:
        return "section"
    if "anyOf" in field:
        return " or ".join(kind for choice in field["anyOf"] if (kind := _kind(choice)))
    words = field.get("enum") or ([field["const"]] if "const" in field else [])
    named = [word if isinstance(word, str) else json.dumps(word) for word in words]
    return " or ".join(f"`{word}`" for word in named) or _KINDS[field["type"]]


def _default(field: Schema) -> str:
    default = field.get("default")
    if default is None or "$ref" in field:
        return ""
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
