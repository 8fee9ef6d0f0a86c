"""The pages that nginx shows with errors: copies that are root's, in a release's configuration.

So they are there when the application's programs are not, and go back with a rollback.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping

from . import files, kinds, releases, tree
from .failure import Failed

LARGEST = 1 << 20  # bytes of one: it has to be read whole while something is wrong


def copy(root: str, release: str, pages: Mapping[str, str]) -> None:
    """Copy pages of a release's source into its configuration.

    :param pages: status to the file, relative to ``public/``.
    :raises Failed: one is not there, too large, or no plain file of the release's own.
    """
    place = releases.directory(root, release)
    found = [_entry(place, status, path) for status, path in pages.items()]
    files.install(found, durable=False)


def _entry(place: str, status: str, path: str) -> files.File:
    try:
        content = _read(f"{place}/public", path.split("/"))
    except OSError as error:
        raise Failed(
            kinds.ERROR_PAGE,
            f"site.error_pages: {status}: {path} cannot be read: {error.strerror}; nothing was touched",
            "Name a plain file of the revision, or of what hooks.build makes, that no link leads to.",
        ) from None
    if len(content) > LARGEST:
        raise Failed(
            kinds.ERROR_PAGE,
            f"site.error_pages: {status}: {path} is larger than {LARGEST} bytes; nothing was touched",
            "Take what is large out of it: no other file of the site may be there when it is shown.",
        )
    return files.entry(f"{place}/config/errors/{status}.html", content)


def _read(public: str, parts: list[str]) -> bytes:
    """A file's content, up to one byte too much; a directory of the application's may be on the way by a link."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tree.within(public))
        for part in parts[:-1]:
            folder = stack.enter_context(tree.opened(folder, part))
        handle = stack.enter_context(tree.opened(folder, parts[-1], tree.FILE))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "it is no file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(LARGEST + 1)
