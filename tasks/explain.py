"""``fab explain FR-201``: what is behind an error, why, and what to do."""

from __future__ import annotations

from invoke.context import Context

from .engine import terminal
from .engine.errors import UsageError
from .engine.remote import kinds
from .engine.verb import verb


@verb(help={"code": "what the first line of an error ends with, such as FR-201"})
def explain(c: Context, code: str) -> None:
    """Look: what an error means, why it comes about and what to do; docs/errors.md has all of them."""
    from rich.text import Text

    kind = _kind(code.strip("[]").upper())
    terminal.show(Text.assemble((kind.code, "bold red"), "  ", (kind.what, "bold")))
    terminal.show(Text.assemble(("\nWhy: ", "bold"), kind.why))
    terminal.show(Text.assemble(("\nWhat to do: ", "bold"), kind.remedy))


def _kind(code: str) -> kinds.Kind:
    try:
        return kinds.BY_CODE[code]
    except KeyError:
        first, last = min(kinds.BY_CODE), max(kinds.BY_CODE)
        raise UsageError(
            kinds.ARGUMENT, f"there is no error {code}\n  They go from {first} to {last}: docs/errors.md"
        ) from None
