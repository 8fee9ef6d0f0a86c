"""The tasks: import what you need into your own fabfile, or all of them as ``ns``.

The steps of the programs (``gunicorn``, ``supervisor``, ``nginx`` and so on) are made by their names.
"""

from typing import Any

from invoke.collection import Collection

from . import byname
from .backups import backups
from .cleanup import cleanup
from .deploy import deploy
from .doctor import doctor
from .engine.hosts import connections
from .engine.remote import drivers
from .freeze import freeze, unfreeze
from .init import init
from .logs import logs
from .maintenance import maintenance
from .manager import manager
from .plan import plan
from .proxy import proxy
from .push import push
from .releases import releases
from .remove import remove
from .restart import restart
from .restore import restore
from .rollback import rollback
from .run import run
from .scale import scale
from .schedule import schedule
from .secrets import secrets
from .server import server
from .setup import setup
from .status import status
from .switch import switch
from .venv import venv

_verbs = [
    backups,
    cleanup,
    deploy,
    doctor,
    freeze,
    init,
    logs,
    maintenance,
    manager,
    plan,
    proxy,
    push,
    releases,
    remove,
    restart,
    restore,
    rollback,
    run,
    scale,
    schedule,
    secrets,
    server,
    setup,
    status,
    switch,
    unfreeze,
    venv,
]
_programs = {
    **{name: byname.server(name) for name in drivers.packaged("servers")},
    **{name: byname.manager(name) for name in drivers.packaged("managers")},
    "nginx": byname.proxy("nginx"),
}
globals().update(_programs)
ns = Collection(*_verbs, *_programs.values())


def __getattr__(name: str) -> Any:
    """The step of a program that somebody else's driver runs."""
    for kind, make in (("servers", byname.server), ("managers", byname.manager)):
        if not name.startswith("_") and name in drivers.outside(kind):
            return make(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["connections", "ns", *(task.name for task in ns.tasks.values())]
