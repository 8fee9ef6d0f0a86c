"""The control side on a machine that is no Linux: what Python has on Unix alone is hidden, and all is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The libraries we use have ways of their own on such machines: they are imported before.
HIDE = """\
import sys
import _pytest.config, hypothesis, pytest
import dotenv, fabric.main, invoke, jinja2, paramiko, rich.console, rich.live, rich.progress, rich.table, yaml
import os, select, signal, socket, tty

MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NAMES = {
    os: ("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "killpg", "pidfd_open"),
    select: ("epoll", "poll"),
    signal: ("SIGHUP", "SIGKILL", "pidfd_send_signal"),
    socket: ("AF_UNIX", "SO_PEERCRED"),
}

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith("/proc"):
        raise FileNotFoundError(f"{arguments[0]} is not there")

for name in MODULES:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
for module, names in NAMES.items():
    for name in names:
        delattr(module, name)
"""
IMPORT = """
import importlib, pkgutil
sys.addaudithook(watch)
import fabrelease.tasks
names = [module.name for module in pkgutil.walk_packages(fabrelease.tasks.__path__, "fabrelease.tasks.")]
names.remove("fabrelease.tasks.engine.remote.bootstrap")  # a text that is sent, with names put before it
for name in names:
    importlib.import_module(name)
print(len(names))
"""
TEST = """
sys.exit(pytest.main([*sys.argv[1:], "-q", "--noconftest", "--hypothesis-profile=ci", "-p", "no:cacheprovider", "-p", "no:xdist"]))
"""
# Of the control side alone, and without programs that a machine may not have.
TESTS = ("git", "options", "profiling", "push", "rendering", "settings", "stages", "terminal")


def elsewhere(code: str, *arguments: str) -> str:
    """What Python prints for some code on such a machine; it has to succeed."""
    done = subprocess.run(
        [sys.executable, "-c", HIDE + code, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_module_can_be_imported() -> None:
    assert int(elsewhere(IMPORT)) > 60


@pytest.mark.parametrize("name", TESTS)
def test_the_unit_tests_of_the_control_side_pass(name: str) -> None:
    assert " passed" in elsewhere(TEST, f"tests/unit/test_{name}.py")
