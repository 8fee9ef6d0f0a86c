"""The JSON Schema for editors and the reference page, both made from the models.

    python -m fabrelease.tasks.engine.schema

writes hosts/schema.json and docs/settings.md; the tests fail when they are out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from .checking import Check, Model, is_model, is_required, model_in, without_none
from .settings import HOST_KEYS, LOADER_FIELDS, Hook, Host, Settings

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = ROOT / "hosts" / "schema.json"
EXAMPLE_FILE = ROOT / "hosts" / "example.yml"
REFERENCE_FILE = ROOT / "docs" / "settings.md"
HOOK_PREFIX = "hooks.<point>[]."

Schema = dict[str, Any]


def schema() -> Schema:
    """The JSON Schema of a stage file. No key is required: files add to one another."""
    models: Schema = {}
    settings = {key: field for key, field in _properties(Settings, models).items() if key not in LOADER_FIELDS}
    hosts_own = {key: field for key, field in _properties(Host, models).items() if key in HOST_KEYS}
    one_host = {**hosts_own, **settings, **hosts_own}  # a host's user logs in
    del models["Host"], one_host["default_stage"]
    models["HostEntry"] = {
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
        "$defs": models,
    }


def _properties(model: type[Model], models: Schema) -> Schema:
    return {
        info.name: {"description": info.metadata["meaning"], **_type(info.type, models), **_with_default(info)}
        for info in fields(model)
    }


def _with_default(info: Field[Any]) -> Schema:
    default = info.metadata["default"]
    return {} if default is None or default is MISSING or isinstance(default, Model) else {"default": default}


_SIMPLE = {str: {"type": "string"}, int: {"type": "integer"}}


def _type(kind: Any, models: Schema) -> Schema:
    """The schema of a type; the models that are in it are put into `models`."""
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if origin is Annotated:
        return _checked(_type(parts[0], models), parts[1:])
    if inner := without_none(kind):
        return {"anyOf": [_type(inner, models), {"type": "null"}]}
    if is_model(kind):
        models[kind.__name__] = {
            "description": kind.__doc__,
            "type": "object",
            "properties": _properties(kind, models),
            "additionalProperties": False,
        }
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin is Literal:
        return {"type": "string", "enum": list(parts)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(parts[1], models)}
    if origin is list:
        return {"type": "array", "items": _type(parts[0], models)}
    return dict(_SIMPLE.get(kind, {}))


def _checked(schema: Schema, checks: Iterable[Check]) -> Schema:
    for check in checks:
        if not check.before:
            schema = {**schema, **check.schema}
        elif check.schema:
            schema = {"anyOf": [schema, check.schema]}
    return schema


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
        refs = [choice["$ref"] for choice in (field, *field.get("anyOf", ())) if "$ref" in choice]
        section = refs[0].rpartition("/")[2] if refs else ""
        default = "required" if key in REQUIRED else "" if section else _default(field)
        yield f"`{key}`", _kind(field), default, field["description"]
        if section:
            yield from _rows(definitions[section]["properties"], definitions, f"{key}.")
        if section == "Hooks":
            yield from _rows(definitions["Hook"]["properties"], definitions, HOOK_PREFIX)


def _host_rows(whole: Schema) -> Iterator[Row]:
    hosts = whole["properties"]["hosts"]
    yield (
        "`hosts`",
        "mapping",
        "required",
        hosts["description"] + " Also takes any setting above, for one host.",
    )
    own = {key: value for key, value in whole["$defs"]["HostEntry"]["properties"].items() if key in HOST_KEYS}
    yield from _rows(own, whole["$defs"], "hosts.<name>.")


def _required(model: type[Model], prefix: str = "") -> Iterator[str]:
    for info in fields(model):
        if info.name not in LOADER_FIELDS:
            if is_required(info):
                yield prefix + info.name
            if section := model_in(info.type):
                yield from _required(section, f"{prefix}{info.name}.")


REQUIRED = frozenset([*_required(Settings), *_required(Hook, HOOK_PREFIX)])

_KINDS = {"string": "text", "integer": "whole number", "array": "list", "object": "mapping", "null": ""}


def _kind(field: Schema) -> str:
    if "$ref" in field:
        return "section"
    if "enum" in field:
        return " or ".join(f"`{choice}`" for choice in field["enum"])
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
