"""The sound device of a recording: playback gets each message at the call at which it had it."""

from __future__ import annotations

import pytest

from commands.replay.speaker import Speaker
from shared import messages, registry
from shared.messages import SpeakerCall, SpeakerCalls, Stamp
from shared.recording import Recorded
from shared.replayed import Step

pytestmark = pytest.mark.unit

AUDIO = registry.of(messages.ReplyAudio).name


def at(at_ns: int, message: messages.Message) -> Recorded:
    return Recorded(registry.of(type(message)), message, Stamp(seq=0, epoch=1, t=at_ns))


def chunk(start: int) -> messages.ReplyAudio:
    return messages.ReplyAudio(
        generation=7, session=1, response_id="r", item_id="i", content_index=0, start=start
    )


def flush(event_ns: int) -> messages.Flush:
    return messages.Flush(
        generation=8, session=1, cause="judged", event_ns=event_ns, received=[], interrupted=[],
        active=[],
    )  # fmt: skip


def calls(*handled: dict[str, int], first: int = 0) -> Recorded:
    """Return calls every 100 ns, from 100 ns on."""
    made = [
        SpeakerCall(100 * n, 100 * n + 50, first + 240 * (n - 1), 240, each)
        for n, each in enumerate(handled, start=1)
    ]
    return at(10_000, SpeakerCalls(calls=made))


def put(speaker: Speaker, *given: Recorded) -> None:
    for each in given:
        speaker.put(Step(each.stamp.t, each.topic.name), each)


def taken(speaker: Speaker) -> list[int]:
    """Return what comes next: the time of each message, and the call's samples."""
    return [step.samples or step.at_ns for step in speaker.take()]


def test_a_message_comes_at_the_call_at_which_it_was_handled() -> None:
    # Playback had the second chunk, published before the second call, only at the third one.
    one, two = at(90, chunk(0)), at(190, chunk(1))
    speaker = Speaker([calls({AUDIO: 90}, {}, {AUDIO: 190}), one, two])
    put(speaker, one, two)
    assert speaker.next_ns == 100
    assert taken(speaker) == [90, 240]
    assert taken(speaker) == [240]
    assert taken(speaker) == [190, 240]
    assert speaker.next_ns is None


def test_a_replayed_message_takes_the_place_of_the_recorded_one() -> None:
    """The replayed downlink publishes a little sooner, and its own clock tells other times."""
    recorded = at(190, flush(5))
    speaker = Speaker([calls({}, {}, {"flush": 190}), recorded])
    put(speaker, at(95, flush(6)))
    assert taken(speaker) == [240]
    assert taken(speaker) == [240]
    assert taken(speaker) == [95, 240]


def test_a_message_that_was_not_recorded_comes_at_the_next_call() -> None:
    speaker = Speaker([calls({}, {AUDIO: 110}, {}), at(110, chunk(0))])
    assert taken(speaker) == [240]
    put(speaker, at(110, chunk(5)))
    assert taken(speaker) == [110, 240]


def test_frames_without_a_later_call_are_left_for_the_end() -> None:
    late = at(300, chunk(0))
    speaker = Speaker([calls({}), late])
    put(speaker, late)
    assert taken(speaker) == [240]
    assert taken(speaker) == [300]


def test_frames_begin_where_they_began_when_it_was_recorded() -> None:
    speaker = Speaker([calls({}, {}, first=480 * 7 + 100)])
    assert taken(speaker) == [100, 240]
    assert taken(speaker) == [240]


def test_a_timer_that_rang_late_rings_as_late() -> None:
    made = [SpeakerCall(5000 * n, 0, 480 * n, 480, {}) for n in (1, 2, 3, 4)]
    # It was due before the second call, and rang before the third one.
    made[2] = SpeakerCall(15_000, 0, 1440, 480, {}, rang_ns=9000)
    speaker = Speaker([at(100_000, SpeakerCalls(calls=made))])
    timers = [step.timers_ns for _ in made for step in speaker.take()]
    assert timers == [0, 8000, 0, 0]
