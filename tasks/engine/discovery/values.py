"""What a module's names stand for, as far as that can be seen without running it."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Callable
from pathlib import PurePosixPath

from .code import Code, Tests, assigned, dotted, keyword, text, top_level
from .variables import inside

DEPTH = 12  # of modules that take all from one another, and of names that stand for names
SAME = frozenset({"Path", "pathlib.Path", "str", "os.path.abspath", "os.path.realpath", "os.path.normpath", "root"})
SAME_METHODS = frozenset({"resolve", "absolute", "as_posix", "expanduser"})


class Names:
    """The names of a module, with those that it takes from others of the project.

    :param file: its file.
    :param base: the directory that modules are imported from.
    """

    def __init__(self, code: Code, file: str, base: str) -> None:
        self.code, self.base = code, base
        self.files: list[str] = []
        self.values: dict[str, list[tuple[ast.expr, str]]] = {}
        self.tests: dict[ast.expr, Tests] = {}
        self._read(file, DEPTH)

    def value(self, name: str) -> ast.expr | None:
        """What a name stands for in the end."""
        return self.values[name][-1][0] if name in self.values else None

    def all_values(self, name: str) -> list[ast.expr]:
        """Everything that is given to a name, or to a key of it."""
        return [value for value, _ in self.values.get(name, [])]

    def strings(self) -> set[str]:
        """Every text in these modules."""
        trees = [self.code.tree(file) for file in self.files]
        return {text(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}

    def path(self, name: str) -> PurePosixPath | None:
        """The path that a name stands for, from the root of the code; None where that cannot be seen."""
        return self.path_of(self.values[name][-1][0]) if name in self.values else None

    def path_of(self, node: ast.expr) -> PurePosixPath | None:
        """The path that an expression in the last of these modules stands for."""
        file = next(
            (where for values in self.values.values() for value, where in values if value is node), self.files[-1]
        )
        found = self._path(node, file, DEPTH)
        return PurePosixPath(posixpath.normpath(found)) if found is not None else None

    def _read(self, file: str, depth: int) -> None:
        if not file or file in self.files or not depth:
            return
        tree = self.code.tree(file)
        for statement, _ in top_level(tree.body):
            if isinstance(statement, ast.ImportFrom) and any(one.name == "*" for one in statement.names):
                self._read(self._imported(statement, file), depth - 1)
        self.files.append(file)
        for name, value, tests in assigned(tree):
            self.tests[value] = tests
            self.values.setdefault(name, []).append((value, file))

    def _imported(self, statement: ast.ImportFrom, file: str) -> str:
        """The file of the module that an import names."""
        if not statement.level:
            return self.code.file_of(statement.module or "", self.base)
        package = PurePosixPath(file).parents[statement.level - 1]
        return self.code.file_of(statement.module or "__init__", package.as_posix())

    def _path(self, node: ast.expr, file: str, depth: int) -> PurePosixPath | None:
        """A path: absolute where it does not begin with the code's own place."""
        if not depth:
            return None

        def of(inner: ast.expr) -> PurePosixPath | None:
            return self._path(inner, file, depth - 1)

        if isinstance(node, ast.Name):
            return PurePosixPath(file) if node.id == "__file__" else self._named(node.id, depth)
        if isinstance(node, ast.Constant):
            return PurePosixPath(node.value) if isinstance(node.value, str) else None
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            return _above(of(node.value), 1)
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
            return _above(of(node.value.value), _number(node.slice) + 1)
        if isinstance(node, ast.BinOp):
            return self._operation(node, of)
        return self._call(node, of) if isinstance(node, ast.Call) else None

    def _named(self, name: str, depth: int) -> PurePosixPath | None:
        return self._path(*self.values[name][-1], depth - 1) if name in self.values else None

    def _operation(self, node: ast.BinOp, of: Callable[[ast.expr], PurePosixPath | None]) -> PurePosixPath | None:
        left = of(node.left)
        if isinstance(node.op, ast.Sub):  # environ.Path(__file__) - 3
            return _above(left, _number(node.right))
        right = of(node.right)
        if left is None or right is None:
            return None
        return left / right if isinstance(node.op, ast.Div) else PurePosixPath(f"{left}{right}")

    def _call(self, node: ast.Call, of: Callable[[ast.expr], PurePosixPath | None]) -> PurePosixPath | None:
        function = dotted(node.func)
        if isinstance(node.func, ast.Attribute) and node.func.attr in SAME_METHODS:
            return of(node.func.value)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("joinpath", "path") and function not in SAME:
            return _joined([of(node.func.value), *map(of, node.args)])
        if function == "os.path.dirname" and node.args:
            return _above(of(node.args[0]), 1)
        if inside(node):
            default = keyword(node, "default") or (node.args[1] if len(node.args) > 1 else None)
            return of(default) if default is not None else None
        if function in (*SAME, "os.path.join", "environ.Path") or function in self.values:
            own = [self._named(function, DEPTH)] if function in self.values else []
            return _joined([*own, *map(of, node.args)])
        return None


def _above(path: PurePosixPath | None, steps: int) -> PurePosixPath | None:
    parents = [path, *path.parents] if path is not None else []
    return parents[steps] if steps < len(parents) else None


def _number(node: ast.expr) -> int:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else MANY


def _joined(parts: list[PurePosixPath | None]) -> PurePosixPath | None:
    known = [part for part in parts if part is not None]
    return PurePosixPath(*known) if known and len(known) == len(parts) else None


MANY = 1 << 30
