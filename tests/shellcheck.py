"""Run shellcheck on every shell script of the repository: by name, or by its first line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def is_script(path: Path) -> bool:
    """Whether a tracked file is a shell script."""
    if path.suffix == ".sh":
        return True
    if path.suffix or not path.is_file():
        return False
    return path.read_bytes()[:64].split(b"\n")[0] in (b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash")


def main() -> int:
    """Check all of them; the exit status is shellcheck's."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    scripts = sorted(name for name in listed.decode().split("\0") if name and is_script(ROOT / name))
    if not scripts:
        sys.exit("there is no script to check, which cannot be right")
    print("shellcheck", *scripts)
    return subprocess.run(["shellcheck", *scripts], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
