"""``python -m fabrelease``: the commands where there is no fabfile yet, as in ``python -m fabrelease init``."""

import os
import sys

# Python looks into the current directory first: a module of the project there is not to be run in a library's place.
sys.path[:] = [place for place in sys.path if place not in ("", os.getcwd())]  # noqa: PTH109


def main() -> None:
    """The commands of a fabfile that has no more than ours."""
    from importlib.metadata import version

    from fabric.config import Config
    from fabric.executor import Executor
    from fabric.main import Fab

    from fabrelease.tasks import ns

    own = {"name": "fabrelease", "binary": "python -m fabrelease", "version": version("fabrelease")}
    Fab(**own, executor_class=Executor, config_class=Config, namespace=ns).run()


main()
