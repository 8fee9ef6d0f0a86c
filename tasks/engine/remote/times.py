"""Times as release.json, the history and all that programs are told write them: in UTC, by the second."""

from __future__ import annotations

import calendar
import time

FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def utc(seconds: float | None = None) -> str:
    """A time in seconds since 1970; now where it is None."""
    return time.strftime(FORMAT, time.gmtime(seconds))


def seconds(stamp: str) -> float:
    """The seconds since 1970 of such a time.

    :raises ValueError: it is none.
    """
    return calendar.timegm(time.strptime(stamp, FORMAT))
