"""What a session is given of the microphone, and what the next one is to hear again."""

from __future__ import annotations

import numpy as np
import pytest

from services.uplink.microphone import KEPT, STRETCH, Microphone
from shared import messages
from shared.audio import pcm

pytestmark = pytest.mark.unit

MS = 1_000_000
MAX_AGE_NS = 1000 * MS
FRAME_MS = 20


def frame(number: int, *, stream: int = 1) -> messages.MicClean:
    """Make a frame that tells its number."""
    samples = np.full(pcm.FRAME, number % 30_000 + 1, "<i2").tobytes()
    return messages.MicClean(
        stream=stream,
        position=number * pcm.FRAME,
        captured_ns=(number * FRAME_MS + 1) * MS,
        overflows=0,
        payload=samples,
    )


def give(mic: Microphone, *numbers: int) -> None:
    """Give a session so many frames."""
    for number in numbers:
        captured = frame(number)
        assert mic.missing(captured) == 0
        mic.keep(captured.payload, captured.captured_ns)


def said(session: int, begun_ms: int = -1) -> messages.ReplyState:
    """Say that the person is in a turn, or not."""
    return messages.ReplyState(
        generation=1,
        session=session,
        active=[],
        items=[],
        speaking=begun_ms >= 0,
        speech_ms=max(0, begun_ms),
    )


def numbers(stretches: list[bytes]) -> list[int]:
    """Give which frames are in what is given again."""
    assert all(len(s) == STRETCH * pcm.SAMPLE_BYTES for s in stretches[:-1])
    samples = pcm.to_array(b"".join(stretches)).reshape(-1, pcm.FRAME)
    assert (samples == samples[:, :1]).all()
    return [int(row[0]) - 1 for row in samples]


@pytest.fixture
def mic() -> Microphone:
    """Give a microphone that a first session has begun to hear."""
    made = Microphone(MAX_AGE_NS)
    assert made.anew(1, 0) == []
    return made


def test_a_turn_that_is_under_way_is_heard_again_from_where_it_began(mic: Microphone) -> None:
    give(mic, *range(100))
    # between the frames 49 and 50, prefix padding included
    mic.said(said(1, 50 * FRAME_MS))
    assert numbers(mic.anew(2, 100 * FRAME_MS * MS)) == list(range(50, 100))


def test_and_again_where_that_session_is_lost_as_well(mic: Microphone) -> None:
    give(mic, *range(100))
    mic.said(said(1, 50 * FRAME_MS))
    mic.anew(2, 100 * FRAME_MS * MS)
    give(mic, 100, 101)
    assert numbers(mic.anew(3, 102 * FRAME_MS * MS)) == list(range(50, 102))
    # the new server has found it at its own place
    mic.said(said(3, 2 * FRAME_MS))
    assert numbers(mic.anew(4, 102 * FRAME_MS * MS)) == list(range(52, 102))


@pytest.mark.parametrize("last", [said(1), said(2, 0), None], ids=["over", "another's", "none"])
def test_where_no_turn_is_under_way_nothing_is(
    mic: Microphone, last: messages.ReplyState | None
) -> None:
    if last == said(1):
        mic.said(said(1, 0))
    give(mic, *range(10))
    if last is not None:
        mic.said(last)
    assert mic.anew(3, 10 * FRAME_MS * MS) == []


def test_what_was_not_sent_meanwhile_is_a_part_of_the_turn(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.said(said(1, 0))
    for number in (2, 3):
        mic.keep(frame(number).payload)
    assert numbers(mic.anew(2, 4 * FRAME_MS * MS)) == [0, 1, 2, 3]


def test_what_was_said_too_long_ago_is_not_said_late(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.said(said(1, 0))
    for number in range(2, 100):
        mic.keep(frame(number).payload)
    assert mic.anew(2, frame(1).captured_ns + MAX_AGE_NS + 1) == []
    # nor later
    assert mic.anew(3, frame(1).captured_ns) == []


def test_what_is_kept_is_bounded(mic: Microphone) -> None:
    mic.said(said(1, 0))
    most = KEPT // pcm.FRAME
    give(mic, *range(2 * most))
    assert numbers(mic.anew(2, 2 * most * FRAME_MS * MS)) == list(range(most, 2 * most))


def test_a_turn_by_the_button(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.turn_begins()
    give(mic, 2, 3)
    # of such a session nothing is said of speech
    mic.said(said(1))
    assert numbers(mic.anew(2, 4 * FRAME_MS * MS)) == [2, 3]
    mic.turn_ends()
    assert mic.anew(3, 4 * FRAME_MS * MS) == []


def test_what_is_missing_is_told_of_the_same_stream_only(mic: Microphone) -> None:
    assert mic.missing(frame(7)) == 0
    assert mic.missing(frame(8)) == 0
    assert mic.missing(frame(11)) == 2 * pcm.FRAME
    # what comes twice, or from another opening of the device, is no gap
    assert mic.missing(frame(9)) == 0
    assert mic.missing(frame(50, stream=2)) == 0
