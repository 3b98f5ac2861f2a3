"""Blocks of any length are cut into frames."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.audio import pcm
from shared.audio.framing import Framer

START_NS = 5_000_000_000


def block(position: int, samples: int) -> bytes:
    """Return samples whose values are their positions."""
    return b"".join((n % 30_000).to_bytes(2, "little") for n in range(position, position + samples))


@given(st.lists(st.integers(0, 1300), max_size=12))
def test_frames_are_whole_in_order_and_know_their_place_and_time(lengths: list[int]) -> None:
    framer, position, found = Framer(), 0, []
    for samples in lengths:
        at_ns = START_NS + pcm.samples_to_ns(position)
        found += list(framer.cut(block(position, samples), at_ns))
        position += samples
    assert len(found) == position // pcm.FRAME
    assert framer.position == position
    for number, (frame, place, at_ns) in enumerate(found):
        assert place == number * pcm.FRAME
        assert frame == block(place, pcm.FRAME)
        # each of the lengths that are added is rounded down
        assert abs(at_ns - START_NS - pcm.samples_to_ns(place)) <= 3


def test_skipped_samples_are_left_out() -> None:
    framer = Framer()
    list(framer.cut(block(0, 100), START_NS))
    framer.skip_to(1920)
    ((frame, place, at_ns),) = framer.cut(block(1920, pcm.FRAME), START_NS)
    assert (frame, place, at_ns) == (block(1920, pcm.FRAME), 1920, START_NS)
    framer.skip_to(1920 + pcm.FRAME)
    assert framer.position == 1920 + pcm.FRAME


def test_frames_begin_at_multiples_of_their_length() -> None:
    framer = Framer()
    framer.skip_to(2000)
    assert framer.position == 2000
    ((frame, place, at_ns),) = framer.cut(block(2000, pcm.FRAME), START_NS)
    assert (place, at_ns) == (1920, START_NS - pcm.samples_to_ns(80))
    assert frame == bytes(160) + block(2000, 400)
    assert framer.position == 2480


def test_another_stream_begins_at_its_beginning() -> None:
    framer = Framer()
    list(framer.cut(block(0, 500), START_NS))
    framer.restart()
    ((_, place, _),) = framer.cut(block(0, pcm.FRAME), START_NS)
    assert place == 0


def test_no_frame_is_of_before_the_machine_was_there() -> None:
    framer = Framer()
    list(framer.cut(block(0, 479), 0))
    ((_, _, at_ns),) = framer.cut(block(479, 1), 0)
    assert at_ns == 0
