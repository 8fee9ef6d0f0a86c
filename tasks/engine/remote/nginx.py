"""nginx on the host: our site beside those of others, checked before anything live is touched."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import time

from . import process, releases
from .failure import Failed

ETC = "/etc/nginx"
RELOAD_SECONDS = 10
SITES = re.compile(r"include\s+[\"']?(?:/etc/nginx/)?(sites-enabled|conf\.d)/\*[^;]*;")
CONFLICT = re.compile(r'conflicting server name "([^"]*)" on (\S+), ignored')


def place(app: str) -> tuple[str, str | None]:
    """Where our site's file stands, and the link that enables it (Debian's family only)."""
    if os.path.isdir(f"{ETC}/sites-available"):
        return f"{ETC}/sites-available/{app}.conf", f"{ETC}/sites-enabled/{app}.conf"
    return f"{ETC}/conf.d/{app}.conf", None


def install(app: str, root: str) -> list[str]:
    """Make nginx read the current release's site, once there is one; it is told so only by a reload.

    The file is one include by pattern: where no release is live it matches nothing, and nginx still starts.
    """
    path, enabled = place(app)
    content = (
        f"# {app}, deployed by fabrelease: the site itself is part of the live release\n"
        f'include "{root}/current/config/nginx.con[f]";\n'
    )
    changed = []
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        old = file.read()
        if old != content and "fabrelease" not in old.split("\n", 1)[0]:
            raise Failed(
                f"{path} is there and was not made by fabrelease; nothing was touched",
                "Move it away, or rename the app.",
            )
        if old == content:
            path = ""
    if path:
        releases.write_atomically(path, content.encode())
        changed.append(f"site {path}")
    if enabled and not os.path.islink(enabled):
        releases.replace_link(enabled, f"../sites-available/{app}.conf")
        changed.append(f"link {enabled}")
    return changed


def check(app: str, site: str, domains: list[str], port: int) -> None:
    """Check a site's file as part of this host's whole configuration, with ``nginx -t``.

    :param site: the rendered file of the next release.
    :raises Failed: nginx refuses it, a domain is another site's, or the port another program's.
    """
    _check_port(port)
    trial, sites = f"{ETC}/fabrelease-check-{app}.conf", f"/run/fabrelease/{app}.sites"
    shutil.rmtree(sites, ignore_errors=True)
    os.makedirs(sites)
    try:
        _gather(app, site, sites)
        with open(f"{ETC}/nginx.conf", encoding="utf-8") as file:
            text, count = SITES.subn(lambda match: f"include {sites}/{match[1]}.*;", file.read())
        if not count:
            raise Failed(
                f"{ETC}/nginx.conf includes neither sites-enabled/* nor conf.d/*",
                "Put Debian's include line back.",
            )
        with open(trial, "w", encoding="utf-8") as file:
            file.write(text)
        done = process.run(["nginx", "-t", "-q", "-c", trial], timeout=60)
    finally:
        shutil.rmtree(sites, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    lines = [line.replace(f"{sites}/sites-enabled.", f"{ETC}/sites-enabled/") for line in done.lines]
    if done.status != 0:
        raise Failed(
            f"nginx refuses the configuration; the live one was not touched{process.quote(lines)}",
            "If the line is in the site of this release, look at your templates/nginx/ and site: settings.",
        )
    _check_domains(app, domains, lines)


def _gather(app: str, site: str, sites: str) -> None:
    """Links to everybody's sites as they are, and to the next release's in place of ours."""
    own = {os.path.basename(path) for path in place(app) if path}
    for folder in ("sites-enabled", "conf.d"):
        for path in glob.glob(f"{ETC}/{folder}/*"):
            if os.path.basename(path) not in own:
                os.symlink(path, f"{sites}/{folder}.{os.path.basename(path)}")
    folder = os.path.basename(os.path.dirname(place(app)[1] or place(app)[0]))
    os.symlink(site, f"{sites}/{folder}.{app}.conf")


def _check_domains(app: str, domains: list[str], lines: list[str]) -> None:
    for line in lines:
        found = CONFLICT.search(line)
        if found and found[1] in domains:
            other = _site_of(found[1], app)
            raise Failed(
                f"the domain {found[1]} on {found[2]} is taken already, by {other}; nothing was touched",
                "Take the domain out of that site, or choose another in site.domains.",
            )


def _site_of(domain: str, app: str) -> str:
    own = place(app)
    for path in sorted(glob.glob(f"{ETC}/sites-enabled/*") + glob.glob(f"{ETC}/conf.d/*.conf")):
        if path in own:
            continue
        for text in _texts(path):
            if re.search(rf"server_name[^;]*[\s\"']{re.escape(domain)}[\s;\"']", text):
                return path
    return "another site"


def _texts(path: str, depth: int = 3) -> list[str]:
    """The text of a file and of those it includes."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return []
    included = [name for pattern in re.findall(r"include\s+[\"']?([^;\"']+)", text) for name in glob.glob(pattern)]
    return [text, *(more for name in included if depth for more in _texts(name, depth - 1))]


def _check_port(port: int) -> None:
    """nginx itself may listen there already, and nobody else."""
    if others := [name for name in process.listeners(port) if name != "nginx"]:
        raise Failed(
            f"port {port} is taken by {', '.join(others)}; nothing was touched",
            f"Stop it, or choose another site.port. Look at it: ss -ltnp sport = :{port}",
        )


def reload() -> None:
    """Make nginx read its configuration again, and wait until no worker takes requests by the old one.

    Requests that run go on. Without the wait, an old worker may answer some of the next ones.

    :raises Failed: it did not take the new configuration; the old one goes on then.
    """
    hint = "Look at it on the host: journalctl -u nginx, /var/log/nginx/error.log"
    before = _workers()
    process.check(["systemctl", "reload-or-restart", "nginx"], "nginx could not be reloaded", hint)
    end = time.monotonic() + RELOAD_SECONDS
    while any(map(_takes_requests, before)):
        if time.monotonic() > end:
            raise Failed(f"nginx goes on with its old configuration {RELOAD_SECONDS} seconds after a reload", hint)
        time.sleep(0.005)


def _workers() -> list[str]:
    with contextlib.suppress(OSError), open("/run/nginx.pid", encoding="ascii") as file:
        master = file.read().strip()
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as children:
            return children.read().split()
    return []


def _takes_requests(worker: str) -> bool:
    """Whether a worker goes on; one that was told to go says so in its title, and closes its listening sockets."""
    with contextlib.suppress(OSError), open(f"/proc/{worker}/cmdline", "rb") as file:
        title = file.read()
        return b"nginx: worker" in title and b"shutting down" not in title
    return False


def ensure_running() -> list[str]:
    """Start nginx where it is down; whether it was said in words."""
    if _workers():
        return []
    process.check(["systemctl", "restart", "nginx"], "nginx could not be started", "Look at: journalctl -u nginx")
    return ["started nginx, which was down"]
