"""The tools themselves: each in a virtualenv of its own, ours from the wheel of this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench/out"
PACKAGES = {"script": ("ssh", "openssh-client"), "capistrano": ("cap", "capistrano")}  # Debian's
REQUIREMENTS = {"pyinfra": "pyinfra>=3.10,<4", "ansible": "ansible-core>=2.17"}


def missing(names: list[str]) -> list[str]:
    """The packages of the tools that are no Python packages and are not there."""
    return [package for name, (program, package) in PACKAGES.items() if name in names and not shutil.which(program)]


def install(packages: list[str]) -> None:
    """Install packages, as root.

    :raises SystemExit: nobody but root can; with the command to type.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(
            f"bench: these are missing; install them, or leave them out: sudo apt-get install {' '.join(packages)}"
        )
    subprocess.run(["sh", ROOT / "tests/target/packages.sh", *packages], check=True)


def ensure(name: str) -> Path:
    """The directory of a tool's programs."""
    if name in PACKAGES:
        return Path(shutil.which(PACKAGES[name][0]) or "").parent
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
