"""python -m tests: all tests, several side by side; what fails there is tried once more, by itself.

The tests are of real servers, which share the machine's cores: one that is starved by two others may wait in vain for what
comes a moment later. What fails by itself, too, has failed; and where much fails at once, nothing is tried again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".pytest_cache"  # under tox pytest would choose another
FAILED = CACHE / "v/cache/lastfailed"
MOST = 15  # failures that are tried again
SIDE_BY_SIDE = ["-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]
SOME_FAILED = 1  # pytest's exit status


def main(arguments: list[str]) -> int:
    """Run pytest; its exit status."""
    FAILED.unlink(missing_ok=True)
    os.environ.setdefault("FAULTS_SEED", str(random.randrange(10**6)))  # the same is broken both times
    status = pytest(*SIDE_BY_SIDE, *arguments)
    failed = json.loads(FAILED.read_text()) if FAILED.exists() else {}
    if status != SOME_FAILED or not 0 < len(failed) <= MOST:
        return status
    print(f"\n{len(failed)} failed beside others, and are tried by themselves:", *failed, sep="\n    ", flush=True)
    return pytest("--last-failed", *arguments)


def pytest(*arguments: str) -> int:
    """Run pytest as a program of its own."""
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={CACHE}", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
