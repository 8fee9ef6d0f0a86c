"""The tools themselves: each in a virtualenv of its own, ours from the wheel of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench/out"
REQUIREMENTS = {"pyinfra": "pyinfra>=3.10,<4", "ansible": "ansible-core>=2.17"}


def ensure(name: str) -> Path | None:
    """The directory of a tool's programs; None where it is not there and cannot be had by pip."""
    if name == "script":
        return Path("/usr/bin")
    if name == "capistrano":
        found = shutil.which("cap")
        return Path(found).parent if found else None
    place = OUT / "programs" / name
    if not place.exists():
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
    if name == "fabrelease":
        wheel = build(OUT / "wheel")
        pip(place, "--force-reinstall", "--no-deps", str(wheel))
        pip(place, str(wheel))
    else:
        pip(place, REQUIREMENTS[name])
    return place / "bin"


def build(directory: Path) -> Path:
    """Build the wheel of this checkout."""
    shutil.rmtree(directory, ignore_errors=True)
    pip_of = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", str(directory), str(ROOT)]
    subprocess.run(pip_of, check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def pip(place: Path, *arguments: str) -> None:
    """Install into a virtualenv; pip compiles what it installs."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([place / "bin/pip", "--quiet", "install", *arguments], env=env, check=True)


def version(name: str, programs: Path) -> str:
    """What a tool says of its version."""
    asked = {
        "fabrelease": [programs / "fab", "--version"],
        "script": ["ssh", "-V"],
        "pyinfra": [programs / "pyinfra", "--version"],
        "ansible": [programs / "ansible", "--version"],
        "capistrano": [programs / "cap", "--version"],
    }[name]
    done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else ""
