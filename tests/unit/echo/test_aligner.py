"""The aligner: microphone frames beside what the speaker played, gaps, and frames of any length."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest

from services.echo.aligner import AHEAD, MAX_DRIFT, MAX_WAITING, Aligned, Aligner
from shared import messages
from shared.audio import pcm
from tests.support.tones import int16, sound

FRAME, RATE = pcm.FRAME, pcm.RATE
STEP_NS = pcm.samples_to_ns(FRAME)
BEGAN_NS = 5_000_000_000
LARGEST = 2**63 - 1
#: How long after its last sample a microphone frame is read, ns.
BUFFER_NS = 12_000_000


def microphone(
    position: int, *, stream: int = 2, samples: int = FRAME, value: int = 0
) -> messages.MicFrame:
    return messages.MicFrame(
        stream=stream,
        position=position,
        captured_ns=BEGAN_NS + pcm.samples_to_ns(position),
        overflows=0,
        payload=np.full(samples, value or position // FRAME + 1, np.int16).tobytes(),
    )


def speaker(position: int, *, stream: int = 1) -> messages.SpeakerFrame:
    return messages.SpeakerFrame(
        stream=stream,
        position=position,
        played_ns=BEGAN_NS + pcm.samples_to_ns(position),
        payload=int16(sound(FRAME, at=position)).tobytes(),
    )


def now_at(position: int) -> int:
    return BEGAN_NS + pcm.samples_to_ns(position) + STEP_NS + BUFFER_NS


def taken(aligner: Aligner, frame: messages.MicFrame) -> list[Aligned]:
    aligner.microphone(frame)
    return list(aligner.take(now_at(frame.position)))


def aligned_with_both(seconds: float, lead: int = FRAME) -> tuple[Aligner, list[Aligned]]:
    """Run both devices. The speaker's frames arrive ``lead`` samples ahead."""
    aligner = Aligner()
    found: list[Aligned] = []
    for at in range(0, round(seconds * RATE), FRAME):
        aligner.speaker(speaker(at + lead), now_at(at))
        found += taken(aligner, microphone(at))
    return aligner, found


def test_beside_a_frame_is_what_was_played_while_it_was_taken() -> None:
    _, found = aligned_with_both(3)
    assert [a.frame.position for a in found] == [n * FRAME for n in range(150)]
    for aligned in found[5:]:
        wanted = sound(FRAME, at=aligned.frame.position + AHEAD)
        np.testing.assert_allclose(aligned.far, wanted, atol=2e-3)
    assert [a.realigned for a in found] == [True] + [False] * 149
    assert not any(a.lost for a in found)


def test_it_waits_for_the_far_end_and_for_no_longer_than_some_frames() -> None:
    aligner, _ = aligned_with_both(1)
    at = RATE
    assert taken(aligner, microphone(at)) == []
    # the far end arrives: the frame is taken
    aligner.speaker(speaker(at + FRAME), now_at(at))
    [found] = aligner.take(now_at(at))
    assert found.frame.position == at
    np.testing.assert_allclose(found.far, sound(FRAME, at=at + AHEAD), atol=2e-3)
    # the far end does not arrive: the fourth frame that waits pushes the first one out
    for number in range(1, MAX_WAITING):
        assert taken(aligner, microphone(at + number * FRAME)) == []
    [late] = taken(aligner, microphone(at + MAX_WAITING * FRAME))
    assert late.frame.position == at + FRAME


def places(aligner: Aligner, seconds: Iterable[int], stamp_ns: Callable[[int], int]) -> list[float]:
    """Run both devices for some seconds; return where the far end stands after each."""
    found = []
    for second in seconds:
        for at in range(second * RATE, (second + 1) * RATE, FRAME):
            aligner.speaker(speaker(at + 3 * FRAME), now_at(at))
            frame = microphone(at)
            taken(aligner, msgspec.structs.replace(frame, captured_ns=stamp_ns(frame.captured_ns)))
        found.append(aligner._place(0)[0])
    return found


def test_stamps_that_scatter_and_wander_move_nothing_once_there_is_a_sound() -> None:
    chance = np.random.default_rng(6)

    def wandering(at_ns: int) -> int:
        # as measured on PulseAudio: 2 ms of scatter, and 200 ppm of drift for a while
        return round(at_ns + 2e6 * chance.standard_normal() + 200e-6 * (at_ns - BEGAN_NS))

    aligner = Aligner()
    found = places(aligner, range(30), wandering)
    assert found == [found[0]] * 30
    assert abs(found[0] - AHEAD) < 0.01 * RATE


def test_a_microphone_whose_time_truly_changed_is_aligned_within_seconds() -> None:
    aligner = Aligner()
    first = places(aligner, range(3), lambda at_ns: at_ns)[-1]
    assert not aligner._realigned
    late = places(aligner, range(3, 6), lambda at_ns: at_ns + 50_000_000)[-1]
    assert late - first == pytest.approx(0.05 * RATE, abs=2)


def test_until_something_is_played_it_follows_the_stamps() -> None:
    aligner = Aligner()
    for at in range(0, 10 * RATE, FRAME):
        silent = msgspec.structs.replace(speaker(at + FRAME), payload=bytes(pcm.FRAME_BYTES))
        aligner.speaker(silent, now_at(at))
        frame = microphone(at)
        late_ns = frame.captured_ns + (at * 1_000_000_000 // RATE) // 1000
        found = taken(aligner, msgspec.structs.replace(frame, captured_ns=late_ns))
        assert at == 0 or not any(a.realigned for a in found)
    # the stamps drift by 10 ms in 10 s; the clock averages the last 2 s
    assert aligner._place(0)[0] - AHEAD == pytest.approx(0.009 * RATE, abs=0.001 * RATE)


def test_it_can_be_told_how_much_faster_one_clock_is() -> None:
    aligner, _ = aligned_with_both(2)
    before, step = aligner._place(2 * RATE)
    assert step == 1.0
    aligner.speed_up(80e-6)
    aligner.speed_up(20e-6)
    after, step = aligner._place(2 * RATE)
    assert step == pytest.approx(1 + 100e-6)
    # the far end runs faster from here on, and does not jump
    assert after == pytest.approx(before, abs=1e-2)
    assert aligner._place(12 * RATE)[0] - after == pytest.approx(10 * RATE * (1 + 100e-6))
    for _ in range(100):
        aligner.speed_up(80e-6)
    assert aligner._place(0)[1] == 1 + MAX_DRIFT


def test_a_speaker_that_is_gone_is_not_waited_for() -> None:
    aligner, _ = aligned_with_both(1)
    gone_ns = now_at(RATE - FRAME) + 199_999_999
    aligner.microphone(microphone(RATE))
    assert list(aligner.take(gone_ns)) == []
    [found] = aligner.take(gone_ns + 1)
    assert found.frame.position == RATE
    assert taken(aligner, microphone(RATE + 10 * FRAME))
    # nor is a speaker that was never heard of
    assert len(taken(Aligner(), microphone(0))) == 1


def test_missing_audio_is_silence_so_that_the_servers_clock_goes_on() -> None:
    aligner = Aligner()
    taken(aligner, microphone(0))
    found = taken(aligner, microphone(4 * FRAME))
    assert [a.frame.position for a in found] == [n * FRAME for n in range(1, 5)]
    assert [a.lost for a in found] == [True, True, True, False]
    for aligned in found[:3]:
        assert aligned.frame.payload == bytes(pcm.FRAME_BYTES)
        assert aligned.frame.stream == 2
        expected = BEGAN_NS + pcm.samples_to_ns(aligned.frame.position)
        assert abs(aligned.frame.captured_ns - expected) < 1000
    # at most 2 s of silence is added
    longest = 5 * FRAME + 2 * RATE
    assert len(taken(aligner, microphone(longest))) == 2 * RATE // FRAME + 1
    assert len(taken(aligner, microphone(2 * longest + FRAME))) == 1


def test_a_frame_that_comes_again_is_given_once() -> None:
    aligner, found = aligned_with_both(1)
    assert taken(aligner, found[-1].frame) == []
    assert taken(aligner, found[10].frame) == []
    # also while the first copy waits for its far end
    waiting = microphone(RATE)
    assert taken(aligner, waiting) == []
    again = taken(aligner, waiting)
    aligner.speaker(speaker(RATE + FRAME), now_at(RATE))
    again += aligner.take(now_at(RATE))
    assert [a.frame.position for a in again] == [RATE]


def test_one_frame_from_far_away_does_not_make_those_after_it_old() -> None:
    aligner = Aligner()
    taken(aligner, microphone(0))
    taken(aligner, msgspec.structs.replace(microphone(0), position=LARGEST))
    assert len(taken(aligner, microphone(FRAME))) == 1


def test_another_microphone_begins_realigned_without_silence() -> None:
    aligner, _ = aligned_with_both(1)
    [found] = taken(aligner, microphone(7 * FRAME, stream=3, value=9))
    assert (found.frame.stream, found.frame.position) == (3, 7 * FRAME)
    assert found.realigned
    assert not found.lost


@pytest.mark.parametrize("samples", [1, 160, 240, 441, 481, 960, 1920])
def test_frames_of_any_length_become_frames_of_20_ms(samples: int) -> None:
    aligner = Aligner()
    whole = int16(sound(RATE))
    found: list[Aligned] = []
    # fewer samples where the frames are short, to save time
    end = min(len(whole), samples * 1000)
    for at in range(0, end - samples + 1, samples):
        frame = messages.MicFrame(
            stream=2,
            position=at,
            captured_ns=BEGAN_NS + pcm.samples_to_ns(at),
            overflows=0,
            payload=whole[at : at + samples].tobytes(),
        )
        aligner.microphone(frame)
        found += aligner.take(now_at(at))
    assert {len(a.frame.payload) for a in found} == {pcm.FRAME_BYTES}
    given = b"".join(a.frame.payload for a in found)
    assert given == whole.tobytes()[: len(given)]
    assert end * 2 - len(given) < pcm.FRAME_BYTES + 2 * samples
    for number, aligned in enumerate(found):
        assert aligned.frame.position == number * FRAME
        expected = BEGAN_NS + pcm.samples_to_ns(number * FRAME)
        assert abs(aligned.frame.captured_ns - expected) <= 1


def test_less_than_a_frame_is_not_added_to_what_does_not_follow_it() -> None:
    aligner = Aligner()
    assert taken(aligner, microphone(0, samples=240, value=1)) == []
    found = taken(aligner, microphone(FRAME, value=2))
    assert [set(pcm.to_array(a.frame.payload).tolist()) for a in found] == [{2}]


def test_no_frame_makes_it_work_without_end_or_lets_it_fall_silent() -> None:
    aligner = Aligner()
    given = 0
    numbers = (0, 1, RATE, 2**62, LARGEST)
    for stream, position, at_ns in itertools.product((2, LARGEST), numbers, numbers):
        for samples in (0, 1, FRAME, messages.MAX_AUDIO // 2):
            payload = bytes(2 * samples)
            aligner.speaker(
                messages.SpeakerFrame(
                    stream=stream, position=position, played_ns=at_ns, payload=payload
                ),
                now_at(0),
            )
            aligner.microphone(
                messages.MicFrame(
                    stream=stream,
                    position=position,
                    captured_ns=at_ns,
                    overflows=0,
                    payload=payload,
                )
            )
            some = list(aligner.take(now_at(0)))
            given += len(some)
            assert len(some) <= messages.MAX_AUDIO // pcm.FRAME_BYTES + 2 + 2 * RATE // FRAME
            assert all(np.isfinite(a.far).all() for a in some)
            assert len(aligner._waiting) < MAX_WAITING
    assert given > 2 * (messages.MAX_AUDIO // pcm.FRAME_BYTES)
    # after all that an ordinary frame is taken at once
    assert taken(aligner, microphone(0, stream=2))


def test_sound_that_was_played_before_the_first_speaker_frame_is_unknown() -> None:
    aligner = Aligner()
    found: list[Aligned] = []
    # the speaker is at its tenth second when this process hears of it, 60 ms after the microphone
    for at in range(0, RATE, FRAME):
        if at >= 3 * FRAME:
            aligner.speaker(
                msgspec.structs.replace(speaker(at + 2 * FRAME), position=10 * RATE + at),
                now_at(at),
            )
        found += taken(aligner, microphone(at))
    unknown = [aligned.far_unknown for aligned in found]
    assert all(unknown[:5])
    assert not any(unknown[6:])


def test_without_a_speaker_the_far_end_is_known_after_a_second() -> None:
    aligner = Aligner()
    found = [
        aligned for at in range(0, 2 * RATE, FRAME) for aligned in taken(aligner, microphone(at))
    ]
    assert [a.far_unknown for a in found] == [True] * 50 + [False] * 50


def test_a_speaker_that_begins_with_its_stream_leaves_nothing_unknown() -> None:
    _, found = aligned_with_both(1, lead=0)
    assert not any(aligned.far_unknown for aligned in found)
