"""The image of a bare Debian server, built once for a machine and a set of inputs."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).parent
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
SUITE = os.environ.get("FABRELEASE_SUITE", "bookworm")  # which Debian the servers are: 12, or trixie, which is 13


def cache_directory() -> Path:
    """Where a machine keeps what all test runs share: the key and the known hosts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "fabrelease-tests"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextmanager
def machine_lock(name: str) -> Iterator[None]:
    """Held by one process of this machine at a time, and free as soon as it ends."""
    with (cache_directory() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def private_key() -> Path:
    """The key every user of every target accepts; made once for a machine."""
    path = cache_directory() / "id_ed25519"
    with machine_lock("key"):
        if not path.exists():
            write_key_pair(path)
    return path


def write_key_pair(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b" fabrelease-tests\n")
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    unfinished.rename(path)


def ensure_engine() -> None:
    """Makes sure a Docker engine answers.

    Raises SystemExit with the script's status where a person must do something: it has said what.
    """
    with machine_lock("engine"):
        script("engine.sh")


def ensure_programs() -> None:
    """Makes sure that the programs which tests call on this machine are here: nginx, logrotate, openssl, rsync.

    Debian keeps some in /usr/sbin, which only root has on PATH: it is put there, except where PATH is a directory of
    links (bare.sh).

    Raises SystemExit with the script's status where a person must do something: it has said what.
    """
    if "BARE_PATH" not in os.environ:
        os.environ["PATH"] += ":/usr/sbin"
    with machine_lock("programs"):
        script("programs.sh")


def ensure_image() -> str:
    """The name of the image of a bare server; builds it when its inputs are new."""
    files = build_files()
    name = f"fabrelease-target:{SUITE}-{digest(files)}"
    with machine_lock("image"):
        if not docker("image", "ls", "--quiet", name).stdout:
            build(name, files, script("base.sh", SUITE).strip(), "provision.sh")
    return name


def ensure_dnf_image() -> str:
    """The name of the image of a bare server that dnf installs on; builds it when its inputs are new."""
    base, files = ensure_image(), {"provision-dnf.sh": (HERE / "provision-dnf.sh").read_bytes()}
    name = f"fabrelease-dnf:{SUITE}-{digest({'base': base.encode(), **files})}"
    with machine_lock("image"):
        if not docker("image", "ls", "--quiet", name).stdout:
            build(name, files, base, "provision-dnf.sh")
    return name


def build_files() -> dict[str, bytes]:
    """What goes into the image beside Debian's packages: path in the build directory to content."""
    files = {
        "provision.sh": (HERE / "provision.sh").read_bytes(),
        "id_ed25519.pub": private_key().with_suffix(".pub").read_bytes(),
        "apt.conf": apt_configuration().encode(),
        "sources.list": apt_sources().encode(),
    }
    for number, certificate in enumerate(trusted_certificates()):
        files[f"ca/build-machine-{number}.crt"] = certificate.encode()
    return files


def digest(files: dict[str, bytes]) -> str:
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        whole.update(f"{path}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12]


def build(name: str, files: dict[str, bytes], base: str, provision: str) -> None:
    """Runs a script in a container of another image, with some files in /build, and keeps its disk."""
    print(f"target image: building {name} from {base} (about half a minute)", file=sys.stderr)
    container = docker("create", base, "sh", f"/build/{provision}").stdout.decode().strip()
    try:
        docker("cp", "-", f"{container}:/", input=archive(files))
        done = docker("start", "--attach", container, check=False)
        if done.returncode:
            sys.exit(f"target image: {provision} failed:\n{(done.stdout + done.stderr).decode()[-4000:]}")
        docker("commit", '--change=CMD ["/sbin/init"]', container, name)
    finally:
        docker("rm", "--force", "--volumes", container)


def archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(f"build/{path}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def trusted_certificates() -> list[str]:
    """What this machine trusts: a proxy's own certificate authority among it, where there is one."""
    if not CA_BUNDLE.exists():
        return []
    pem = r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n"
    return re.findall(pem, CA_BUNDLE.read_text(errors="replace"), re.DOTALL)


def apt_sources() -> str:
    """This machine's own mirrors, where it is a Debian, for the servers' suite; else nothing."""
    try:
        own = platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError):
        return ""
    sources = {
        f"deb {uri} {release.replace(own, SUITE)} {component}\n"
        for uri, release, component in re.findall(r"^(\S+) (\S+) (\S+)$", apt_targets(), re.MULTILINE)
        if release in (own, f"{own}-updates", f"{own}-security") and component == "main" and uri.startswith("http")
    }
    return "".join(sorted(sources))


def apt_targets() -> str:
    return output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)")


def apt_configuration() -> str:
    """This machine's way to the mirrors: proxies, and what it lets pass of a frozen mirror's dates."""
    wanted = re.compile(r"^Acquire::(https?::Proxy|https::CAInfo|Check-Valid-Until|Check-Date)\b")
    lines = output("apt-config", "dump", "Acquire").splitlines(keepends=True)
    return "".join(line for line in lines if wanted.match(line) and "localhost" not in line)


def output(*argv: str) -> str:
    """What a command prints; nothing where this machine has no such command."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def script(name: str, *arguments: str) -> str:
    """Runs one of the scripts beside this file and gives what it prints; its progress is shown."""
    done = subprocess.run(["sh", HERE / name, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


class CommandFailed(subprocess.CalledProcessError):
    """Shows what the command said: a bare exit status helps nobody who reads a test's failure."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stdout.decode()}{self.stderr.decode()}"


def docker(*argv: str, input: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Runs the docker client; raises CommandFailed when `check` is set and it exits with anything but 0."""
    command = ["docker", *argv]
    done = subprocess.run(command, input=input, capture_output=True, check=False)
    if check and done.returncode:
        raise CommandFailed(done.returncode, command, done.stdout, done.stderr)
    return done
