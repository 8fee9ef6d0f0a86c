"""What Python has on Unix alone.

A host has it. A control machine need not: it imports what is shipped for its names, and runs none of it.
"""

from __future__ import annotations

try:
    import fcntl
    import grp
    import pwd
    from os import O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK
except ImportError:
    fcntl = grp = pwd = None  # type: ignore[assignment]
    O_CLOEXEC = O_DIRECTORY = O_NOFOLLOW = O_NONBLOCK = 0  # type: ignore[misc]

__all__ = ["O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fcntl", "grp", "pwd"]
