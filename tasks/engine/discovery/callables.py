"""The WSGI or ASGI application in a project's code, its pages, and its workers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from .code import Code, assigned, dotted, imported, keyword, module_of, text, whole

WSGI, ASGI = "WSGI", "ASGI"
FRAMEWORKS = {
    "flask.Flask": ("Flask", WSGI),
    "apiflask.APIFlask": ("Flask", WSGI),
    "flask_openapi3.OpenAPI": ("Flask", WSGI),
    "bottle.Bottle": ("Bottle", WSGI),
    "bottle.default_app": ("Bottle", WSGI),
    "falcon.App": ("Falcon", WSGI),
    "falcon.API": ("Falcon", WSGI),
    "django.core.wsgi.get_wsgi_application": ("Django", WSGI),
    "quart.Quart": ("Quart", ASGI),
    "fastapi.FastAPI": ("FastAPI", ASGI),
    "starlette.applications.Starlette": ("Starlette", ASGI),
    "litestar.Litestar": ("Litestar", ASGI),
    "falcon.asgi.App": ("Falcon", ASGI),
    "blacksheep.Application": ("BlackSheep", ASGI),
    "sanic.Sanic": ("Sanic", ASGI),
    "django.core.asgi.get_asgi_application": ("Django", ASGI),
}
DASH = frozenset({"dash.Dash"})  # whose attribute server is the application
WITH_OWN_SERVER = {"aiohttp.web.Application": "aiohttp", "tornado.web.Application": "Tornado"}
MAIN = ("wsgi", "asgi", "main", "app", "application", "server", "api", "run", "__init__")
USUAL = ("app", "application", "api", "server")
HEALTH = re.compile(r"/(?:api/)?(?:v\d/)?(?:health|healthz|health[_-]?check|ping|up|livez|status)/?")
NAMED = re.compile(r"(?<![\w./:-])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\(\))?)(?![\w/:.])")


@dataclass(frozen=True)
class Callable:
    """An application, or what makes one.

    :ivar file: where it is.
    :ivar protocol: WSGI or ASGI.
    """

    file: str
    name: str
    framework: str
    protocol: str
    is_factory: bool = False

    def app(self, base: str, server: str) -> str:
        """As a server is told it: gunicorn calls a factory itself, uvicorn by a setting."""
        called = "()" if self.is_factory and server == "gunicorn" else ""
        return f"{module_of(self.file, base)}:{self.name}{called}"


def find(code: Code) -> list[Callable]:
    """The applications in a project, the likeliest first."""
    factories = {one.name: one for one in _factories(code)}
    found = list(factories.values())
    for file, tree in code.trees():
        names, dashes = imported(tree), set[str]()
        for name, value in assigned(tree):
            if isinstance(value, ast.Call):
                called = whole(value.func, names)
                dashes |= {name} if called in DASH else set()
                made = factories.get(called.rpartition(".")[2])
                kind = FRAMEWORKS.get(called) or (made and (made.framework, made.protocol))
                if kind:
                    found.append(Callable(file, name, *kind))
            elif isinstance(value, ast.Attribute) and value.attr == "server" and dotted(value.value) in dashes:
                found.append(Callable(file, name, "Dash", WSGI))
        found += _plain(file, tree)
    return sorted(found, key=_likelihood)


def named_in(line: str) -> str:
    """The application that a command line names, as module:callable; empty where it names none."""
    found = NAMED.search(re.sub(r"(?<=\s)-\S+ \S*:\d+", "", line))
    return found[1] if found else ""


def with_own_server(code: Code) -> str:
    """A framework whose applications no WSGI or ASGI server runs; empty where none is used."""
    for _, tree in code.trees():
        names = imported(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (framework := WITH_OWN_SERVER.get(whole(node.func, names))):
                return framework
    return ""


def page(code: Code, app: Callable) -> tuple[str, bool]:
    """The page to ask for, and whether it is known to be there."""
    pages = _pages(code, app)
    chosen = choose(pages)
    if chosen:
        return chosen, True
    if app.framework == "FastAPI" and not _has_no_docs(code.tree(app.file)):
        return "/docs", True
    return next(((one, True) for one in sorted(pages, key=len)), ("/", False))


def choose(pages: set[str]) -> str:
    """The best of some pages to ask for: the first, or one that is made for it; empty where none is."""
    if "/" in pages:
        return "/"
    return next((one for one in sorted(pages, key=len) if HEALTH.fullmatch(one)), "")


def websockets(code: Code) -> list[str]:
    """The prefixes of paths at which applications take WebSockets."""
    found = set()
    for _, tree in code.trees():
        for node in ast.walk(tree):
            is_one = isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in (
                "websocket",
                "WebSocketRoute",
            )
            if is_one and node.args and (route := text(node.args[0])).startswith("/"):  # type: ignore[attr-defined]
                found.add(re.sub(r"[^/]*[{<].*", "", route).rstrip("/") + "/")
    return sorted(found - {"/"})


def celery(code: Code) -> str:
    """The file that has the Celery application; empty where none has."""
    for file, tree in code.trees():
        names = imported(tree)
        for _, value in assigned(tree):
            if isinstance(value, ast.Call) and whole(value.func, names) in ("celery.Celery", "celery.app.Celery"):
                return file
    return ""


def mentions(code: Code, *words: str) -> bool:
    """Whether a name or an attribute with one of these words is in the code."""
    return any(
        getattr(node, "id", None) in words
        or getattr(node, "attr", None) in words
        or getattr(node, "arg", None) in words
        for _, tree in code.trees()
        for node in ast.walk(tree)
    )


def modules_with(code: Code, decorator: str) -> list[str]:
    """The files with functions that are decorated so, as module.name or as a name that is imported from there."""
    found = []
    for file, tree in code.trees():
        names = imported(tree)
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        used = [one.func if isinstance(one, ast.Call) else one for node in functions for one in node.decorator_list]
        if any(whole(one, names) == decorator for one in used):
            found.append(file)
    return found


def _factories(code: Code) -> Iterator[Callable]:
    """Functions that make an application and can be called without an argument."""
    for file, tree in code.trees():
        names = imported(tree)
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or len(node.args.args) > len(node.args.defaults):
                continue
            if any(default is None for default in node.args.kw_defaults) or not _returns(node):
                continue
            calls = [whole(one.func, names) for one in ast.walk(node) if isinstance(one, ast.Call)]
            if kind := next((FRAMEWORKS[one] for one in calls if one in FRAMEWORKS), None):
                yield Callable(file, node.name, *kind, is_factory=True)


def _returns(function: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function))


def _plain(file: str, tree: ast.Module) -> Iterator[Callable]:
    """Functions that are an application by themselves."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [one.arg for one in node.args.args]
            if isinstance(node, ast.AsyncFunctionDef) and arguments == ["scope", "receive", "send"]:
                yield Callable(file, node.name, "plain ASGI", ASGI)
            elif arguments == ["environ", "start_response"]:
                yield Callable(file, node.name, "plain WSGI", WSGI)


def _likelihood(one: Callable) -> tuple[bool, int, int, int, str]:
    path = PurePosixPath(one.file)
    by_file = MAIN.index(path.stem) if path.stem in MAIN else len(MAIN)
    by_name = USUAL.index(one.name) if one.name in USUAL else len(USUAL)
    return one.is_factory, by_file, len(path.parts), by_name, one.file


def _has_no_docs(tree: ast.Module) -> bool:
    """Whether FastAPI's own page is switched off, or may be."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and dotted(node.func).endswith("FastAPI")]
    return any(keyword(call, name) is not None for call in calls for name in ("docs_url", "openapi_url", "root_path"))


def _pages(code: Code, app: Callable) -> set[str]:
    """The paths without parameters that are answered, as far as they can be seen; below a prefix, none is."""
    is_below = any(
        isinstance(node, ast.Call)
        and dotted(node.func).rpartition(".")[2] in ("include_router", "register_blueprint", "mount")
        and (keyword(node, "prefix") or keyword(node, "url_prefix"))
        for _, tree in code.trees()
        for node in ast.walk(tree)
    )
    found: set[str] = set()
    for file, tree in code.trees():
        prefixes = {name: _prefix(value) for name, value in assigned(tree) if isinstance(value, ast.Call)}
        for owner, call in _routes(tree):
            is_own = file == app.file and (owner == app.name or owner not in prefixes)
            if (is_own or not is_below) and not _refuses_get(call):
                found.add(prefixes.get(owner, "") + text(call.args[0]))
    return {one for one in found if re.fullmatch(r"/[\w/.-]*", one)}


def _prefix(call: ast.Call) -> str:
    return text(keyword(call, "prefix")) or text(keyword(call, "url_prefix"))


def _routes(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Calls that name a page first, with the object that it is a page of."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for one in node.decorator_list:
                owner, _, name = dotted(one.func).rpartition(".") if isinstance(one, ast.Call) else ("", "", "")
                if isinstance(one, ast.Call) and one.args and name in ("get", "route"):
                    yield owner, one
        elif (
            isinstance(node, ast.Call)
            and node.args
            and dotted(node.func).rpartition(".")[2] in ("Route", "add_url_rule")
        ):
            yield dotted(node.func).rpartition(".")[0], node


def _refuses_get(call: ast.Call) -> bool:
    methods = keyword(call, "methods")
    return methods is not None and "GET" not in ast.unparse(methods).upper()
