"""``fab proxy``: the next release's site."""

from __future__ import annotations

from invoke.context import Context

from .engine import configuration, hosts, tls
from .engine.verb import verb


@verb()
def proxy(c: Context) -> None:
    """Step 5: render the site and let nginx check it beside the others on the host."""
    targets = hosts.of(c)
    tls.bring_to(targets)
    configuration.write(targets, configuration.site_part)
