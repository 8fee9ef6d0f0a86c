"""What doctor makes of numbers that no test can bring about on a real machine."""

from __future__ import annotations

import pytest

from fabrelease.tasks.engine import examination
from fabrelease.tasks.engine.remote import doctor

GB = 1 << 30


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"MemTotal": 4 * GB, "MemAvailable": GB, "SwapTotal": 0, "SwapFree": 0}, []),
        ({"MemTotal": GB // 2, "MemAvailable": GB // 4, "SwapTotal": GB, "SwapFree": GB}, []),
        ({"MemTotal": GB // 2, "MemAvailable": GB // 4, "SwapTotal": 0, "SwapFree": 0}, ["there is no swap, and 512 MB"]),
        ({"MemTotal": 4 * GB, "MemAvailable": 50 << 20, "SwapTotal": GB, "SwapFree": 20 << 20}, ["70 MB of memory are left"]),
        ({}, []),
    ],
)
def test_little_memory_is_told(known: dict[str, int], said: list[str]) -> None:
    found = [what for what, _, _ in doctor.scarce(known)]
    assert len(found) == len(said)
    assert all(one.startswith(words) for one, words in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("there", "said"),
    [(1000.0, ""), (995.5, ""), (1007.0, ""), (900.0, "its clock is 100 seconds behind ours"), (1100.0, "98 seconds ahead of")],
)
def test_a_clock_is_wrong_by_what_the_question_itself_does_not_explain(there: float, said: str) -> None:
    found = [one["what"] for one in examination.clock(there, 1000.0, 1002.0)]
    assert bool(found) is bool(said)
    assert said in "".join(found)
