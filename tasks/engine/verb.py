"""What makes a function a command: Fabric's task, with types, and with --profile."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import fabric

from . import hosts, profiling

F = TypeVar("F", bound=Callable[..., Any])
PROFILE = inspect.Parameter("profile", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool")
ROLE = inspect.Parameter("role", inspect.Parameter.KEYWORD_ONLY, default="", annotation="str")
HELP = {
    "profile": f"print what the time went to, and save it in {profiling.FOLDER}/",
    "role": "only hosts with this role: app, proxy or worker; several with commas between",
}


def verb(
    help: Mapping[str, str] | None = None, iterable: Sequence[str] = (), together: bool = False
) -> Callable[[F], F]:
    """Make a function a Fabric task; it still is called as the function it was.

    It takes ``profile=True``, too, and then tells where its time went; see profiling.py. And ``role="worker"``, for
    the hosts with that role alone.

    :param help: what each option of the command is for.
    :param iterable: the options that may be given more than once.
    :param together: it is one transaction over hosts.together(), and so done once, however many names -H has.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, profile: bool = False, role: str = "", **kwargs: Any) -> Any:
            if together and not hosts.leads(args[0]):
                return None
            recording = profiling.recording(function.__name__) if profile else contextlib.nullcontext()
            with recording, hosts.chosen_by_role(role):
                return function(*args, **kwargs)

        signature = inspect.signature(function)
        command.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*signature.parameters.values(), PROFILE, ROLE]
        )
        return cast(F, fabric.task(help={**(help or {}), **HELP}, iterable=iterable)(command))

    return decorate
