"""What a project is, and what a deploy of it needs: found out by reading its files, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from .. import procfile
from ..errors import UsageError
from ..remote import drivers, kinds
from . import callables, django, pages, requirements, variables
from .callables import ASGI, Callable
from .code import Code, module_of
from .django import SQLITE, Django
from .requirements import Requirements
from .variables import Variable

PROCFILE = "Procfile"
DATA = "data"  # the shared directory for what the application writes
DOMAIN = "<domain>"  # stands for the site's domain, which only a person knows
ON = (True, "True", "true", "on", "yes", "1", variables.NO_DEFAULT)
UNKNOWN_PAGE = "not known to be there: name a page that is"
SERVERS = {callables.WSGI: "gunicorn", ASGI: "uvicorn"}
BASES = ("src",)  # directories that modules are imported from, beside the root
# Names that are other accounts' on a server, or that say nothing there.
ACCOUNTS = "adm backup bin daemon ftp games git irc list lp mail man news nginx nobody proxy redis root sync sys"
TAKEN = frozenset([*ACCOUNTS.split(), "api", "app", "backend", "server", "site", "web"])


@dataclass(frozen=True)
class Found:
    """A setting that was found, and why it is so."""

    value: Any
    why: str = ""


@dataclass(frozen=True)
class Project:
    """What was found out about a project.

    :ivar name: what to call it on a host.
    :ivar source: the directory of the application in the project.
    :ivar kind: the framework, in words.
    :ivar app: as the server is told it; empty where there is none.
    :ivar base: the directory in the source that modules are imported from.
    :ivar env, processes, static, media, dirs, build, before_switch, packages: as in the settings, with reasons.
    :ivar page: what to ask a new release for.
    :ivar allowed_hosts: the domains that the code itself is for, as Django writes them.
    :ivar variables: those that the code reads.
    :ivar missing: what is in the way of going live, and what to do about it.
    :ivar notes: what else a person should know.
    """

    name: str
    source: str = "."
    kind: str = ""
    app: str = ""
    server: str = "gunicorn"
    base: str = "."
    server_settings: dict[str, Any] = field(default_factory=dict)
    requirements: Requirements = field(default_factory=Requirements)
    python: tuple[str, str] = ("", "")
    packages: tuple[str, ...] = ()
    processes: dict[str, Found] = field(default_factory=dict)
    static: dict[str, Found] = field(default_factory=dict)
    media: dict[str, Found] = field(default_factory=dict)
    websockets: tuple[str, ...] = ()
    tls: bool = False
    env: dict[str, Found] = field(default_factory=dict)
    dirs: dict[str, Found] = field(default_factory=dict)
    build: dict[str, Found] = field(default_factory=dict)
    before_switch: dict[str, Found] = field(default_factory=dict)
    page: Found = Found("/")
    allowed_hosts: tuple[str, ...] = ("*",)
    variables: tuple[Variable, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """Where it will be on a host."""
        return f"/srv/{self.name}"

    def is_for(self, domain: str) -> bool:
        """Whether the code answers to a domain."""
        names, domain = [name.lower() for name in self.allowed_hosts], domain.lower()
        return bool({"*", domain} & set(names)) or f".{domain}".endswith(tuple(n for n in names if n[:1] == "."))

    def with_problems(self, *problems: str) -> Project:
        """The same, with more that is in the way."""
        return replace(self, missing=(*self.missing, *problems))


def discover(root: Path, source: str = "") -> Project:
    """Find out what a project is.

    :param root: the directory with the fabfile and hosts/.
    :param source: the directory in it that holds the application; found, where it is not given.
    :raises UsageError: there are several, or the named one is not there.
    """
    source = source.strip("/") or _source(root)
    place = root / source
    if not place.is_dir():
        raise UsageError(kinds.PROJECT, f"there is no directory {source} in {root}")
    code, needed = Code(place), requirements.read(place)
    project = Project(
        name=_name(root, place),
        source=source,
        requirements=needed,
        python=requirements.python(place),
        packages=tuple(needed.system_packages),
        variables=tuple(variables.read_by(code)),
    )
    found = django.find(code)
    project = _django(project, found) if found else _other(project, code)
    project = _with_processes(project, code)
    project = _with_sqlite(project)
    if project.base != ".":
        project = _with_env(project, "PYTHONPATH", project.base, f"modules are imported from {project.base}/")
    return project.with_problems(*needed.problems(project.server))


def _source(root: Path) -> str:
    """The directory that holds the application: the root, or the only one below it that looks like one."""
    if requirements.is_project(root) or (root / "manage.py").is_file():
        return "."
    below = [path for path in sorted(root.glob("*")) + sorted(root.glob("*/*")) if path.is_dir()]
    usual = [path for path in below if not any(part.startswith((".", "{")) for part in path.relative_to(root).parts)]
    found = [path for path in usual if requirements.is_project(path) and _serves(path)]
    if len(found) > 1:
        names = [path.relative_to(root).as_posix() for path in found]
        raise UsageError(
            kinds.PROJECT,
            f"there are applications in {', '.join(names)}: one stage is for one of them\n"
            f"  Say which: fab init --source {names[0]}"
        )
    return found[0].relative_to(root).as_posix() if found else "."


def _serves(path: Path) -> bool:
    code = Code(path)
    return django.find(code) is not None or bool(callables.find(code))


def _name(root: Path, place: Path) -> str:
    """A name for directories, accounts and programs on a host."""
    said = [str(requirements.pyproject(place).get("project", {}).get("name", "")), root.resolve().name]
    names = [_safe(name) for name in said if name]
    return next((name for name in names if name not in TAKEN), f"{names[-1]}-site")


def _safe(said: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", said.lower()).strip("-_")
    name = name if re.match(r"[a-z]", name) else f"site-{name}"
    return name[:31].rstrip("-_").removesuffix("-build")


# --- Django -------------------------------------------------------------------------------


def _django(project: Project, found: Django) -> Project:
    server = SERVERS[ASGI if found.is_asgi else callables.WSGI]
    project = replace(
        project,
        kind=f"Django, settings {found.settings}",
        app=found.app if found.module else "",
        server=server,
        base=found.base,
        page=_django_page(found),
        tls=found.redirects_to_https(),
        websockets=("/ws/",) if found.is_asgi and callables.mentions(found.names.code, "ProtocolTypeRouter") else (),
    )
    if not found.module:
        project = project.with_problems(
            "no wsgi.py or asgi.py with an application: django-admin startproject makes one"
        )
    if not found.names.files:
        return project.with_problems(f"the settings {found.settings or 'module'} cannot be found")
    if found.must_name_settings:
        why = "manage.py or the application would take others"
        project = _with_env(project, "DJANGO_SETTINGS_MODULE", found.settings, why)
    for step in (_hosts_and_debug, _static, _media, _database):
        project = step(project, found)
    return project


def _django_page(found: Django) -> Found:
    there = found.pages()
    if chosen := pages.choose(there):
        return Found(chosen)
    admin = next((one for one in sorted(there, key=len) if one.endswith("/login/")), "")
    return Found(admin, "nothing is at /") if admin else Found("/", UNKNOWN_PAGE)


def _hosts_and_debug(project: Project, found: Django) -> Project:
    hosts, debug = found.allowed_hosts(), found.debug()
    if isinstance(hosts, Variable):
        project = _with_env(project, hosts.name, DOMAIN, "ALLOWED_HOSTS is read from it")
    elif hosts == []:
        project = project.with_problems(f"ALLOWED_HOSTS is empty in {found.settings}: put the domain into it")
    elif hosts is not None:
        project = replace(project, allowed_hosts=tuple(hosts))
    if isinstance(found.names.value("SECRET_KEY"), ast.Constant):
        project = project.with_problems(
            f"SECRET_KEY stands in {found.settings}, for everybody who sees the code: "
            'SECRET_KEY = os.environ["SECRET_KEY"]'
        )
    if debug is True:
        return project.with_problems(f"DEBUG is True in {found.settings}: visitors would see code and settings")
    if isinstance(debug, Variable) and debug.default in ON:
        off = "0" if found.debug_is_number() else "False"
        project = _with_env(project, debug.name, off, "DEBUG is read from it")
    return project


def _static(project: Project, found: Django) -> Project:
    if found.names.value("STATIC_ROOT") is None or not found.has("django.contrib.staticfiles"):
        if found.has("django.contrib.staticfiles") and not found.is_elsewhere("staticfiles"):
            project = project.with_problems(
                f"STATIC_ROOT is not set in {found.settings}, so no static file is served: "
                'STATIC_ROOT = BASE_DIR / "static"'
            )
        return project
    collect = f"python {found.manage} collectstatic --noinput"
    project = replace(project, build={**project.build, collect: Found(None, "gathers the static files")})
    if found.is_elsewhere("staticfiles"):
        return project
    directory, variable = found.directory("STATIC_ROOT")
    url = found.url("STATIC_URL")
    if not directory and variable:
        directory = "static-root"
        project = _with_env(project, variable.name, directory, "STATIC_ROOT is read from it")
    if not directory:
        return project.with_problems(
            f"STATIC_ROOT in {found.settings} lies outside of the project, where a deploy writes nothing: "
            'STATIC_ROOT = BASE_DIR / "static"'
        )
    return replace(project, static={url: Found(directory, "STATIC_URL and STATIC_ROOT")}) if url else project


def _media(project: Project, found: Django) -> Project:
    if found.names.value("MEDIA_ROOT") is None or found.is_elsewhere("default"):
        return project
    directory, variable = found.directory("MEDIA_ROOT")
    url = found.url("MEDIA_URL")
    if not directory and variable:
        directory = "media"
        project = _with_env(
            project, variable.name, f"{project.root}/shared/{directory}", "MEDIA_ROOT is read from it"
        )
    if not directory:
        return project.with_problems(
            f'MEDIA_ROOT in {found.settings} lies outside of the project: MEDIA_ROOT = BASE_DIR / "media"'
        )
    project = _with_dir(project, directory, "MEDIA_ROOT")
    return replace(project, media={url: Found(directory, "MEDIA_URL and MEDIA_ROOT")}) if url else project


def _database(project: Project, found: Django) -> Project:
    database = found.database()
    if database is None:
        return project
    kind = database.kind or "its kind is in a variable"
    migrate = f"python {found.manage} migrate --noinput"
    project = replace(
        project,
        kind=f"{project.kind}, database {kind}",
        before_switch={**project.before_switch, migrate: Found(None, "brings the database's tables up to date")},
    )
    if database.kind != SQLITE:
        return project
    if database.is_url and database.variable:
        return _with_sqlite_at(project, database.variable.name, "sqlite")
    if database.variable:
        file = f"{project.root}/shared/{DATA}/db.sqlite3"
        project = _with_env(project, database.variable.name, file, "the database's file, which outlives releases")
        return _with_dir(project, DATA, "the database")
    path = database.file
    if path is not None and not path.is_absolute() and not _holds_code(found, path.parent):
        return _with_dir(project, path.parent.as_posix(), "the database")
    data = ((found.names.path("BASE_DIR") or PurePosixPath(".")) / DATA).as_posix()
    return _with_dir(project, data, "for the database").with_problems(
        f"the SQLite file in {found.settings} lies among the code, which every deploy replaces and which the "
        f"application may not write to. {project.root}/shared/{data} stays, and {data}/ in the code leads there: "
        f'"NAME": BASE_DIR / "{DATA}/db.sqlite3"'
    )


def _holds_code(found: Django, directory: PurePosixPath) -> bool:
    return any(PurePosixPath(file).is_relative_to(directory) for file in found.names.code.files)


# --- others -------------------------------------------------------------------------------


def _other(project: Project, code: Code) -> Project:
    found = callables.find(code)
    named = _named_by_procfile(project, code)
    if not found and not named:
        own = callables.with_own_server(code)
        what = (
            f"{own} has a server of its own, which is none of ours"
            if own
            else "no WSGI or ASGI application was found"
        )
        return project.with_problems(f'{what}: name it in web.app, like "shop:app"')
    app = next((one for one in found if _matches(one, named)), None) or (None if named and not found else found[0])
    if app is None:
        return replace(project, kind="named by the Procfile", app=named)
    base = _base(app.file)
    server = SERVERS[app.protocol]
    page, is_known = pages.to_ask(code, app, base)
    sockets = pages.websockets(code) if app.protocol == ASGI else []
    others = [
        one.app(base, server) for one in found[1:4] if not one.is_factory and one.file != app.file and _is_main(one)
    ]
    return _with_migrations(
        replace(
            project,
            kind=app.framework,
            app=app.app(base, server),
            server=server,
            base=base,
            server_settings={"factory": True} if app.is_factory and server == "uvicorn" else {},
            page=Found(page, "" if is_known else UNKNOWN_PAGE),
            websockets=tuple(sockets),
            notes=(f"there are others: {', '.join(others)}",) if others else (),
        ),
        (Path(code.root) / "alembic.ini").is_file(),
        any(path.is_dir() for path in code.root.glob("migrations/versions")),
    )


def _with_migrations(project: Project, has_alembic: bool, has_versions: bool) -> Project:
    """Migrations of Alembic, by itself or through Flask-Migrate."""
    names, command = project.requirements.names, ""
    if "flask-migrate" in names and has_versions:
        command = f"flask --app '{project.app}' db upgrade"
    elif "alembic" in names and has_alembic:
        command = "alembic upgrade head"
    if not command:
        return project
    return replace(project, before_switch={command: Found(None, "brings the database's tables up to date")})


def _named_by_procfile(project: Project, code: Code) -> str:
    return callables.named_in(_procfile(code).get(procfile.WEB, ""))


def _procfile(code: Code) -> dict[str, str]:
    path = code.root / PROCFILE
    return procfile.read(path.read_text(encoding="utf-8", errors="replace"), PROCFILE) if path.is_file() else {}


def _matches(one: Callable, named: str) -> bool:
    return bool(named) and one.app(_base(one.file), "gunicorn") == named


def _is_main(one: Callable) -> bool:
    return PurePosixPath(one.file).stem in callables.MAIN


def _base(file: str) -> str:
    return next((base for base in BASES if file.startswith(f"{base}/")), ".")


# --- what all have ------------------------------------------------------------------------


def _with_processes(project: Project, code: Code) -> Project:
    named = _procfile(code)
    web, release = named.pop(procfile.WEB, ""), named.pop(procfile.RELEASE, "")
    other = procfile.server_of(web, drivers.names("servers"))
    if other and other != project.server and SERVERS[ASGI] in (other, project.server):
        project = _noted(project, f"the {PROCFILE} starts {other}; here it is {project.server}")
    if release:
        # It migrates already, most of them do, or is another thing to be done then.
        kept = {} if re.search("migrat|upgrade", release) else project.before_switch
        hook = {release: Found(None, f"the release line of the {PROCFILE}")}
        project = replace(project, before_switch={**hook, **kept})
    if named:
        return _noted(project, f"background processes are those of the {PROCFILE}: {', '.join(named)}")
    found = dict(_workers(project, code))
    project = replace(project, processes=found)
    return (
        _with_dir(project, DATA, "celery beat's schedule")
        if any(DATA in one.value for one in found.values())
        else project
    )


def _workers(project: Project, code: Code) -> Iterator[tuple[str, Found]]:
    """The workers of queues that the code has."""
    names = project.requirements.names
    if file := callables.celery(code):
        module = module_of(file, project.base if file.startswith(f"{project.base}/") else ".").removesuffix(".celery")
        yield "worker", Found(f"celery -A {module} worker --loglevel info", f"Celery, in {file}")
        if "django-celery-beat" in names:
            scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
            yield (
                "beat",
                Found(f"celery -A {module} beat --scheduler {scheduler}", "Celery's timetable, in the database"),
            )
        elif callables.mentions(code, "beat_schedule", "CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE"):
            yield "beat", Found(f"celery -A {module} beat --schedule {DATA}/celerybeat", "Celery's timetable")
    manage = next((file for file in code.files if PurePosixPath(file).name == "manage.py"), "")
    for package, command in (("django-rq", "rqworker"), ("django-dramatiq", "rundramatiq"), ("huey", "run_huey")):
        if manage and package in names:
            yield package.removeprefix("django-"), Found(f"python {manage} {command}", package)
    if not manage and "rq" in names:
        url = next((one.name for one in project.variables if "REDIS" in one.name), "")
        yield "rq", Found("rq worker" + (f' --url "${url}"' if url else ""), "RQ; name its queues here")
    if not manage and (files := callables.modules_with(code, "dramatiq.actor")):
        yield "dramatiq", Found(f"dramatiq {' '.join(module_of(file, _base(file)) for file in files)}", "Dramatiq")


def _with_sqlite(project: Project) -> Project:
    """Give databases in files, whose address is read from a variable, a place that outlives releases."""
    for one in project.variables:
        if isinstance(one.default, str) and re.match(r"sqlite(\+\w+)?:", one.default) and one.name not in project.env:
            project = _with_sqlite_at(project, one.name, one.default.partition(":")[0])
    return project


def _with_sqlite_at(project: Project, variable: str, scheme: str) -> Project:
    """The address of a database in a file."""
    address = f"{scheme}:///{project.root}/shared/{DATA}/db.sqlite3"
    project = _with_env(project, variable, address, "the database's file, which outlives releases")
    return _with_dir(project, DATA, "the database")


def _noted(project: Project, note: str) -> Project:
    return replace(project, notes=(*project.notes, note))


def _with_env(project: Project, name: str, value: str, why: str) -> Project:
    return replace(project, env={**project.env, name: Found(value, why)})


def _with_dir(project: Project, name: str, why: str) -> Project:
    """A directory that outlives releases, unless it lies in one that does."""
    if any(name == one or name.startswith(f"{one}/") for one in project.dirs):
        return project
    kept = {one: found for one, found in project.dirs.items() if not one.startswith(f"{name}/")}
    return replace(project, dirs={**kept, name: Found(None, why)})
