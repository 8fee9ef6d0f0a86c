"""The first lines a host executes: makes the sources that follow importable under their own names."""

import importlib.abc
import importlib.util
import json
import sys
import zlib


class Sources(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, sources):  # type: ignore[no-untyped-def]
        self.sources = sources

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        package = any(other.startswith(name + ".") for other in self.sources)
        if name in self.sources or package:
            return importlib.util.spec_from_loader(name, self, is_package=package)
        return None

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        name = module.__name__
        exec(compile(self.sources.get(name, ""), name, "exec"), module.__dict__)  # noqa: S102


def start(size: int) -> None:
    """Read *size* bytes of compressed sources from standard input and run the agent they hold."""
    sources = json.loads(zlib.decompress(sys.stdin.buffer.read(size)))
    sys.meta_path.insert(0, Sources(sources))  # type: ignore[no-untyped-call]
    importlib.import_module("fabrelease.tasks.engine.remote.agent").main()
