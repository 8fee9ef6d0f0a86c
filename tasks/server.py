"""``fab server``: the next release's server configuration."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.verb import verb


@verb()
def server(c: Context) -> None:
    """Step 3: render the server's configuration and let it check that, with the application."""
    configuration.write(hosts.of(c), configuration.server_part)
