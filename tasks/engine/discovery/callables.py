"""The WSGI or ASGI application in a project's code, and its workers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from .code import Code, assigned, dotted, imported, module_of, whole

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
        for name, value, _ in assigned(tree):
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


def celery(code: Code) -> str:
    """The file that has the Celery application; empty where none has."""
    for file, tree in code.trees():
        names = imported(tree)
        for _, value, _ in assigned(tree):
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
