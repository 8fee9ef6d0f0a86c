"""The frames between the control machine and a host."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine.remote import process, wire


@given(st.lists(st.tuples(st.sampled_from([wire.CALL, wire.DATA, wire.HEARTBEAT]), st.binary(max_size=200))))
def test_frames_are_read_as_they_were_packed_up_to_the_end(frames: list[tuple[bytes, bytes]]) -> None:
    stream = io.BytesIO(b"".join(wire.pack(*frame) for frame in frames))
    assert [wire.read(stream) for _ in frames] == frames
    assert wire.read(stream) is None


def test_what_is_no_bytes_goes_as_json() -> None:
    assert wire.read(io.BytesIO(wire.pack(wire.RESULT, {"é": 1}))) == (wire.RESULT, b'{"\\u00e9": 1}')


@pytest.mark.parametrize("length", range(1, 8))
def test_a_frame_that_is_cut_off_is_none(length: int) -> None:
    assert wire.read(io.BytesIO(wire.pack(wire.DATA, b"abc")[:length])) is None


def test_the_largest_frame_is_sent_and_read_and_a_larger_one_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "FRAME_BYTES", 10)
    assert wire.read(io.BytesIO(wire.pack(wire.DATA, b"x" * 10))) == (wire.DATA, b"x" * 10)
    with pytest.raises(wire.TooLarge, match="11 bytes in one piece, where 10 is the most"):
        wire.pack(wire.DATA, b"x" * 11)
    with pytest.raises(wire.TooLarge):
        wire.read(io.BytesIO(struct.pack(">cI", wire.DATA, 11) + b"x" * 11))


def test_a_text_is_cut_where_it_is_too_long_and_says_by_how_much() -> None:
    assert wire.cut("12345", 5) == "12345"
    assert wire.cut("123456", 5) == "12345 … (cut: 1 more characters)"


def test_a_line_that_was_cut_where_it_was_read_is_not_cut_again() -> None:
    (line,) = process.run(["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x"]).lines
    assert line.endswith(process.CUT)
    assert wire.cut(line, wire.LINE_CHARACTERS) == line
