"""Which server goes with which manager, and with what else in the settings."""

from __future__ import annotations

from .remote import drivers

WHY_PATH = "opens its own socket"
WHY_DESCRIPTOR = "takes only a socket that its manager has opened"


def managers_for(server: str) -> list[str]:
    """The packaged managers that a server goes with."""
    takes = drivers.server(server).takes
    return [name for name in drivers.packaged("managers") if takes & drivers.manager(name).gives]


def problem(server: str, manager: str) -> tuple[str, str] | None:
    """Why a server does not go with a manager, and what would; None where it does."""
    if drivers.server(server).takes & drivers.manager(manager).gives:
        return None
    does = WHY_DESCRIPTOR if drivers.DESCRIPTOR in drivers.server(server).takes else WHY_PATH
    return (
        f"{server} {does}, and {manager} does not go with that",
        f"with {server}: manager: {' or '.join(managers_for(server)) or 'none of those there are'}",
    )
