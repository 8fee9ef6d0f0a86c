"""The logs on a host: how much of one is read, and which of its lines are told."""

from __future__ import annotations

from pathlib import Path

from fabrelease.tasks.engine.remote import logs

TRACEBACK = [
    "[7] [ERROR] Exception in worker process",
    "Traceback (most recent call last):",
    *(f'  File "/srv/app/{number}.py", line 1, in <module>' for number in range(30)),
    "RuntimeError: no database today",
]
OF_THE_SERVER = ["Traceback (most recent call last):", *["  of the server"] * 40, "HaltServer: Worker failed to boot."]


def test_of_a_log_the_lines_after_a_position_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("before\n")
    offset = path.stat().st_size
    with path.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(4))
    assert logs.Tail(str(path), offset).lines() == [f"line {number}" for number in range(4)]
    path.write_text("new\n")  # shorter than it was: another file by now
    assert logs.Tail(str(path), offset).lines() == ["new"]
    assert logs.Tail(str(tmp_path / "none.log"), 0).lines() == []


def test_no_more_of_a_log_is_read_than_its_end(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    path.write_text("x" * 100_000 + "\nlast\n")
    assert sum(map(len, logs.Tail(str(path), 0).lines())) <= logs.BYTES
    assert logs.Tail(str(path), 0).lines()[-1] == "last"


def test_the_reason_is_told_though_other_tracebacks_follow() -> None:
    told = logs.telling([*TRACEBACK, "between", *TRACEBACK, *OF_THE_SERVER])
    assert len(told) == logs.LINES
    assert told[logs.CAUSE - 1 : logs.CAUSE + 1] == ["RuntimeError: no database today", "…"]
    assert told[-1] == "HaltServer: Worker failed to boot."


def test_of_few_lines_all_are_told_and_of_a_log_without_a_reason_the_last() -> None:
    assert logs.telling(["one", "two"]) == ["one", "two"]
    assert logs.telling([]) == []
    assert logs.telling(TRACEBACK[-9:]) == TRACEBACK[-9:]
    assert logs.telling([str(number) for number in range(99)]) == [str(number) for number in range(84, 99)]


def test_a_traceback_that_is_cut_off_or_a_line_without_an_end_is_no_trouble() -> None:
    assert logs.telling([*TRACEBACK[:-1]])[-1] == TRACEBACK[-2]
    (told,) = logs.telling(["x" * 99_999])
    assert len(told) == logs.WIDTH + 1
