"""A Django project: which settings it is to run with, and what these ask of a deploy."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from .code import Code, dotted, keyword, module_of, text
from .values import Names
from .variables import NO_DEFAULT, Variable, inside

MODULE = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*(?:[a-z_]+=)?["']([\w.]+)["']""")
FOR_PRODUCTION = ("production", "prod", "live", "deploy")
SCHEMES = {"sqlite": "SQLite", "postg": "PostgreSQL", "psql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MySQL"}
ELSEWHERE = ("s3", "gcloud", "google", "azure", "dropbox", "Cloud")
DEPTH = 4  # of URL configurations that include one another
SQLITE = "SQLite"


@dataclass(frozen=True)
class Database:
    """The database that a project is set up with.

    :ivar kind: its kind; empty where that cannot be seen.
    :ivar variable: what its address, or for SQLite its file, is read from.
    :ivar file: of SQLite: its path from the root of the code, where that is a fixed one.
    """

    kind: str
    variable: Variable | None = None
    file: PurePosixPath | None = None
    is_url: bool = False


@dataclass(frozen=True)
class Django:
    """What a deploy has to know of a Django project. Directories are seen from the root of the code.

    :ivar manage: manage.py.
    :ivar base: the directory that modules are imported from.
    :ivar settings: the module to run with.
    :ivar must_name_settings: whether the module has to be said, for manage.py or the application take another.
    :ivar module: that of its application; empty where there is none.
    """

    manage: str
    base: str
    settings: str
    must_name_settings: bool
    names: Names = field(repr=False)
    module: str = ""
    is_asgi: bool = False

    @property
    def app(self) -> str:
        """The application as a server is told it."""
        return f"{self.module}:application"

    def has(self, *texts: str) -> bool:
        """Whether the settings hold one of these texts, as the name of an application or a class."""
        return not self.names.strings().isdisjoint(texts)

    def directory(self, name: str) -> tuple[str, Variable | None]:
        """STATIC_ROOT or MEDIA_ROOT: the directory in the code, and the variable that may name it.

        :returns: the empty text for the directory where it is not in the code, or not to be seen.
        """
        value = self.names.value(name)
        if value is None or (text(value) == "" and isinstance(value, ast.Constant)):
            return "", None
        variable, path = inside(value), self.names.path(name)
        relative = path is not None and not path.is_absolute() and path.parts and ".." not in path.parts
        return (str(path) if relative else ""), variable

    def url(self, name: str) -> str:
        """STATIC_URL or MEDIA_URL as a prefix of paths; empty where it is elsewhere, or not to be seen."""
        value = self.names.value(name)
        if value is None:
            return ""
        variable = inside(value)
        said = variable.default if variable else text(value)
        if isinstance(value, (ast.JoinedStr, ast.BinOp)):  # what is before it is the site's own path
            said = (_texts(value) or [""])[-1]
        return f"/{said.strip('/')}/" if isinstance(said, str) and "://" not in said and said.strip("/") else ""

    def is_elsewhere(self, kind: str) -> bool:
        """Whether static files or media are kept by another service, like S3.

        :param kind: staticfiles or default, as in STORAGES.
        """
        named = self.names.all_values({"staticfiles": "STATICFILES_STORAGE", "default": "DEFAULT_FILE_STORAGE"}[kind])
        for value in self.names.all_values("STORAGES"):
            if isinstance(value, ast.Dict):
                named += [one for key, one in zip(value.keys, value.values, strict=True) if text(key) == kind]
            elif kind == "default":
                named.append(value)
        return any(word in ast.dump(value) for value in named[-1:] for word in ELSEWHERE)

    def allowed_hosts(self) -> Variable | list[str] | None:
        """The variable that ALLOWED_HOSTS is read from, or the names in it; None where that cannot be seen."""
        value = self.names.value("ALLOWED_HOSTS")
        if value is None:
            return []
        if variable := inside(value):
            return variable
        if isinstance(value, (ast.List, ast.Tuple)) and all(isinstance(one, ast.Constant) for one in value.elts):
            return [text(one) for one in value.elts]
        return None

    def database(self) -> Database | None:
        """The database that is used when nothing else is said; None where none is set up."""
        values = [value for value in self.names.all_values("DATABASES") if not _is_empty(value)]
        engines = [value for value in values if _engine(value)]
        certain = [value for value in engines if not self.names.tests[value]]
        by_engine = next(reversed(certain or engines), None)
        by_address = [value for value in values if _is_address(value) and self._counts(value)]
        if by_address:
            found = _by_address(by_address[-1])
            otherwise = _kind_of(by_engine) if by_engine is not None else ""
            return replace(found, kind=SQLITE) if not found.kind and otherwise == SQLITE else found
        if by_engine is not None:
            return self._by_engine(by_engine)
        return Database("", inside(values[-1])) if values else None

    def _counts(self, value: ast.expr) -> bool:
        """Whether an address is taken whenever its variable is set, and under no other condition."""
        tests = self.names.tests[value]
        return not tests or any(_address(value).name in _texts(test) for test in tests)

    def redirects_to_https(self) -> bool:
        """Whether SECURE_SSL_REDIRECT is on when nothing else is said."""
        value = self.names.value("SECURE_SSL_REDIRECT")
        if value is None:
            return False
        variable = inside(value)
        said = variable.default if variable else getattr(value, "value", False)
        return said in (True, "True", "true", "1", 1)

    def debug(self) -> Variable | bool | None:
        """What DEBUG is, or the variable that it is read from; None where that cannot be seen."""
        value = self.names.value("DEBUG")
        if value is None or isinstance(value, ast.Constant):
            return bool(getattr(value, "value", False))
        return inside(value)

    def debug_is_number(self) -> bool:
        """Whether DEBUG has to be a number, for it goes through int()."""
        value = self.names.value("DEBUG")
        return value is not None and any(
            isinstance(node, ast.Call) and dotted(node.func) in ("int", "env.int") for node in ast.walk(value)
        )

    def pages(self) -> set[str]:
        """The paths without parameters that the URL configuration names."""
        urls = text(self.names.value("ROOT_URLCONF"))
        return _pages(self.names.code, self.base, urls, "/", DEPTH) if urls else set()

    def _by_engine(self, value: ast.expr) -> Database:
        kind, name = _kind_of(value), _item(value, "NAME")
        if kind != SQLITE or name is None:
            return Database(kind)
        return Database(kind, inside(name), self.names.path_of(name))


def find(code: Code) -> Django | None:
    """The Django project in a directory; None where there is none. The manage.py nearest to the root counts."""
    manage = next((file for file in code.files if PurePosixPath(file).name == "manage.py"), "")
    if not manage:
        return None
    base = PurePosixPath(manage).parent.as_posix()
    of_manage = _named_in(code, manage)
    wsgi, asgi = _server_modules(code, base)
    is_asgi = bool(asgi) and (not wsgi or "ProtocolTypeRouter" in ast.dump(code.tree(asgi)))
    file = asgi if is_asgi else wsgi
    of_app = _named_in(code, file) if file else ""
    settings = _for_production(code, base, of_app or of_manage)
    names = Names(code, code.file_of(settings, base), base)
    named = text(names.value("WSGI_APPLICATION")).rpartition(".")[0]
    module = named if named and not is_asgi and code.file_of(named, base) else module_of(file, base) if file else ""
    return Django(manage, base, settings, {of_manage, of_app} != {settings}, names, module, is_asgi)


def _server_modules(code: Code, base: str) -> tuple[str, str]:
    """The files of the WSGI and the ASGI application."""

    def first(name: str) -> str:
        ends = (f"/{name}.py", f"/{name}/__init__.py")
        files = [file for file in code.files if f"/{file}".endswith(ends) and _is_below(file, base)]
        return next((file for file in files if f"get_{name}_application" in ast.dump(code.tree(file))), "")

    return first("wsgi"), first("asgi")


def _is_below(file: str, base: str) -> bool:
    return base == "." or file.startswith(f"{base}/")


def _named_in(code: Code, file: str) -> str:
    """The settings that a file names by default."""
    source = ast.unparse(code.tree(file))
    found = MODULE.search(source)
    return found[1] if found else ""


def _for_production(code: Code, base: str, named: str) -> str:
    """The settings to run with: those made for production, where there are some beside the named ones."""
    package, _, last = named.rpartition(".")
    file = code.file_of(named, base)
    inner = named if file.endswith("__init__.py") else package
    if last in FOR_PRODUCTION:
        return named
    in_package = [
        f"{inner}.{name}"
        for name in FOR_PRODUCTION
        if inner != package or "settings" in package or last != "settings"
    ]
    beside = [
        f"{package}.{name}".lstrip(".")
        for word in FOR_PRODUCTION
        for name in (f"settings_{word}", f"{word}_settings")
    ]
    return next((module for module in [*in_package, *beside] if code.file_of(module, base)), named)


def _kind(scheme: str) -> str:
    return next((kind for begin, kind in SCHEMES.items() if scheme.startswith(begin)), scheme)


def _kind_of(value: ast.expr) -> str:
    return _kind(_engine(value).rpartition(".")[2])


def _engine(value: ast.expr) -> str:
    return next((one for one in _texts(value) if "backends." in one), "")


def _is_empty(value: ast.expr) -> bool:
    return isinstance(value, ast.Dict) and not value.keys


def _is_address(value: ast.expr) -> bool:
    """Whether a library makes it from an address: django-environ or dj-database-url."""
    calls = [dotted(node.func) for node in ast.walk(value) if isinstance(node, ast.Call)]
    return any(call in ("env.db", "env.db_url", "env.dj_db_url") or "dj_database_url" in call for call in calls)


def _address(value: ast.expr) -> Variable:
    """The variable that an address is read from."""
    named = next((keyword(node, "env") for node in ast.walk(value) if isinstance(node, ast.Call)), None)
    return inside(value) or Variable(text(named) or "DATABASE_URL", NO_DEFAULT)


def _by_address(value: ast.expr) -> Database:
    default = next((one for one in _texts(value) if re.match(r"[a-z0-9+]+:", one)), "")
    return Database(_kind(default.partition(":")[0]), _address(value), is_url=True)


def _texts(node: ast.expr) -> list[str]:
    return [text(part) for part in ast.walk(node) if text(part)]


def _item(node: ast.expr, key: str) -> ast.expr | None:
    """The value of a key, in any dictionary in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Dict):
            for name, value in zip(part.keys, part.values, strict=True):
                if text(name) == key:
                    return value
    return None


def _pages(code: Code, base: str, module: str, prefix: str, depth: int) -> set[str]:
    found: set[str] = set()
    file = code.file_of(module, base)
    for call in ast.walk(code.tree(file)) if file and depth else ():
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        function, route = dotted(call.func), call.args[0]
        if function not in ("path", "re_path", "url") or not isinstance(route, ast.Constant):
            continue
        path = prefix + (text(route) if function == "path" else text(route).lstrip("^").rstrip("$"))
        target = call.args[1]
        if isinstance(target, ast.Call) and dotted(target.func) == "include":
            included = text(target.args[0]) or text(getattr(target.args[0], "elts", [None])[0]) if target.args else ""
            if code.file_of(included, base):
                found |= _pages(code, base, included, path, depth - 1)
            elif path == "/":
                found.add(path)  # another package's, which takes what nobody else does
        elif "site.urls" in ast.unparse(target):
            found.add(f"{path}login/")
        elif re.fullmatch(r"[\w/.-]*", path):
            found.add(path)
    return found
