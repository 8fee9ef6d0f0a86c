"""nginx as other Debians have it, to be run here: what is rendered for a version is read by that version."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.target.image import cache_directory, machine_lock

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
LIBRARIES = {
    "bullseye": ("nginx-core", "libssl1.1", "libpcre3"),
    "trixie": ("libssl3t64", "libpcre2-8-0", "libzstd1"),
    "sid": ("libssl3t64", "libpcre2-8-0", "libzstd1"),
}
FETCH = """\
mkdir -p lists/partial cache/archives/partial root
: >status
echo "deb [signed-by=$1] http://deb.debian.org/debian $2 main" >sources.list
places="-o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$PWD/lists"
places="$places -o Dir::Cache=$PWD/cache -o Dir::State::status=$PWD/status -o APT::Sandbox::User=root"
shift 2
apt-get $places -qq update
apt-get $places -qq download nginx libc6 libcrypt1 zlib1g "$@"
for package in *.deb; do dpkg -x "$package" root; done
"""


class CannotBeHad(Exception):
    """The archive does not have it, or this machine no way there."""


def ensure(suite: str) -> list[str]:
    """The command that is the nginx of a suite of Debian's, fetched where it is not there.

    Raises CannotBeHad.
    """
    place = cache_directory() / f"nginx-{suite}"
    with machine_lock(f"nginx-{suite}"):
        if not (place / "root").is_dir():
            fetch(suite, place)
    root = place / "root"
    folders = [folder for name in ("lib", "usr/lib") for folder in [root / name / "x86_64-linux-gnu"] if folder.is_dir()]
    loader = next(path for folder in folders for path in folder.glob("ld-*.so*") if not path.is_symlink())
    return [str(loader), "--library-path", ":".join(map(str, folders)), str(root / "usr/sbin/nginx")]


def fetch(suite: str, place: Path) -> None:
    """Unpack it and its libraries."""
    if not shutil.which("apt-get"):
        raise CannotBeHad("this machine is no Debian")
    work = place.with_name(f"{place.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    argv = ["sh", "-euc", FETCH, "sh", KEYS, suite, *LIBRARIES[suite]]
    done = subprocess.run(argv, cwd=work, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotBeHad(f"nginx of {suite}: {done.stderr.strip()}")
    work.rename(place)
