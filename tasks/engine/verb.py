"""What makes a function a command: Fabric's task, with types, and with --profile."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import fabric

from . import completion, events, hosts, interruption, profiling, terminal

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = {
    "profile": f"print what the time went to, and save it in {profiling.FOLDER}/",
    "role": "only hosts with this role: app, proxy, worker or scheduler; several with commas between",
}
DEFAULTS: dict[str, str | bool] = {"role": ""}  # of the others: False
OPTIONS_OF_CHANGES = {
    "json": "for programs: what happens, an object a line; see docs/json.md",
    "quiet": "say only what is not as it should be",
}


def verb(
    help: Mapping[str, str] | None = None, iterable: Sequence[str] = (), together: bool = False
) -> Callable[[F], F]:
    """Make a function a Fabric task; it still is called as the function it was.

    It takes ``profile=True``, too, and then tells where its time went; see profiling.py. And ``role="worker"``, for
    the hosts with that role alone. With *together* it takes ``json=True`` and ``quiet=True``; see events.py.

    :param help: what each option of the command is for.
    :param iterable: the options that may be given more than once.
    :param together: it is one transaction over hosts.together(), and so done once, however many names -H has.
    """

    options = {**OPTIONS, **(OPTIONS_OF_CHANGES if together else {})}

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, profile: bool = False, role: str = "", **kwargs: Any) -> Any:
            if together and not hosts.leads(args[0]):
                return None
            recording = profiling.recording(function.__name__) if profile else contextlib.nullcontext()
            voice = _change_told(function.__name__, kwargs) if together else _answer_told(kwargs)
            try:
                with recording, voice, hosts.chosen_by_role(role):
                    return function(*args, **kwargs)
            finally:
                completion.remember(hosts.seen())

        signature = inspect.signature(function)
        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), *map(_option, options)]
        )
        return cast(F, fabric.task(help={**(help or {}), **options}, iterable=iterable)(command))

    return decorate


def _option(name: str) -> inspect.Parameter:
    default = DEFAULTS.get(name, False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=type(default).__name__)


@contextlib.contextmanager
def _change_told(name: str, options: dict[str, Any]) -> Iterator[None]:
    """Tell what a command changes, as its options say, which are taken out of them."""
    json, quiet = (options.pop(option, False) for option in OPTIONS_OF_CHANGES)
    if json:
        how: contextlib.AbstractContextManager[None] = events.telling(name)
    else:
        how = terminal.told_by(terminal.Quiet()) if quiet else contextlib.nullcontext()
    with how, interruption.explained():
        yield


def _answer_told(options: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Tell programs why they get no answer, where they ask for one."""
    return events.failures() if options.get("json") else contextlib.nullcontext()
