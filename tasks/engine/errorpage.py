"""docs/errors.md: the catalogue of errors, to read and to be found by searches; made by schema.py."""

from __future__ import annotations

from pathlib import Path

from .remote import kinds

FILE = Path(__file__).parents[2] / "docs" / "errors.md"
_INTRODUCTION = """\
# Errors

The first line of an error ends with the code of its kind, as in `[FR-201]`. What happened in particular, on which
host, and what to type next is in the message; this page says what is behind each kind, as does `fab explain FR-201`.
Programs find the code in [the JSON output](json.md).

This page is made by `python -m fabrelease.tasks.engine.schema`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *(_section(digit) for digit in kinds.SECTIONS)])


def _section(digit: str) -> str:
    members = [kind for kind in kinds.BY_CODE.values() if kind.code.startswith(f"FR-{digit}")]
    return "\n".join([f"## {kinds.SECTIONS[digit]}\n", *map(_entry, members)])


def _entry(kind: kinds.Kind) -> str:
    return f"### {kind.code}\n\n**{kind.what}** {kind.why}\n\nWhat to do: {kind.remedy}\n"
