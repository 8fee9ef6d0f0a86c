"""``fab completion --shell bash``: what a shell reads to complete fab's commands."""

from __future__ import annotations

import contextlib
import sys

from invoke.context import Context

from .engine import completion as kept
from .engine import hosts
from .engine.errors import Error, UsageError
from .engine.remote import kinds
from .engine.verb import verb


@verb(help={"shell": "bash, zsh or fish"})
def completion(c: Context, shell: str) -> None:
    """Look: what a shell reads to complete stages, hosts, tasks, revisions and releases; see docs/completion.md."""
    if shell not in kept.SHELLS:
        raise UsageError(kinds.ARGUMENT, f'--shell: expected {", ".join(kept.SHELLS)}, found "{shell}"')
    with contextlib.suppress(Error):  # what there is to complete here, where there is a project
        hosts.everywhere(c)
    sys.stdout.write(kept.script(shell))
