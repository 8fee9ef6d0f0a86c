"""``fab manager``: the next release's programs."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.verb import verb


@verb()
def manager(c: Context) -> None:
    """Step 4: render the manager's configuration and let it check that."""
    configuration.write(hosts.of(c), configuration.manager_part)
