"""The page of the commands, made from the collection itself.

    python docs/reference.py

writes docs/commands.md; a test fails when that is out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from invoke.parser import Argument, ParserContext

from fabrelease.tasks import ns
from fabrelease.tasks.engine.verb import HELP

PAGE = Path(__file__).parent / "commands.md"
GROUPS = {
    "Main": "Every day",
    "Look": "To look",
    "Server": "For the server",
    "Step": "The steps of a deploy",
}
INTRODUCTION = """\
# Commands

    fab -H prod deploy                      # a stage, a host of one, or several hosts with commas between
    fab -H prod setup deploy                # several, one after the other
    fab --list                              # all of them
    fab --help deploy                       # one

Without `-H`, `status` and others that only look show every stage; `deploy`, `rollback` and the like use the only
stage, or `default_stage` of `hosts/all.yml`. What Fabric itself takes comes before the command, such as
`--prompt-for-sudo-password`; all of it: `fab --help`.

Every command takes `--profile`, which prints what its time went to ([profile.md](profile.md)), and `--role`, which
chooses among the hosts ([roles.md](roles.md)).

This page is made by `python docs/reference.py`.

## Exit statuses

| status | means |
| --- | --- |
| 0 | done; of `status`: all is well |
| 1 | failed; what is live was not harmed. Of `status`: something is not well |
| 2 | wrong use or wrong settings; nothing was connected to |
| 3 | the live state needs a person; the last lines say what to type |

`plan --detailed-exitcode` has its own ([doctor.md](doctor.md)).
"""


def page(contexts: Iterable[ParserContext]) -> str:
    """The page's text.

    :param contexts: of ``ns``, which can be made but once: Invoke takes the help texts out of the tasks.
    """
    tasks = sorted(contexts, key=lambda context: (list(GROUPS).index(_group(context)), _head(context)))
    lines = [INTRODUCTION]
    for group, members in groupby(tasks, _group):
        lines.append(f"## {GROUPS[group]}\n")
        for context in members:
            lines.extend(_task(context))
    return "\n".join(lines)


def _task(context: ParserContext) -> Iterator[str]:
    yield f"### {context.name}\n"
    yield f"{_sentence(context)}\n"
    options = [argument for argument in _arguments(context) if argument.name not in HELP]
    if options:
        yield "| option | is |\n| --- | --- |"
        yield from (f"| {_names(argument)} | {_cell(argument.help or '')} |" for argument in options)
        yield ""


def _arguments(context: ParserContext) -> list[Argument]:
    return list(dict.fromkeys(context.args.values()))  # an argument is there once for each of its names


def _names(argument: Argument) -> str:
    value = {bool: "", int: " N", list: " TEXT, as often as wanted"}.get(argument.kind, " TEXT")
    if argument.positional:
        return f"its argument, or `--{argument.name}`"
    spelled = [f"--{name}" if len(name) > 1 else f"-{name}" for name in sorted(argument.names, key=len, reverse=True)]
    return ", ".join(f"`{name}`" for name in spelled) + value


def _head(context: ParserContext) -> str:
    return _doc(context).partition(": ")[0]


def _group(context: ParserContext) -> str:
    return _head(context).split()[0]


def _sentence(context: ParserContext) -> str:
    head, _, text = _doc(context).partition(": ")
    return f"{head}: {text}" if head.startswith("Step") else text[0].upper() + text[1:]


def _doc(context: ParserContext) -> str:
    task: Any = ns[str(context.name)]
    return " ".join((task.__doc__ or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(ns.to_contexts()), encoding="utf-8")
