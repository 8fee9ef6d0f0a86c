"""``fab proxy``: the next release's site."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts
from .engine.verb import verb


@verb()
def proxy(c: Context) -> None:
    """Step 5: render the site and let nginx check it beside the others on the host."""
    configuration.write(hosts.of(c), configuration.site_part)
