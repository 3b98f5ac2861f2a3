"""WebSocket frames, as another implementation reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from shared.realtime import frames


def read(data: bytes) -> Frame:
    """Give the frame that the websockets package reads, as a server does, and nothing after it."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing = Frame.parse(reader.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert len(reader.buffer) == 0
    frame: Frame = done.value.value
    return frame


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_a_text_comes_out_as_it_went_in(payload: bytes, key: bytes) -> None:
    frame = read(frames.text(payload, key))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)


@pytest.mark.parametrize("length", [0, 1, 3, 125, 126, 127, 65535, 65536, 200_001])
def test_each_form_of_the_length(length: int) -> None:
    payload = bytes(i % 251 for i in range(length))
    frame = read(frames.text(payload, b"\x00\xff\x10\x7f"))
    assert bytes(frame.data) == payload


def test_it_is_masked() -> None:
    assert frames.text(b"Hello", b"\x37\xfa\x21\x3d").hex() == "818537fa213d7f9f4d5158"
