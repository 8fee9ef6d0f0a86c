"""``python -m fabrelease``: the commands where there is no fabfile yet, as in ``python -m fabrelease init``."""

from importlib.metadata import version

from fabric.config import Config
from fabric.executor import Executor
from fabric.main import Fab

from fabrelease.tasks import ns

Fab(
    name="fabrelease",
    binary="python -m fabrelease",
    version=version("fabrelease"),
    executor_class=Executor,
    config_class=Config,
    namespace=ns,
).run()
