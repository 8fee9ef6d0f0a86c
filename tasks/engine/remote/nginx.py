"""nginx on the host: our site beside those of others, checked before anything live is touched."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import shutil
import time

from . import probe, process, releases
from .failure import Failed
from .probe import Answer, Endpoint

ETC = "/etc/nginx"
PID_FILE = "/run/nginx.pid"
RELOAD_SECONDS = 10
SYSTEMCTL_SECONDS = 90
SITES = re.compile(r"(?m)^([^#\n]*\binclude\s+[\"']?)(?:/etc/nginx/)?((?:sites-enabled|conf\.d)/[^;\"']*\*[^;\"']*)")
AT = re.compile(r" in (/\S+):\d+$")
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
            text = file.read()
        if not any(fnmatch.fnmatch(_enabled(app), pattern) for _, pattern in SITES.findall(text)):
            raise Failed(
                f"{ETC}/nginx.conf does not include {ETC}/{_enabled(app)}",
                "Put Debian's lines back: include /etc/nginx/conf.d/*.conf; include /etc/nginx/sites-enabled/*;",
            )
        with open(trial, "w", encoding="utf-8") as file:
            file.write(SITES.sub(lambda match: f"{match[1]}{sites}/{match[2]}", text))
        done = process.run(["nginx", "-t", "-q", "-c", trial], timeout=60)
    finally:
        shutil.rmtree(sites, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    lines = [line.replace(f"{sites}/", f"{ETC}/").replace(trial, f"{ETC}/nginx.conf") for line in done.lines]
    if done.status != 0:
        raise _refusal(lines, f"{ETC}/{_enabled(app)}")
    _check_domains(app, domains, lines)


def _enabled(app: str) -> str:
    """The name below /etc/nginx that nginx reads our site by."""
    path, link = place(app)
    return os.path.relpath(link or path, ETC)


def _gather(app: str, site: str, sites: str) -> None:
    """Links to everybody's sites by their own names, and to the next release's in place of ours."""
    for folder in ("sites-enabled", "conf.d"):
        os.mkdir(f"{sites}/{folder}")
        for path in glob.glob(f"{ETC}/{folder}/*"):
            if path not in place(app):
                os.symlink(path, f"{sites}/{folder}/{os.path.basename(path)}")
    os.symlink(site, f"{sites}/{_enabled(app)}")


def _refusal(lines: list[str], ours: str) -> Failed:
    """Why nginx refuses its configuration, and whose file it is."""
    broken = next((found[1] for line in lines if (found := AT.search(line))), ours)
    if broken == ours:
        return Failed(
            f"nginx refuses the configuration; the live one was not touched{process.quote(lines)}",
            "If the line is in the site of this release, look at your templates/nginx/ and site: settings.",
        )
    return Failed(
        f"{broken}, which is not of this release, breaks nginx's configuration; nothing was touched"
        f"{process.quote(lines)}",
        "Mend that file or take it away; whether all is well then: sudo nginx -t",
    )


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
    before = _workers()
    _systemctl("reload-or-restart", "nginx could not be reloaded")
    end = time.monotonic() + RELOAD_SECONDS
    while any(map(_takes_requests, before)):
        if time.monotonic() > end:
            raise Failed(
                f"nginx goes on with its old configuration {RELOAD_SECONDS} seconds after a reload",
                "Look at it on the host: journalctl -u nginx, /var/log/nginx/error.log",
            )
        time.sleep(0.005)


def _systemctl(verb: str, what: str) -> None:
    done = process.run(["systemctl", verb, "nginx"], timeout=SYSTEMCTL_SECONDS)
    if done.status != 0:
        tried = process.run(["nginx", "-t", "-q"], timeout=60)
        raise Failed(
            f"{what}: {process.ending(done, 'systemctl', SYSTEMCTL_SECONDS)}"
            f"{process.quote(tried.lines if tried.status else done.lines)}",
            "Look at it on the host: sudo nginx -t, journalctl -u nginx",
        )


def _workers() -> list[str]:
    master = _master()
    with contextlib.suppress(OSError), open(f"/proc/{master}/task/{master}/children", encoding="ascii") as children:
        return children.read().split()
    return []


def _master() -> str:
    """The main process's number: from the usual file, or where that is elsewhere from systemd, which is slower."""
    with contextlib.suppress(OSError), open(PID_FILE, encoding="ascii") as file:
        pid = file.read().strip()
        with open(f"/proc/{pid}/comm", encoding="utf-8") as name:
            if name.read() == "nginx\n":
                return pid
    shown = process.run(["systemctl", "show", "--property=MainPID", "--value", "nginx"], timeout=SYSTEMCTL_SECONDS)
    return shown.text


def _takes_requests(worker: str) -> bool:
    """Whether a worker goes on; one that was told to go says so in its title, and closes its listening sockets."""
    with contextlib.suppress(OSError), open(f"/proc/{worker}/cmdline", "rb") as file:
        title = file.read()
        return b"nginx: worker" in title and b"shutting down" not in title
    return False


def ask(endpoint: Endpoint) -> Answer:
    """Ask the site as a visitor does; a switch whose deployer is gone comes to its end, too."""
    return probe.ask(endpoint, None, endpoint.timeout, to_the_end=True)


def ensure_running() -> list[str]:
    """Start nginx where it is down; what was done, in words."""
    if _workers():
        return []
    _systemctl("restart", "nginx could not be started")
    return ["started nginx, which was down"]
