"""Microphone remembers the turn in progress, so that the next session can hear it again."""

from __future__ import annotations

import numpy as np
import pytest

from services.uplink.microphone import CHUNK, KEPT, LEAD_NS, Microphone
from shared import messages
from shared.audio import pcm

pytestmark = pytest.mark.unit

MS = 1_000_000
MAX_AGE_NS = 1000 * MS
FRAME_MS = 20


def frame(number: int, *, stream: int = 1) -> messages.MicClean:
    """Return the frame with this number. Each sample holds the number plus one."""
    samples = np.full(pcm.FRAME, number % 30_000 + 1, "<i2").tobytes()
    return messages.MicClean(
        stream=stream,
        position=number * pcm.FRAME,
        captured_ns=(number * FRAME_MS + 1) * MS,
        overflows=0,
        payload=samples,
    )


def give(mic: Microphone, *numbers: int) -> None:
    """Send the frames with these numbers to the current session."""
    for number in numbers:
        captured = frame(number)
        assert mic.missing_before(captured) == 0
        mic.keep(captured.payload, captured.captured_ns)


def leave(mic: Microphone, *numbers: int) -> None:
    """Keep the frames with these numbers, which no session gets."""
    for number in numbers:
        left = frame(number)
        mic.keep(left.payload, left.captured_ns, sent=False)


def said(session: int, begun_ms: int = -1) -> messages.ReplyState:
    """Return downlink's state: the person's turn began at ``begun_ms``, or -1: there is no turn."""
    return messages.ReplyState(
        generation=1,
        session=session,
        active=[],
        items=[],
        speaking=begun_ms >= 0,
        speech_ms=max(0, begun_ms),
    )


def numbers(chunks: list[bytes]) -> list[int]:
    """Return the numbers of the frames in the audio that is sent again."""
    assert all(len(s) == CHUNK * pcm.SAMPLE_BYTES for s in chunks[:-1])
    samples = pcm.to_array(b"".join(chunks)).reshape(-1, pcm.FRAME)
    assert (samples == samples[:, :1]).all()
    return [int(row[0]) - 1 for row in samples]


@pytest.fixture
def mic() -> Microphone:
    """Return a microphone whose first session has begun."""
    made = Microphone(MAX_AGE_NS)
    assert made.begin_session(1, 0) == []
    return made


def test_a_turn_that_is_under_way_is_heard_again_from_where_it_began(mic: Microphone) -> None:
    give(mic, *range(100))
    # The turn begins between the frames 49 and 50. Prefix padding is included.
    mic.reply_state(said(1, 50 * FRAME_MS))
    assert numbers(mic.begin_session(2, 100 * FRAME_MS * MS)) == list(range(50, 100))


def test_and_again_where_that_session_is_lost_as_well(mic: Microphone) -> None:
    give(mic, *range(100))
    mic.reply_state(said(1, 50 * FRAME_MS))
    mic.begin_session(2, 100 * FRAME_MS * MS)
    give(mic, 100, 101)
    assert numbers(mic.begin_session(3, 102 * FRAME_MS * MS)) == list(range(50, 102))
    # The new server has detected the turn 2 frames after the beginning of its own session.
    mic.reply_state(said(3, 2 * FRAME_MS))
    assert numbers(mic.begin_session(4, 102 * FRAME_MS * MS)) == list(range(52, 102))


@pytest.mark.parametrize("last", [said(1), said(2, 0), None], ids=["over", "another's", "none"])
def test_nothing_is_replayed_without_a_turn_under_way(
    mic: Microphone, last: messages.ReplyState | None
) -> None:
    if last == said(1):
        mic.reply_state(said(1, 0))
    give(mic, *range(10))
    if last is not None:
        mic.reply_state(last)
    assert mic.begin_session(3, 10 * FRAME_MS * MS) == []


def test_unsent_frames_are_part_of_the_turn(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.reply_state(said(1, 0))
    for number in (2, 3):
        leave(mic, number)
    assert numbers(mic.begin_session(2, 4 * FRAME_MS * MS)) == [0, 1, 2, 3]


def test_a_turn_that_is_too_old_is_not_sent_late(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.reply_state(said(1, 0))
    for number in range(2, 100):
        leave(mic, number)
    assert mic.begin_session(2, frame(1).captured_ns + MAX_AGE_NS + 1) == []
    # The old turn is not sent to a later session either.
    assert mic.begin_session(3, frame(1).captured_ns) == []


def test_the_remembered_items_are_limited(mic: Microphone) -> None:
    mic.reply_state(said(1, 0))
    most = KEPT // pcm.FRAME
    give(mic, *range(2 * most))
    assert numbers(mic.begin_session(2, 2 * most * FRAME_MS * MS)) == list(range(most, 2 * most))


def test_a_turn_by_the_button(mic: Microphone) -> None:
    give(mic, 0, 1)
    mic.turn_begins()
    give(mic, 2, 3)
    # In a push-to-talk session the server does not detect speech.
    mic.reply_state(said(1))
    assert numbers(mic.begin_session(2, 4 * FRAME_MS * MS)) == [2, 3]
    mic.turn_ends()
    assert mic.begin_session(3, 4 * FRAME_MS * MS) == []


def test_missing_samples_are_counted_within_one_stream_only(mic: Microphone) -> None:
    assert mic.missing_before(frame(7)) == 0
    assert mic.missing_before(frame(8)) == 0
    assert mic.missing_before(frame(11)) == 2 * pcm.FRAME
    # Neither a repeated frame nor a frame of another stream counts as a gap. Capture begins a new
    # stream whenever capture opens the device.
    assert mic.missing_before(frame(9)) == 0
    assert mic.missing_before(frame(50, stream=2)) == 0


def woken(since: int) -> messages.Sleep:
    """Return the report that the speech that began with a frame woke the conversation."""
    return messages.Sleep(asleep=False, since_ns=frame(since).captured_ns)


LEAD = LEAD_NS // MS // FRAME_MS


def test_the_session_after_a_sleep_gets_the_words_that_woke_it(mic: Microphone) -> None:
    give(mic, *range(50))
    mic.sleep(messages.Sleep(asleep=True, cause="idle"))
    leave(mic, *range(50, 300))
    for _ in range(3):  # a state is repeated
        mic.sleep(woken(100))
    # The session opens much later than uplink.max_age_ms.
    again = numbers(mic.begin_session(2, 300 * FRAME_MS * MS))
    assert again == list(range(100 - LEAD, 300))
    mic.sleep(woken(100))
    assert mic.begin_session(3, 301 * FRAME_MS * MS + 10 * MAX_AGE_NS) == []


def test_words_that_woke_it_too_long_ago_are_not_said_late(mic: Microphone) -> None:
    leave(mic, *range(100))
    mic.sleep(woken(50))
    assert mic.begin_session(2, (50 * FRAME_MS + 20_002) * MS) == []


def test_a_sleep_that_a_typed_line_ends_begins_with_what_is_said_next(mic: Microphone) -> None:
    leave(mic, *range(100))
    mic.sleep(messages.Sleep(asleep=False))
    assert mic.begin_session(2, 100 * FRAME_MS * MS) == []


def test_another_sleep_forgets_the_words_that_ended_the_last(mic: Microphone) -> None:
    leave(mic, *range(100))
    mic.sleep(woken(50))
    mic.sleep(messages.Sleep(asleep=True, cause="asked"))
    mic.sleep(messages.Sleep(asleep=False))
    assert mic.begin_session(2, 100 * FRAME_MS * MS) == []
