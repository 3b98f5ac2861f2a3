"""WebSocket frames against another implementation of them, and against what is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from shared.realtime import frames

pytestmark = pytest.mark.unit

LIMIT = 100_000
SIZES = st.sampled_from([0, 1, 3, 125, 126, 127, 65_535, 65_536, LIMIT])
KINDS = st.sampled_from([frames.TEXT, frames.BINARY, frames.CLOSE, frames.PING, frames.PONG])


def pattern(size: int) -> bytes:
    return bytes(n * 7 % 251 for n in range(size))


def sent(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Give a frame as a server sends it, made by websockets."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=False)


@given(KINDS, SIZES, st.binary(min_size=4, max_size=4))
def test_what_is_written_another_reads(opcode: int, size: int, key: bytes) -> None:
    payload = pattern(size if opcode < frames.CLOSE else min(size, 125))
    stream = StreamReader()
    stream.feed_data(frames.write(opcode, payload, key))
    stream.feed_eof()
    parsing = Frame.parse(stream.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    read = done.value.value
    assert (read.opcode, read.data, read.fin) == (opcode, payload, True)
    assert not next(stream.at_eof(), None)


@given(
    st.lists(st.tuples(KINDS, SIZES), max_size=6),
    st.lists(st.integers(1, 70_000), min_size=1, max_size=8),
)
def test_what_another_writes_is_read_however_it_is_cut(
    kinds: list[tuple[int, int]], steps: list[int]
) -> None:
    wanted = [(k, pattern(min(n, 125) if k >= frames.CLOSE else n)) for k, n in kinds]
    stream = b"".join(sent(*message) for message in wanted)
    reader = frames.Reader(LIMIT)
    found: list[frames.Message] = []
    at = 0
    for step in itertools.cycle(steps):
        found += reader.feed(stream[at : at + step])
        at += step
        if at >= len(stream):
            break
    assert found == wanted


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_fragments_are_put_together_with_a_ping_between_them(step: int) -> None:
    stream = (
        sent(frames.TEXT, b"one ", fin=False)
        + sent(frames.PING, b"p")
        + sent(0, b"", fin=False)
        + sent(0, b"message")
        + sent(frames.TEXT, b"another")
    )
    reader = frames.Reader(LIMIT)
    found = [f for at in range(0, len(stream), step) for f in reader.feed(stream[at : at + step])]
    assert found == [(frames.PING, b"p"), (frames.TEXT, b"one message"), (frames.TEXT, b"another")]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xc1\x00", "unknown kind"),  # a reserved bit
        (b"\x83\x00", "unknown kind"),  # a reserved opcode
        (b"\x81\x80abcd", "masked"),
        (b"\x09\x00", "control frame"),  # a ping in fragments
        (b"\x89\x7e\x00\x7e", "control frame"),  # one of 126 bytes
        (b"\x80\x00", "out of order"),  # goes on with nothing
        (sent(frames.TEXT, b"a", fin=False) + sent(frames.TEXT, b"b"), "out of order"),
        (b"\x81\x7f" + (LIMIT + 1).to_bytes(8, "big"), f"more than {LIMIT}"),
        (sent(frames.TEXT, bytes(LIMIT), fin=False) + b"\x00\x01", f"more than {LIMIT}"),
    ],
)
def test_what_is_refused_and_at_once(data: bytes, why: str) -> None:
    reader = frames.Reader(LIMIT)
    with pytest.raises(frames.BadFrame, match=why):
        reader.feed(data)
