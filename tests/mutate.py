"""Change lines of the remote side on purpose, one at a time, and see whether a unit test fails.

    python -m tests.mutate [--count 60] [--seed 1] [lock wire releases cutover tree process]

It works on a copy of the checkout. A change that no test notices is shown: it wants a test.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REMOTE = "tasks/engine/remote"
SECONDS = 120  # a change that makes the tests run for longer is noticed
TESTS = {  # that run what is in a module
    "cutover": "test_cutover test_recovery",
    "lock": "test_lock",
    "process": "test_process",
    "releases": "test_releases test_recovery test_options",
    "tree": "test_tree",
    "wire": "test_wire test_agent",
}
OTHERS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
}


def changes(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """Each changed module, with the line and what was done there."""
    for number, node in enumerate(ast.walk(tree)):
        if what := _change(copy.deepcopy(node)):
            changed = copy.deepcopy(tree)
            target = next(one for place, one in enumerate(ast.walk(changed)) if place == number)
            _change(target)
            yield getattr(node, "lineno", 0), what, changed


def _change(node: ast.AST) -> str | None:
    """Change a node in place and tell how; None where there is nothing to change."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHERS:
        node.ops[0] = OTHERS[type(node.ops[0])]()  # type: ignore[call-overload]
        return "another comparison"
    if isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in OTHERS:
        node.op = OTHERS[type(node.op)]()  # type: ignore[assignment]
        return "another operator"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
        return "not left out"
    if isinstance(node, ast.If):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition turned round"
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        node.value = ast.Constant(None)
        return "nothing returned"
    if isinstance(node, (ast.FunctionDef, ast.With, ast.For)):
        for place, one in enumerate(node.body):
            if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
                node.body[place] = ast.copy_location(ast.Pass(), one)
                return f"left out: {ast.unparse(one)}"
    return None


def is_noticed(copy_of: Path, module: str) -> bool:
    """Whether a test of a changed module fails."""
    tests = [
        f"tests/unit/{name}.py" for name in TESTS[module].split() if (copy_of / f"tests/unit/{name}.py").exists()
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    env = {**os.environ, "PYTHONPATH": str(copy_of.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy_of, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(TESTS))
    parser.add_argument("--count", type=int, default=60, help="how many changes, chosen at random (%(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="to choose the same again; printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "fabrelease")
        shutil.copytree(
            ROOT, place, ignore=shutil.ignore_patterns(".git", ".tox", ".venv", "__pycache__", "*.egg-info")
        )
        return run(place, options)


def run(place: Path, options: argparse.Namespace) -> int:
    """Make the changes; the exit status tells whether all were noticed."""
    names = options.modules or list(TESTS)
    if broken := [name for name in names if is_noticed(place, name)]:
        raise SystemExit(f"the tests fail without any change: {', '.join(broken)}")
    sources = {name: (place / REMOTE / f"{name}.py").read_text() for name in names}
    there = [(name, *change) for name in names for change in changes(ast.parse(sources[name]))]
    chosen = random.Random(options.seed).sample(there, min(options.count, len(there)))
    print(f"seed {options.seed}: {len(chosen)} of {len(there)} changes", flush=True)
    unnoticed = 0
    for name, line, what, changed in sorted(chosen, key=lambda one: one[:2]):
        path = place / REMOTE / f"{name}.py"
        path.write_text(ast.unparse(ast.fix_missing_locations(changed)))
        noticed = is_noticed(place, name)
        path.write_text(sources[name])
        unnoticed += not noticed
        print(f"{'noticed' if noticed else 'UNNOTICED':10} {REMOTE}/{name}.py:{line}: {what}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} changes were noticed")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
