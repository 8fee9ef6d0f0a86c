"""What is known to go wrong on a host, each looked for without changing anything; a host that is well has none."""

from __future__ import annotations

import glob
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypedDict

from . import certificates as tls
from . import lock, maintenance, nginx, plan, prepare, process, provision, report, system
from .failure import Failed, describe
from .probe import Endpoint

FREE_BYTES, FREE_SHARE = 500 << 20, 0.05
MEMORY_BYTES, SMALL_BYTES = 100 << 20, 1 << 30
LOG_BYTES = 1 << 30
SECONDS = 60.0
OLDEST = {  # what is not tried with anything older
    "nginx": (["nginx", "-v"], r"nginx/([\d.]+)", (1, 18)),
    "systemd": (["systemctl", "--version"], r"systemd (\d+)", (247,)),
    "git": (["git", "--version"], r"git version ([\d.]+)", (2, 18)),
}


class Finding(TypedDict):
    """One thing that is wrong: which check has found it, what it is, why it matters, and what to type."""

    check: str
    what: str
    why: str
    mend: str


class Examined(TypedDict):
    """What was found; ``time`` is the host's clock, ``addresses`` are its own, for what is compared from outside."""

    findings: list[Finding]
    checks: list[str]
    time: float
    addresses: list[str]


@dataclass(frozen=True)
class Patient:
    """What is looked at.

    :ivar site: what to ask the proxy; None where the host has none.
    :ivar port: that nginx listens on.
    """

    owner: prepare.Owner
    wanted: provision.Wanted
    site: Endpoint | None
    port: int

    @property
    def root(self) -> str:
        """The application's."""
        return self.wanted.application.root


def examine(patient: Patient) -> Examined:
    """Make all checks; one that cannot be made is a finding itself."""
    checks = {name: check for name, check in CHECKS.items() if patient.site or name not in OF_SITE}
    findings = [finding for name, check in checks.items() for finding in _made(name, check, patient)]
    said = process.run(["ip", "-oneline", "address", "show", "scope", "global"], timeout=SECONDS, keep=None).text
    addresses = re.findall(r" inet6? ([0-9a-f.:]+)/", said)
    return {"findings": findings, "checks": list(checks), "time": time.time(), "addresses": addresses}


Check = Callable[[Patient], Iterator[tuple[str, str, str]]]


def _made(name: str, check: Check, patient: Patient) -> list[Finding]:
    try:
        return [{"check": name, "what": what, "why": why, "mend": mend} for what, why, mend in check(patient)]
    except (Failed, OSError, KeyError) as error:
        hint = error.hint if isinstance(error, Failed) else "Look at it on the host."
        return [{"check": name, "what": describe(error), "why": "this could not be looked at", "mend": hint}]


def disk(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Room for a release, and names for its files."""
    for place in dict.fromkeys(_there(path) for path in (patient.root, "/tmp", "/var/log")):  # noqa: S108
        info = os.statvfs(place)
        free, whole = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
        see = f"du -xh --max-depth=2 {place} | sort -h | tail; releases: keep_releases in the settings"
        if free < min(FREE_BYTES, whole // 2):
            yield f"{free >> 20} MB are free in {place}", "a deploy needs room beside the live release", see
        if info.f_files and info.f_favail < info.f_files * FREE_SHARE:
            few = f"{info.f_favail} of {info.f_files} inodes are free in {place}"
            yield few, "each file of a release and a virtualenv takes one", f"du -x --inodes {place} | sort -n | tail"


def _there(path: str) -> str:
    """The path, or the nearest directory above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def memory(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Memory for a second release beside the first."""
    with open("/proc/meminfo", encoding="ascii") as file:
        known = {name: int(kilobytes) << 10 for name, kilobytes in re.findall(r"(\w+): +(\d+) kB", file.read())}
    yield from scarce(known)


def scarce(known: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    """What is scarce by /proc/meminfo, in bytes."""
    available, swap = known.get("MemAvailable", MEMORY_BYTES), known.get("SwapFree", 0)
    if available + swap < MEMORY_BYTES:
        yield (
            f"{(available + swap) >> 20} MB of memory are left, with swap",
            "while a release is changed, two run side by side, and the kernel kills what it finds largest",
            "Fewer web.workers, or more memory; who has it: ps axo rss,user,args --sort -rss | head",
        )
    if not known.get("SwapTotal") and known.get("MemTotal", SMALL_BYTES) < SMALL_BYTES:
        yield (
            f"there is no swap, and {known['MemTotal'] >> 20} MB of memory",
            "building a virtualenv takes more for a moment",
            "sudo fallocate -l 1G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile"
            " && sudo swapon /swapfile, and a line in /etc/fstab",
        )


def versions(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """What is older than anything that was tried."""
    for name, (argv, pattern, oldest) in OLDEST.items():
        if name == provision.PROXY and patient.site is None:
            continue
        found = re.search(pattern, process.run(argv, timeout=SECONDS).text)
        if found and tuple(map(int, found[1].split("."))) < oldest:
            wanted = ".".join(map(str, oldest))
            yield f"{name} is {found[1]}", f"{wanted} is the oldest that is known to do", "Upgrade the system."


def setup(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """What setup has made, or would make: packages, services, units, links."""
    for words in plan.drift(patient.owner, patient.wanted):
        yield words, "a deploy or the next start of the machine relies on it", "fab setup"


def proxy(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Whether nginx takes its configuration, and reads our sites and all of the others."""
    tried = process.run(["nginx", "-t"], timeout=SECONDS, keep=None)
    if tried.status != 0:
        why = "nginx goes on with what it has, and does not come back after a restart"
        what = f"nginx refuses its configuration: {' '.join(tried.lines[:2])}"
        yield what, why, "Mend that file, then: sudo nginx -t"
    for domain, port in {(found[1], found[2]) for found in map(nginx.CONFLICT.search, tried.lines) if found}:
        yield (
            f"two sites have the name {domain} on {port}, and nginx reads one of them only",
            "the other's visitors get this one",
            f"Take it out of one: grep -rn 'server_name.*{domain}' {system.NGINX}",
        )
    if missing := nginx.unread(patient.wanted.application.name):
        why = "no site of this host's applications is served after nginx's next reload"
        yield missing, why, f"Put the system's line back in {system.NGINX}/nginx.conf; see docs/site.md"


def ports(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Whether nginx, and nobody else, listens on the site's port."""
    names, look = process.listeners(patient.port), f"sudo ss -ltnp sport = :{patient.port}"
    if others := [name for name in names if name != "nginx"]:
        yield f"port {patient.port} is taken by {', '.join(others)}", "nginx cannot have it, too", f"Stop it: {look}"
    elif not names:
        start = "sudo systemctl start nginx; or deploy: fab deploy"
        yield f"nobody listens on port {patient.port}", "no visitor gets in", start


def state(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """What fab status says is wrong: the live release, its programs, the site's answer, files changed by hand."""
    for problem in report.status(patient.wanted.application, patient.site)["problems"]:
        what, _, mend = problem.partition("; mend it: ")
        if not mend:  # else the check of the setup has it
            yield what, "the site is not as it was deployed", "fab status, fab logs; the same again: fab restart"


def locks(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """What keeps deploys from beginning, and visitors out."""
    found = lock.state(patient.wanted.application.name, patient.root)
    if held := found["lock"]:
        what = f"{held['who']} has the deploy lock since {held['since']}, for: {held['what']}"
        yield what, "nobody else can deploy", "Wait; it goes by itself when its holder ends, is cut off or sleeps."
    if frozen := found["freeze"]:
        what = f"deploys are frozen by {frozen['who']} since {frozen['since']}: {frozen['why']}"
        yield what, "nobody can deploy", "When you know why it is there: fab unfreeze"
    if closed := maintenance.state(patient.root):
        what = f"maintenance is on, by {closed['who']} since {closed['since']}: {closed['why']}"
        yield what, "visitors get 503", "fab maintenance off"


def certificates(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Days left of the certificates that are there."""
    for path in sorted(glob.glob(f"{tls.FOLDER}/**", recursive=True)):
        if not os.path.isfile(path) or "key" in os.path.basename(path):
            continue
        if (end := tls.expires(path)) is not None:
            days = (end - time.time()) / 86400
            if days < tls.SOON_DAYS:
                left = f"runs out in {days:.0f} days" if days > 0 else "has run out"
                mend = "Renew it, and look at what should have: systemctl list-timers"
                yield f"the certificate {path} {left}", "browsers refuse the site then", mend


def secrets(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Whether anybody may read the secrets of a release."""
    for path in glob.glob(f"{glob.escape(patient.root)}/releases/*/config/{plan.SECRETS}"):
        info = os.lstat(path)
        if info.st_uid != 0 or stat.S_IMODE(info.st_mode) & 0o037:
            mend = f"sudo chown root {path}; sudo chmod 640 {path}; and change what was in it"
            yield f"{path} can be read by others than the application", "whoever is on the host has them", mend


def logs(patient: Patient) -> Iterator[tuple[str, str, str]]:
    """Whether the logs are rotated."""
    for path in glob.glob(f"{glob.escape(patient.root)}/logs/*"):
        size = os.lstat(path).st_size
        if size > LOG_BYTES:
            mend = f"sudo logrotate --verbose {prepare.rotation(patient.wanted.application.name)}"
            yield f"{path} has {size >> 20} MB", "it is not rotated, and fills the disk", mend


CHECKS: dict[str, Check] = {
    "disk": disk,
    "memory": memory,
    "versions": versions,
    "setup": setup,
    "nginx": proxy,
    "ports": ports,
    "state": state,
    "locks": locks,
    "certificates": certificates,
    "secrets": secrets,
    "logs": logs,
}
OF_SITE = ("nginx", "ports")
