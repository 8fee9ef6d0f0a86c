"""The tasks: import what you need into your own fabfile, or all of them as ``ns``."""

from invoke.collection import Collection

from .cleanup import cleanup
from .deploy import deploy
from .engine.hosts import connections
from .gunicorn import gunicorn
from .lock import lock, unlock
from .logs import logs
from .nginx import nginx
from .push import push
from .releases import releases
from .rollback import rollback
from .run import run
from .setup import setup
from .status import status
from .supervisor import supervisor
from .switch import switch
from .venv import venv

__all__ = [
    "cleanup",
    "connections",
    "deploy",
    "gunicorn",
    "lock",
    "logs",
    "nginx",
    "ns",
    "push",
    "releases",
    "rollback",
    "run",
    "setup",
    "status",
    "supervisor",
    "switch",
    "unlock",
    "venv",
]

ns = Collection(*(globals()[name] for name in __all__ if name not in ("connections", "ns")))
