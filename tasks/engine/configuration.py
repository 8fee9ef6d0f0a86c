"""The configuration of a release, rendered here for one host and installed there."""

from __future__ import annotations

import functools
import hashlib
import hmac
import importlib
import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from . import certificate, hosts, local, passwords, planning, profiling, secretsource, units
from .errors import HostError
from .hosts import Host
from .planning import application, manager_of, server_of
from .remote import certificates, configure, domains, drivers, files, hooks, jobs, kinds, nginx, releases
from .remote.application import Unit
from .remote.domains import HTTP_PORT, TLS_PORT
from .remote.drivers import Launch
from .remote.provision import Wanted
from .remote.unitfiles import SERVICE, TIMER
from .remote.wire import Call
from .session import RemoteCall, reference

if TYPE_CHECKING:
    from .rendering import Renderer
    from .settings import Settings, SitePath

TEMPLATES = Path(__file__).parents[2] / "templates"
HTTP = {"http.conf": "nginx/http.conf.j2"}
OLDER = range(1, releases.OLDER + 1)
LAUNCH = TEMPLATES / "launch.sh"
MOST_NAMED = 4  # files that are named when they were written


class Building:
    """The next release of one host, while it is being built.

    :param host: a host whose ``next`` was pushed, or is about to be.
    :raises HostError: it has none.
    """

    def __init__(self, host: Host) -> None:
        if host.next is None:
            raise HostError(
                kinds.NOT_BUILT, host.name, "there is no next release to work on", "Push one first: fab push"
            )
        self.host = host
        self.settings = host.settings
        self.release: releases.Release = host.next

    @property
    def id(self) -> str:
        """The release's id."""
        return str(self.release["id"])

    @property
    def located_in(self) -> str:
        """The id of the release whose environment tells where packages have their files."""
        return self.id

    @property
    def path(self) -> str:
        """The release's directory."""
        return f"{self.settings.root}/releases/{self.id}"

    @property
    def processes(self) -> dict[str, str]:
        """The background processes: those of the settings, or else of the revision's Procfile; on a worker host."""
        said = self.settings.processes or self.release.get("procfile", {})
        return said if self.settings.has_worker else {}

    @cached_property
    def address(self) -> str:
        """What the release's server binds: its own socket, or a port of its own; empty where it has none.

        The first port from web.bind on that no other release on the host was made for: each of them can be
        rolled back to, and then runs beside the one that is live.
        """
        if not self.settings.has_app:
            return ""
        if self.settings.web.bind == "socket":
            return f"unix:{self.path}/run/{server_of(self.settings).socket}"
        host, _, first = self.settings.web.bind.rpartition(":")
        taken = self.host.addresses
        return next(f"{host}:{port}" for port in itertools.count(int(first)) if f"{host}:{port}" not in taken)

    @property
    def launch(self) -> Launch:
        """What the release's server is to run."""
        return units.launch(self.settings, self.path, self.address)

    @cached_property
    def units(self) -> list[Unit]:
        """The release's programs, the serving one first where there is one."""
        return units.all_of(self.settings, self.path, self.address, self.processes)

    def rendered(self, templates: Mapping[str, str], **more: object) -> list[files.File]:
        """Render templates for the release's ``config``.

        :param templates: file name to template name; one with ``{role}`` in it is rendered for each program, one with
            ``{activated}`` for each that is handed an open socket.
        """
        return [
            files.entry(f"{self.path}/config/{_named(name, unit)}", self.render(template, unit=unit, **more))
            for name, template in templates.items()
            for unit in self._units_for(name)
        ]

    def domain_file(self, domain: str, port: int, template: str) -> files.File:
        """Render a domain's own file on a port."""
        name = domains.name(domain, port)
        return files.entry(f"{self.path}/config/domains/{name}.conf", domain_text(self.host, domain, port, template))

    def _units_for(self, name: str) -> Sequence[Unit | None]:
        if "{activated}" in name:
            return [unit for unit in self.units if unit.activated]
        return self.units if "{role}" in name else [None]

    def environment_files(self) -> list[files.File]:
        """What every process is started with: the variables, the secrets, the launcher."""
        user = self.settings.user
        environment = self.render("environment.j2", variables=self._environment())
        entries = [
            files.entry(f"{self.path}/config/launch", LAUNCH.read_text(), 0o755),
            files.entry(f"{self.path}/config/environment", environment, 0o640, user),
        ]
        if self.settings.secrets:
            secrets = self.render("environment.j2", variables=passwords.of_application(self.settings))
            entries.append(files.entry(f"{self.path}/config/secrets", secrets, 0o640, user))
        return entries

    def job_files(self) -> list[files.File]:
        """The timed jobs: for each a script with its command, and its units; what runs them is remote/schedule.py."""
        return [
            files.entry(
                f"{self.path}/config/schedule/{name}{kind}",
                self.render(f"systemd/job{kind}.j2", job=SimpleNamespace(name=name, **job.model_dump())),
            )
            for name, job in self.settings.schedule.items()
            for kind in (".sh", SERVICE, TIMER)
        ]

    def password_files(self) -> list[files.File]:
        """The names and passwords that nginx asks for."""
        key, reader = self.host.begin("configuration")["key"], self.host.facts["web_user"]
        return [
            files.entry(
                f"{self.path}/config/users/{name}", passwords.file_of(self.settings, name, key), 0o640, reader
            )
            for name in sorted(passwords.variables(self.settings))
        ]

    def render(self, template: str, **more: object) -> str:
        """Render one template for this host and release."""
        with profiling.span("local", f"render {template}"):
            return _renderer(self.host).render(template, **self._variables(), **more)

    def directories(self) -> dict[str, list[tuple[str, str]]]:
        """The URL prefixes that nginx serves itself, with their directories: ``static`` and ``media``."""
        site, root = self.settings.site, self.settings.root
        modules = static_modules(self.settings)
        found = self.host.call(hooks.locate, root, self.located_in, self.settings.user, modules) if modules else {}

        def directory(target: str) -> str:
            module, colon, inside = target.rpartition(":")
            return f"{root}/current/{found[module]}/{inside}" if colon else f"{root}/current/public/{target}"

        return {
            "static": [(site.below(prefix), directory(own.directory)) for prefix, own in site.static.items()],
            "media": [(site.below(prefix), f"{root}/shared/{target}") for prefix, target in site.media.items()],
        }

    def paths(self) -> list[tuple[str, SitePath]]:
        """The URL prefixes that are passed on to the application in a way of their own, and all that holds there."""
        site = self.settings.site
        return [(site.below(prefix), site.at(prefix)) for prefix in site.paths]

    def _environment(self) -> dict[str, str]:
        """The variables of the settings, and the paths that Python finds the application by."""
        public = f"{self.path}/public"
        return {"PYTHONPATH": f"{public}:{public}/src", "PYTHONUNBUFFERED": "1", **self.settings.env}

    def _variables(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "release": SimpleNamespace(
                id=self.id,
                path=self.path,
                public=f"{self.path}/public",
                config=f"{self.path}/config",
                env=f"{self.path}/env",
                run=f"{self.path}/run",
                socket=f"{self.path}/run/{server_of(self.settings).socket}",
                address=self.address,
                pythonpath=[],
            ),
            "web": next((unit for unit in self.units if unit.serves), None),
            "processes": [unit for unit in self.units if not unit.serves],
            "server": server_of(self.settings),
            "manager": manager_of(self.settings),
            "host": _facts(self.host),
        }


@dataclass(frozen=True)
class Part:
    """One program's share of a release's configuration.

    :ivar step: the verb, for messages.
    :ivar says: what is checked, in a few words.
    :ivar notes: facts about the release that the cutover needs.
    """

    step: str
    says: str
    files: list[files.File]
    check: Call
    notes: dict[str, Any]


def server_part(building: Building) -> Part:
    """The configuration of the server that runs the application."""
    settings, server = building.settings, server_of(building.settings)
    web, before = settings.web, bool(settings.hooks.before_switch)
    return Part(
        web.server,
        f"{web.app}, {web.workers} workers",
        building.rendered(server.templates),
        reference(configure.check_server, web.server, application(settings), building.launch, before),
        {"server": web.server},
    )


def manager_part(building: Building) -> Part:
    """The configuration of the manager that keeps the programs running, and of the timed jobs."""
    settings, manager = building.settings, manager_of(building.settings)
    if not building.units and not settings.has_scheduler:
        raise HostError(
            kinds.NO_PROCESSES,
            building.host.name,
            "it is for workers, and neither the settings nor the revision's Procfile name processes",
            "Name them in processes: {worker: …}, or take the role from the host",
        )
    alone: dict[str, Any] = {} if settings.has_site else {"asked": {}}
    scheduled = [jobs.Job(name, job.at or "", job.every or 0) for name, job in settings.schedule.items()]
    programs = [unit.role for unit in sorted(building.units, key=lambda unit: (not unit.serves, unit.role))]
    return Part(
        settings.manager.name,
        ", ".join([*programs, *sorted(settings.schedule)]),
        building.rendered(manager.templates) + building.environment_files() + building.job_files(),
        reference(configure.check_manager, settings.manager.name, application(settings), building.id),
        {
            "manager": settings.manager.name,
            "units": [asdict(unit) for unit in building.units],
            "schedule": [asdict(job) for job in scheduled],
            **alone,
        },
    )


def site_part(building: Building) -> Part:
    """The configuration of the site in nginx."""
    settings, site = building.settings, building.settings.site
    served = building.directories()
    # On a proxy nothing else has to be built.
    alone: dict[str, Any] = {} if settings.has_code else {"units": [], "state": "built"}
    pages = {status: path for status, path in site.pages.items() if path}
    return Part(
        "nginx",
        f"{', '.join(site.domains)}{site.path}{_in_words(building.host)}{_before(settings)}",
        _site_files(building, served),
        reference(nginx.prepare, settings.app, settings.root, building.id, site.names, _ports(building), pages),
        {"asked": asked(building.host), "paths": _paths(building, served), **alone},
    )


def asked(host: Host) -> dict[str, dict[str, Any]]:
    """What a release is asked on a host: itself, and through nginx; as far as there is somebody to answer."""
    settings, secure = host.settings, is_secure(host)
    shown = certificates.chain(settings.site.domains[0]) if secure else ""
    found = {"app": planning.app(settings, secure), "site": planning.site(settings, shown)}
    return {key: asdict(endpoint) for key, endpoint in found.items() if endpoint}


def parts(settings: Settings) -> list[Callable[[Building], Part]]:
    """What the configuration of a host's releases is made of, by its roles."""
    server = [server_part] if settings.has_app else []
    manager = [manager_part] if settings.has_code else []
    return [*server, *manager, *([site_part] if settings.has_site else [])]


def is_secure(host: Host) -> bool:
    """Whether the site has TLS: all of its domains have certificates on the host, whoever has brought them."""
    site, there = host.settings.site, host.facts["certificates"]
    return site.port == HTTP_PORT and all(domains.plain(name) in there for name in site.names)


def _before(settings: Settings) -> str:
    hosts = [upstream.endpoint for upstream in settings.balancing.hosts] if settings.balancing else []
    return f" in front of {', '.join(hosts)}" if hosts else ""


def _in_words(host: Host) -> str:
    site = host.settings.site
    if not is_secure(host):
        return ""
    if site.tls is None:
        return " over http, and over https by the certificate that is there"
    kept = f", browsers keep to it for {site.tls.hsts} s" if site.tls.hsts else ""
    return f" over https{_http3_in_words(host) if site.tls.http3 else ''}{kept}"


def _http3_in_words(host: Host) -> str:
    if host.facts["has_http3"]:
        return " and HTTP/3, on UDP port 443"
    version = ".".join(map(str, host.facts["nginx_version"]))
    return f", without HTTP/3, which nginx {version} does not have here"


def _ports(building: Building) -> list[int]:
    return [HTTP_PORT, TLS_PORT] if is_secure(building.host) else [building.settings.site.port]


def _site_files(building: Building, served: dict[str, list[tuple[str, str]]]) -> list[files.File]:
    """At nginx's http level, pages for errors, and each domain's file and our part of it on each port: domains.py."""
    site, secure = building.settings.site, is_secure(building.host)
    given = {"paths": building.paths(), "older": OLDER, "is_secure": secure, **served}
    found = building.rendered(HTTP, **given)
    for status in [status for status, path in site.pages.items() if not path]:
        found += building.rendered({f"errors/{status}.html": "nginx/error.html.j2"}, code=status)
    for port in _ports(building):
        is_moved = secure and port == HTTP_PORT and site.tls is not None and site.tls.redirect
        parts = dict.fromkeys(site.domains, "nginx/secure.conf.j2" if is_moved else "nginx/site.conf.j2")
        parts |= dict.fromkeys(site.redirect_domains, "nginx/redirect.conf.j2")
        for domain, template in parts.items():
            part = {f"sites/{domains.name(domain, port)}.conf": template}
            found += building.rendered(part, domain=domain, port=port, **given)
            found.append(building.domain_file(domain, port, "nginx/domain.conf.j2"))
        found.append(building.domain_file("*", port, "nginx/default.conf.j2"))
        if port == TLS_PORT and _facts(building.host).quic:
            found.append(building.domain_file(domains.QUIC, port, "nginx/quic.conf.j2"))
    return [*found, *building.password_files(), *_authority(building)]


def _authority(building: Building) -> list[files.File]:
    """What a proxy verifies the app hosts' certificates by, where that comes from here."""
    settings = building.settings
    path = local.authority(settings)
    return [files.entry(f"{building.path}/config/authority.pem", path.read_text(encoding="ascii"))] if path else []


def _paths(building: Building, served: dict[str, list[tuple[str, str]]]) -> dict[str, list[str]]:
    """What the application answers on each domain: the path it lives below, then those inside that are special."""
    site = building.settings.site
    own = [site.path.rstrip("/") + "/"]
    inside = [prefix for prefix, _ in (*served["static"], *served["media"], *building.paths())]
    names = dict.fromkeys(site.domains, own + inside) | dict.fromkeys(site.redirect_domains, own)
    return {domains.name(domain, port): paths for domain, paths in names.items() for port in _ports(building)}


def domain_text(host: Host, domain: str, port: int, template: str) -> str:
    """What is in a domain's own file, the same for every application: it is given nothing of this one."""
    facts = _facts(host)
    del facts.name
    return _renderer(host).render(
        template,
        domain=domain,
        port=port,
        members=f"{domains.folder()}/{domains.name(domain, port)}",
        certificate=certificates.directory(domain) if port == TLS_PORT else "",
        host=facts,
    )


def step(building: Building, parts: Sequence[Part]) -> RemoteCall:
    """Write and check parts of the next release's configuration, in one call."""
    root, host = building.settings.root, building.host
    entries = [file for part in parts for file in part.files]
    notes = {key: value for part in parts for key, value in part.notes.items()}

    def tell(done: configure.Configured) -> None:
        host.next = done["release"]
        for part in parts:
            paths = {file["path"] for file in part.files}
            written = [path.rpartition("/config/")[2] for path in done["changed"] if path in paths]
            named = ", ".join(written) if len(written) <= MOST_NAMED else f"{len(written)} files"
            more = f"{named} written" if written else "no change"
            host.say(part.step, f"{part.says}: checked ({more})")

    checks = [part.check for part in parts]
    return RemoteCall(reference(configure.apply, root, building.id, entries, notes, checks), tell)


def write(targets: list[Host], part: Callable[[Building], Part]) -> None:
    """Write and check one part of the next release's configuration on every host that has it: a step by itself."""
    for host in targets:
        secretsource.read(host.settings)  # before anything is connected to
    chosen = [host for host in targets if part in parts(host.settings)]
    hosts.each(chosen, lambda host: _write(host, part), "checking the configuration")


def _write(host: Host, part: Callable[[Building], Part]) -> None:
    host.begin("configuration")
    building = Building(host)
    host.run([step(building, [part(building)])])


def static_modules(settings: Settings) -> list[str]:
    """The packages that nginx serves files of; where they are is known once the environment is there."""
    targets = (static.directory for static in settings.site.static.values())
    return sorted({target.split(":")[0] for target in targets if ":" in target})


def render_alone(host: Host, template: str, **more: object) -> str:
    """Render a template that belongs to no release."""
    settings = host.settings
    given = {"settings": settings, "manager": manager_of(settings), "host": _facts(host), **more}
    return _renderer(host).render(template, **given)


def wanted(host: Host, patience: float = 0) -> Wanted:
    """What setup has to make sure of on a host.

    :param patience: seconds to wait while another process installs packages.
    """
    return planning.wanted(host.settings, render_alone(host, "logrotate.conf.j2"), patience)


def _named(name: str, unit: Unit | None) -> str:
    role = unit.role if unit else ""
    return name.format(role=role, activated=role)


def _facts(host: Host) -> SimpleNamespace:
    facts, tls = host.facts, host.settings.site.tls
    # The domains' files are the same whoever writes them: where one application has asked for HTTP/3, all have it.
    quic = facts["has_http3"] and (facts["quic"] or bool(tls and tls.http3))
    own = {"name": host.name, "nginx_version": tuple(facts["nginx_version"]), "quic": quic}
    return SimpleNamespace(**{**facts, **own})


def digest(host: Host) -> str:
    """The hash of everything beside the revision that decides what a deploy puts on a host.

    It is keyed with what only root there knows: secrets are in it, and who finds it could guess short ones.
    """
    settings, key = host.settings, host.begin("looking")["key"]
    # Of secrets their values count, wherever they come from.
    said = settings.model_dump(exclude={"backup", "rollout", "members", "notify", "secrets"})
    text = json.dumps({**said, "secrets": secretsource.read(settings)}, sort_keys=True, default=str)
    content = hmac.new(key.encode(), text.encode(), hashlib.sha256)
    local = settings.shared.files.values()
    places = [TEMPLATES, settings.project / "templates"]
    paths = [*(settings.local(path) for path in local if path), *certificate.files(settings)]
    paths += [path for place in places for path in sorted(place.rglob("*")) if path.suffix in (".j2", ".sh")]
    for path in paths:
        content.update(path.name.encode() + b"\0" + path.read_bytes() if path.is_file() else b"")
    return content.hexdigest()


@functools.cache
def _renderer(host: Host) -> Renderer:
    from .rendering import Renderer

    outside = [drivers.file_of(module) for kind in drivers.KINDS for module in drivers.outside(kind).values()]
    return Renderer(host.settings.project / "templates", host.name, [file.parent / "templates" for file in outside])


def warm_up() -> None:
    """Import, while connections are opened, what is needed afterwards and takes its time."""

    def work() -> None:
        for name in ("rich.console", "rich.text", f"{__package__}.rendering"):
            importlib.import_module(name)

    threading.Thread(target=work, daemon=True).start()
