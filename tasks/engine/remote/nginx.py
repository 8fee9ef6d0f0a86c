"""nginx on the host: our site beside those of others, checked before anything live is touched."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import shutil
import time

from . import agent, domains, kinds, pages, probe, process, releases, system
from .application import Application
from .failure import Failed
from .probe import Answer, Endpoint
from .resources import File, Link, Resource, SharedFile

PID_FILE = "/run/nginx.pid"
RELOAD_SECONDS = 10
SITES = re.compile(r"(?m)^([^#\n]*\binclude\s+[\"']?)(?:/etc/nginx/)?((?:sites-enabled|conf\.d)/[^;\"']*\*[^;\"']*)")
AT = re.compile(r" in (/\S+):\d+$")
DOMAINS = "zz.fabrelease"  # no application is called so, and what it includes comes last
DEFAULT = re.compile(r"a duplicate default server for \S+:(\d+) ")
GZIPPED = "--with-http_gzip_static_module"
HTTP3 = "--with-http_v3_module"
BROTLI = re.compile(r"(?m)^\s*load_module\s[^#\n]*http_brotli_static_module")
CONFLICT = re.compile(r'conflicting server name "([^"]*)" on (\S+), ignored')


def resources(app: str, root: str) -> list[Resource]:
    """What makes nginx read the current release's site, once there is one; it is told so only by a reload."""
    return [*_includes(app, root), domains.Domains(app, root)]


def _includes(app: str, root: str) -> list[Resource]:
    """What nginx reads at its http level: all domains, and what the application has there.

    The application's file is an include by pattern: where no release is live it matches nothing, and nginx still
    starts. The domains are read last: a release of the version before brings a whole server, which so comes first.
    """
    path, enabled = system.here().site(app)
    text = (
        f"# {app}, deployed by fabrelease: what its live release has at this level; its domains are in fabrelease/\n"
        f'include "{root}/current/config/http.con[f]";\n'
        "# Releases of the version before have all in one file.\n"
        f'include "{root}/current/config/nginx.con[f]";\n'
    )
    file = File(path, text, marked=True, what="site")
    return [
        SharedFile(f"{system.NGINX}/{_enabled(DOMAINS)}", _all_domains(domains.folder())),
        *([file, Link(enabled, f"../sites-available/{app}.conf")] if enabled else [file]),
    ]


def precompressed(built: str) -> list[str]:
    """The modules that are there to send a file compressed which lies so beside it.

    :param built: what ``nginx -V`` says.
    """
    texts = "\n".join(_texts(f"{system.NGINX}/nginx.conf", 1))
    return [*(["gzip_static"] if GZIPPED in built else []), *(["brotli_static"] if BROTLI.search(texts) else [])]


def _all_domains(folder: str) -> str:
    return f'# written by fabrelease: the domains of all applications\ninclude "{folder}/*.conf";\n'


def prepare(
    app: str, root: str, release: str, names: list[str], ports: list[int], errors: dict[str, str]
) -> None:
    """Check a release's site as part of this host's whole configuration; the switch then has nginx read its domains.

    The default server of a port is left out where somebody else has one.

    :param names: the domains.
    :param errors: the pages of the release's own for errors; see pages.copy.
    :raises Failed: nginx refuses it, a domain or path is another site's, or the port another program's.
    """
    if missing := next(filter(None, (needed.drift() for needed in _includes(app, root))), ""):
        raise Failed(
            kinds.NOT_SET_UP,
            f"setup was not run here for this version: {missing}; nothing was touched",
            "Run it: fab setup",
        )
    if missing := unread(app):
        line = f"include {system.NGINX}/{os.path.dirname(_enabled(app))}/*.conf;"
        raise Failed(kinds.NGINX_BROKEN, missing, f"Put the system's line back: {line}")
    pages.copy(root, release, errors)
    for port in ports:
        _check_port(port)
    domains.check_paths(app, root, release)
    without: set[str] = set()
    is_taken, lines = _try(app, root, release, without)
    while taken := {domains.name("*", port) for port in _defaults(lines)} - without:  # nginx says one at a time
        without |= taken
        is_taken, lines = _try(app, root, release, without)
    if not is_taken:
        raise _refusal(lines, app, root, release)
    _check_domains(app, names, lines)
    if changed := domains.place(app, root, release, without):
        releases.update(root, release, unread=True)
        agent.output(f"nginx: {', '.join(changed)}")


def admit(application: Application, release: str) -> None:
    """See that a release may go live beside the other applications of now.

    :raises Failed: one of them is asked for a path of its.
    """
    domains.check_paths(application.name, application.root, release)


def tidy(application: Application) -> None:
    """Take away what nginx is told of domains that no release has any more."""
    domains.tidy(application.name, application.root)


def _try(app: str, root: str, release: str, without: set[str]) -> tuple[bool, list[str]]:
    """Have nginx check what it reads once a release is live; whether it takes that, and what it says."""
    trial, sites = f"{system.NGINX}/fabrelease-check-{app}.conf", f"/run/fabrelease/{app}.sites"
    shutil.rmtree(sites, ignore_errors=True)
    os.makedirs(sites)
    try:
        _gather(app, root, release, sites, without)
        with open(f"{system.NGINX}/nginx.conf", encoding="utf-8") as file:
            text = file.read()
        with open(trial, "w", encoding="utf-8") as file:
            file.write(SITES.sub(lambda match: f"{match[1]}{sites}/{match[2]}", text))
        done = process.run(["nginx", "-t", "-q", "-c", trial], timeout=60)
    finally:
        shutil.rmtree(sites, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(trial)
    said = "\n".join(done.lines).replace(f"{sites}/", f"{system.NGINX}/").replace(trial, f"{system.NGINX}/nginx.conf")
    return done.status == 0, said.splitlines()


def _defaults(lines: list[str]) -> list[int]:
    """The ports that have a default server of somebody else's."""
    return [int(found[1]) for line in lines if (found := DEFAULT.search(line))]


def unread(app: str) -> str:
    """Which of our files nginx's main file does not include, in words; empty where it includes all."""
    with open(f"{system.NGINX}/nginx.conf", encoding="utf-8", errors="replace") as file:
        patterns = [pattern for _, pattern in SITES.findall(file.read())]
    missing = [name for name in (_enabled(app), _enabled(DOMAINS)) if not _matches(name, patterns)]
    return f"{system.NGINX}/nginx.conf does not include {system.NGINX}/{missing[0]}" if missing else ""


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _enabled(app: str) -> str:
    """The name below /etc/nginx that nginx reads our site by."""
    path, link = system.here().site(app)
    return os.path.relpath(link or path, system.NGINX)


def _gather(app: str, root: str, release: str, sites: str, without: set[str]) -> None:
    """Links to everybody's sites by their own names, and to the next release's in place of ours."""
    ours = (*system.here().site(app), f"{system.NGINX}/{_enabled(DOMAINS)}")
    for folder in ("sites-enabled", "conf.d"):
        os.mkdir(f"{sites}/{folder}")
        for path in glob.glob(f"{system.NGINX}/{folder}/*"):
            if path not in ours:
                os.symlink(path, f"{sites}/{folder}/{os.path.basename(path)}")
    os.symlink(f"{releases.directory(root, release)}/config/http.conf", f"{sites}/{_enabled(app)}")
    domains.gather(app, root, release, f"{sites}/fabrelease", without)
    with open(f"{sites}/{_enabled(DOMAINS)}", "w", encoding="utf-8") as file:
        file.write(_all_domains(f"{sites}/fabrelease"))


def _refusal(lines: list[str], app: str, root: str, release: str) -> Failed:
    """Why nginx refuses its configuration, and whose file it is."""
    ours = {f"{system.NGINX}/{_enabled(app)}", *domains.files(app, root, release)}
    broken = next((found[1] for line in lines if (found := AT.search(line))), "")
    if not broken or broken in ours or any("duplicate location" in line for line in lines):
        return Failed(
            kinds.NGINX_SETTINGS,
            f"nginx refuses the configuration; the live one was not touched{process.quote(lines)}",
            "If the line is in the site of this release, look at your templates/nginx/ and site: settings.",
        )
    return Failed(
        kinds.NGINX_BROKEN,
        f"{broken}, which is not of this release, breaks nginx's configuration; nothing was touched"
        f"{process.quote(lines)}",
        "Mend that file or take it away; whether all is well then: sudo nginx -t",
    )


def _check_domains(app: str, names: list[str], lines: list[str]) -> None:
    for line in lines:
        found = CONFLICT.search(line)
        if found and found[1] in map(str.lower, names):
            other = _site_of(found[1], app)
            raise Failed(
                kinds.DOMAIN_TAKEN,
                f"the domain {found[1]} on {found[2]} is taken already, by {other}; nothing was touched",
                "Take the domain out of that site, or choose another in site.domains.",
            )


def _site_of(domain: str, app: str) -> str:
    own = (*system.here().site(app), f"{system.NGINX}/{_enabled(DOMAINS)}")
    for path in sorted(glob.glob(f"{system.NGINX}/sites-enabled/*") + glob.glob(f"{system.NGINX}/conf.d/*.conf")):
        if path in own:
            continue
        for text in _texts(path):
            if re.search(rf"server_name[^;]*[\s\"']{re.escape(domain)}[\s;\"']", text, re.IGNORECASE):
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
            kinds.PORT_TAKEN,
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
                kinds.NGINX_DOWN,
                f"nginx goes on with its old configuration {RELOAD_SECONDS} seconds after a reload",
                "Look at it on the host: journalctl -u nginx, /var/log/nginx/error.log",
            )
        time.sleep(0.005)


def _systemctl(verb: str, what: str) -> None:
    done = process.run(["systemctl", verb, "nginx"], timeout=process.SYSTEMCTL_SECONDS)
    if done.status != 0:
        tried = process.run(["nginx", "-t", "-q"], timeout=60)
        raise Failed(
            kinds.NGINX_DOWN,
            f"{what}: {process.ending(done, 'systemctl', process.SYSTEMCTL_SECONDS)}"
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
    show = ["systemctl", "show", "--property=MainPID", "--value", "nginx"]
    return process.run(show, timeout=process.SYSTEMCTL_SECONDS).text


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
