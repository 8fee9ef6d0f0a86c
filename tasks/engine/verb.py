"""What makes a function a command: Fabric's task, with types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import fabric

F = TypeVar("F", bound=Callable[..., Any])


def verb(**options: Any) -> Callable[[F], F]:
    """Make a function a Fabric task; it still is called as the function it was.

    :param options: those of ``fabric.task``, such as ``help``.
    """
    return cast(Callable[[F], F], fabric.task(**options))
