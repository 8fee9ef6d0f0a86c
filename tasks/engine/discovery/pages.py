"""The pages that an application answers, as far as its code shows them, and the one to ask a new release for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from .callables import Callable
from .code import Code, assigned, dotted, imported, keyword, module_of, text, whole

HEALTH = re.compile(r"/(?:api/)?(?:v\d/)?(?:health|healthz|health[_-]?check|ping|up|livez|status)/?")
PRIVATE = re.compile("account|admin|auth|delete|log-?in|log-?out|me$|settings|token|user")
PLAIN = re.compile(r"/[\w/.-]*")
PREFIXES = ("prefix", "url_prefix")
JOINS = ("include_router", "register_blueprint")
DEPTH = 6  # of routers that are part of one another
UNKNOWN = None


def choose(pages: set[str]) -> str:
    """The best of some pages to ask for: the first, or one that is made for it; empty where none is."""
    if "/" in pages:
        return "/"
    return next((one for one in sorted(pages, key=len) if HEALTH.fullmatch(one)), "")


def to_ask(code: Code, app: Callable, base: str) -> tuple[str, bool]:
    """The page to ask for, and whether it is known to be there.

    :param base: the directory that modules are imported from.
    """
    pages = Routes(code, base).pages()
    chosen = choose(pages) or (_documentation(code.tree(app.file)) if app.framework == "FastAPI" else "")
    if chosen:
        return chosen, True
    return next((one for one in sorted(pages, key=len) if not PRIVATE.search(one)), "/"), False


def websockets(code: Code) -> list[str]:
    """The prefixes of paths at which applications take WebSockets."""
    found = set()
    for _, tree in code.trees():
        for call in _calls(tree):
            if dotted(call.func).rpartition(".")[2] in ("websocket", "WebSocketRoute") and call.args:
                found.add(re.sub(r"[^/]*[{<].*", "", text(call.args[0])).rstrip("/") + "/")
    return sorted(one for one in found if PLAIN.fullmatch(one) and one != "/")


class Routes:
    """The routes in a project's code, with the prefixes of the routers and blueprints that they belong to."""

    def __init__(self, code: Code, base: str) -> None:
        self.code, self.base = code, base
        self.own: dict[str, str | None] = {}
        self.joined: dict[str, tuple[str, str | None]] = {}
        for file, tree in code.trees():
            for name, value, _ in assigned(tree):
                if isinstance(value, ast.Call):
                    self.own[self._whole(file, ast.Name(name))] = _prefix(value)
            for call in _calls(tree):
                if isinstance(call.func, ast.Attribute) and call.func.attr in JOINS and call.args:
                    parent = self._whole(file, call.func.value)
                    self.joined[self._whole(file, call.args[0])] = (parent, _prefix(call))

    def pages(self) -> set[str]:
        """The paths without parameters that are answered."""
        found = set()
        for file, tree in self.code.trees():
            for owner, call in _routes(tree):
                prefix = self._prefix(self._whole(file, owner), DEPTH) if owner else ""
                if prefix is not UNKNOWN and not _refuses_get(call):
                    found.add(prefix + text(call.args[0]))
        return {one for one in found if PLAIN.fullmatch(one)}

    def _whole(self, file: str, node: ast.expr) -> str:
        """The whole name of an object, by which other files import it."""
        is_below = self.base == "." or file.startswith(f"{self.base}/")
        module = module_of(file, self.base if is_below else ".")
        package = module if PurePosixPath(file).name == "__init__.py" else module.rpartition(".")[0]
        names, name = imported(self.code.tree(file), package), whole(node, {})
        return whole(node, names) if name.partition(".")[0] in names else f"{module}.{name}"

    def _prefix(self, owner: str, depth: int) -> str | None:
        own = self.own.get(owner, "")
        if owner not in self.joined or not depth:
            return own
        parent, prefix = self.joined[owner]
        before = self._prefix(parent, depth - 1)
        return UNKNOWN if before is UNKNOWN or prefix is UNKNOWN or own is UNKNOWN else before + prefix + own


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _prefix(call: ast.Call) -> str | None:
    """What a call puts before paths; unknown where that is no plain text."""
    given = next((value for name in PREFIXES if (value := keyword(call, name)) is not None), None)
    is_none = given is None or (isinstance(given, ast.Constant) and given.value is None)
    return "" if is_none else text(given) or UNKNOWN


def _routes(tree: ast.Module) -> Iterator[tuple[ast.expr | None, ast.Call]]:
    """Calls that name a page first, with the object that it is a page of, where one is named."""
    mounted = {id(inner) for call in _calls(tree) if dotted(call.func).endswith("Mount") for inner in ast.walk(call)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for one in node.decorator_list:
                if not (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.args):
                    continue
                if one.func.attr in ("get", "route"):
                    yield one.func.value, one
        elif isinstance(node, ast.Call) and node.args and id(node) not in mounted:
            if dotted(node.func).rpartition(".")[2] == "Route":
                yield None, node
            elif isinstance(node.func, ast.Attribute) and node.func.attr == "add_url_rule":
                yield node.func.value, node


def _documentation(tree: ast.Module) -> str:
    """FastAPI's own page about the application; empty where it is, or may be, switched off."""
    for call in _calls(tree):
        if dotted(call.func).endswith("FastAPI"):
            page, schema = keyword(call, "docs_url"), keyword(call, "openapi_url")
            if schema is not None and any(getattr(part, "value", "") is None for part in ast.walk(schema)):
                return ""
            return text(page) if page is not None else "/docs"
    return "/docs"


def _refuses_get(call: ast.Call) -> bool:
    methods = keyword(call, "methods")
    return methods is not None and "GET" not in ast.unparse(methods).upper()
