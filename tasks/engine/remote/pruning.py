"""Pruning, with regard to what runs."""

from __future__ import annotations

from . import jobs, process, releases
from .application import Application


def prune(application: Application) -> list[str]:
    """Remove what no release needs that is kept, or that a job still runs in; see releases.prune.

    :returns: the ids that were removed.
    """
    return releases.prune(application.root, application.keep_releases, jobs.in_use(application))


def give_up(application: Application, name: str, reason: str) -> None:
    """Leave an unfinished release alone, with all that was done for it; see releases.give_up."""
    process.kill_all()
    releases.give_up(application.root, name, reason)
    prune(application)
