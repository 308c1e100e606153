"""The reader of server-sent events, byte by byte."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.server_sent import Frame, FrameReader

STREAM = (
    "\ufeff: hello\n\n"
    'id: 1\nevent: snapshot\ndata: {"a": 1}\n\n'
    "id:2\r\nevent:output.delta\r\ndata: höhe\r\ndata:  two\r\n\r\n"
    "retry: 1500\n\n"
    "data\n\n"
    "event: nothing said\n\n"
    "id: no\0ne\ndata: x\n\n"
    "id: 9\ndata: not whole"
).encode()
FRAMES = [
    Frame("1", "snapshot", '{"a": 1}'),
    Frame("2", "output.delta", "höhe\n two"),
    Frame("", "message", ""),
    Frame("", "message", "x"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_frames_are_the_same_however_the_bytes_come(cuts):
    reader = FrameReader()
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(places)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == FRAMES
    assert reader.retry_seconds == 1.5


def test_a_line_without_an_end_is_refused():
    reader = FrameReader()
    with pytest.raises(ValueError, match="a line of more than"):
        list(reader.feed(b"x" * 20_000_000))
