"""The environment variables that a project's code reads: os.environ, django-environ, environs, decouple, pydantic."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .code import Code, dotted, keyword, text

NAME = re.compile(r"[A-Z][A-Z0-9_]*")
READERS = frozenset({"env", "ENV", "config", "get_env", "get_env_variable", "get_secret"})
# What projects call a function of their own that does without.
HELPERS = re.compile(r"(os\.)?getenv|env[a-z_]+|secret")
GETTERS = frozenset({"os.environ.get", "environ.get", "os.environ.pop", "environ.pop"})
MAPPINGS = frozenset({"os.environ", "environ"})
CASTS = frozenset(
    [
        "bool",
        "cache_url",
        "cache",
        "db",
        "db_url",
        "dict",
        "dj_db_url",
        "email",
        "email_url",
        "enum",
        "float",
        "int",
        "json",
        "list",
        "log_level",
        "path",
        "search_url",
        "str",
        "timedelta",
        "tuple",
        "url",
    ]
)
NO_DEFAULT = object()
# The system, the launcher and the programs set these; no settings file has to.
ALWAYS_THERE = frozenset(
    [
        "CI",
        "DJANGO_SETTINGS_MODULE",
        "HOME",
        "HOSTNAME",
        "LANG",
        "LOGNAME",
        "PATH",
        "PWD",
        "PYTHONPATH",
        "SHELL",
        "TERM",
        "TMPDIR",
        "TZ",
        "USER",
    ]
)
FOR_DEVELOPMENT = re.compile(r"(local|dev|devel|development|test|testing|ci)([_.]|$)")


@dataclass(frozen=True)
class Variable:
    """A variable that is read.

    :ivar default: what is taken where it is not set; NO_DEFAULT where it has to be, None where that is not known.
    :ivar where: file and line.
    """

    name: str
    default: Any
    where: str = ""

    @property
    def is_required(self) -> bool:
        """Whether the application fails without it."""
        return self.default is NO_DEFAULT


def read_by(code: Code) -> list[Variable]:
    """All that is read, each once and in order of names; one is required where any of its readings requires it."""
    found: dict[str, Variable] = {}
    optional: set[str] = set()
    for file, tree in code.trees():
        if FOR_DEVELOPMENT.match(PurePosixPath(file).name):
            continue
        switched = _switched(tree)
        for node in ast.walk(tree):
            optional |= _asked_for(node)
            for one in _variables(node):
                default = None if one.is_required and id(node) in switched else one.default
                if one.name not in ALWAYS_THERE and (one.name not in found or default is NO_DEFAULT):
                    found[one.name] = Variable(one.name, default, f"{file}:{getattr(node, 'lineno', 0)}")
    return [
        Variable(one.name, None, one.where) if one.name in optional and one.is_required else one
        for _, one in sorted(found.items())
    ]


def inside(node: ast.expr) -> Variable | None:
    """The first variable that an expression reads."""
    return next((one for part in ast.walk(node) if (one := reading(part))), None)


def reading(node: ast.AST) -> Variable | None:
    """The variable that is read here, if one is."""
    if isinstance(node, ast.Subscript) and dotted(node.value) in MAPPINGS and isinstance(node.ctx, ast.Load):
        return _named(text(node.slice), NO_DEFAULT)
    if not isinstance(node, ast.Call) or not node.args:
        return None
    function, name = dotted(node.func), text(node.args[0])
    if function in GETTERS or HELPERS.fullmatch(function):
        return _named(name, _default(node, None))
    if function.endswith(".from_envvar"):  # of Flask's configuration: the name of a file
        return _named(name, None if _constant(keyword(node, "silent")) else NO_DEFAULT)
    if function in READERS:
        return _named(name, _default(node, NO_DEFAULT))
    owner, _, cast = function.rpartition(".")
    if owner in ("env", "ENV") and cast in CASTS:
        return _named(name, _default(node, NO_DEFAULT))
    return None


def _variables(node: ast.AST) -> Iterator[Variable]:
    if one := reading(node):
        yield one
    if isinstance(node, ast.Call) and dotted(node.func) in ("dj_database_url.config", "dj_database_url"):
        yield Variable(text(keyword(node, "env")) or "DATABASE_URL", _constant(keyword(node, "default")))
    if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("Settings") for base in node.bases):
        yield from _fields(node)


def _named(name: str, default: Any) -> Variable | None:
    return Variable(name, default) if NAME.fullmatch(name) else None


def _default(call: ast.Call, otherwise: Any) -> Any:
    """What is taken where a variable is not set; of a second argument only a value is one, for it may be a type."""
    given = keyword(call, "default")
    if given is None and len(call.args) > 1 and not isinstance(call.args[1], (ast.Name, ast.Attribute)):
        given = call.args[1]
    return _constant(given) if given is not None else otherwise


def _constant(node: ast.expr | None) -> Any:
    """A value that stands there as it is; None for one that is computed."""
    if isinstance(node, ast.JoinedStr):  # its beginning is enough to know what kind of address it is
        return text(node.values[0]) if node.values else ""
    try:
        return ast.literal_eval(node) if node is not None else None
    except ValueError:
        return None


def _switched(tree: ast.Module) -> set[int]:
    """What is only run where some variable is set, by identity: nobody who does not set that one needs it."""
    switches = [node for node in ast.walk(tree) if isinstance(node, ast.If) and _asks(node.test)]
    return {id(part) for node in switches for statement in node.body for part in ast.walk(statement)}


def _asks(test: ast.expr) -> bool:
    if isinstance(test, ast.BoolOp):
        return any(map(_asks, test.values))
    is_in = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In)
    return reading(test) is not None or (is_in and bool(_asked_for(test)))


def _asked_for(node: ast.AST) -> set[str]:
    """What ``"NAME" in os.environ`` asks for before it is read, or ``Env(NAME=(bool, False))`` gives a default."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return {text(node.left)} if dotted(node.comparators[0]) in (*MAPPINGS, "env") else set()
    if not (isinstance(node, ast.Call) and dotted(node.func) in ("environ.Env", "Env", "FileAwareEnv")):
        return set()
    return {one.arg for one in node.keywords if one.arg and isinstance(one.value, ast.Tuple)}


def _fields(model: ast.ClassDef) -> Iterator[Variable]:
    """The variables that a model of pydantic's settings reads."""
    prefix = _prefix(model)
    for statement in model.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name, value = statement.target.id, statement.value
        if name.startswith("_") or name == "model_config" or "ClassVar" in ast.dump(statement.annotation):
            continue
        alias = ""
        if isinstance(value, ast.Call) and dotted(value.func).endswith("Field"):
            named = [text(keyword(value, key)) for key in ("validation_alias", "alias", "env")]
            alias, value = next(filter(None, named), ""), _of_field(value)
        yield Variable(alias or f"{prefix}{name}".upper(), NO_DEFAULT if value is None else _constant(value))


def _of_field(call: ast.Call) -> ast.expr | None:
    given = call.args[0] if call.args else keyword(call, "default") or keyword(call, "default_factory")
    return None if isinstance(given, ast.Constant) and given.value is Ellipsis else given


def _prefix(model: ast.ClassDef) -> str:
    for node in ast.walk(model):
        if isinstance(node, ast.keyword) and node.arg == "env_prefix":
            return text(node.value)
        if isinstance(node, ast.Assign) and [dotted(one) for one in node.targets] == ["env_prefix"]:
            return text(node.value)
    return ""
