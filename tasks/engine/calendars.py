"""Calendar events of systemd's (systemd.time(7)), as far as they can be checked without a systemd."""

import re

SHORT = "minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually"
DAY = "(mon(day)?|tue(sday)?|wed(nesday)?|thu(rsday)?|fri(day)?|sat(urday)?|sun(day)?)"
NUMBER = r"\d{1,4}(\.\d{1,6})?"
PART = rf"(\*|{NUMBER})(\.\.{NUMBER})?(/{NUMBER})?"
PARTS = rf"{PART}(,{PART})*"
DAYS = rf"{DAY}((\.\.|-|,){DAY})*"
DATE = rf"({PARTS}-)?{PARTS}[-~]{PARTS}"
TIME = rf"{PARTS}:{PARTS}(:{PARTS})?"
ZONE = r"utc|[a-z][a-z_]*(/[a-z0-9_+-]+)+"
LIMITS = (24, 60, 60)  # of hours, minutes and seconds


def is_event(text: str) -> bool:
    """Whether systemd would very probably take a text: days of the week, a date, a time; two may be missing."""
    words = text.split()
    if len(words) > 1 and _is(ZONE, words[-1]):
        words.pop()
    if len(words) == 1 and _is(SHORT, words[0]):
        return True
    expected = [DAYS, DATE, TIME]
    for word in words:
        while expected and not _is(expected[0], word):
            expected.pop(0)
        if not expected:
            return False
        if expected.pop(0) == TIME and not _is_of_a_day(word):
            return False
    return bool(words)


def _is(pattern: str, word: str) -> bool:
    return re.fullmatch(pattern, word, re.ASCII | re.IGNORECASE) is not None


def _is_of_a_day(time: str) -> bool:
    """Whether a day has such a time, and no range in it ends before it begins."""
    return all(
        bounds == sorted(bounds) and bounds[-1] < limit
        for parts, limit in zip(time.split(":"), LIMITS, strict=False)
        for bounds in map(_bounds, parts.split(","))
    )


def _bounds(part: str) -> list[float]:
    """The first and the last number of a part of a time."""
    return [float(number) for number in part.partition("/")[0].replace("*", "0").split("..")]
