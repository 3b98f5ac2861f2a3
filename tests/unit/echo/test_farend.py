"""Two clocks and the samples between them: stamps, the far end, frames aligned."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from services.echo import farend
from services.echo.farend import KEPT, Aligned, Aligner, Clock, FarEnd
from shared import messages
from shared.audio import pcm

FRAME, RATE = pcm.FRAME, pcm.RATE
STEP_NS = pcm.samples_to_ns(FRAME)
BEGAN_NS = 5_000_000_000
LARGEST = 2**63 - 1
#: What a microphone holds of its own and ahead of being read, ns.
BUFFER_NS = 12_000_000
AHEAD = farend._AHEAD


def stamps(
    seconds: float, *, ppm: float = 0.0, jitter_ns: float = 0.0, first: int = 0
) -> Iterator[tuple[int, int]]:
    """Give a stream's positions and stamps: a clock that is off, read inexactly."""
    chance = np.random.default_rng(1)
    for number in range(round(seconds * 50)):
        position = first + number * FRAME
        at_ns = BEGAN_NS + position * 1e9 / RATE * (1 + ppm * 1e-6)
        yield position, round(at_ns + chance.normal() * jitter_ns)


def clock(given: Iterable[tuple[int, int]]) -> Clock:
    found = Clock()
    for position, at_ns in given:
        found.add(1, position, at_ns)
    return found


# Clock


def test_the_scatter_of_stamps_is_averaged_away() -> None:
    found = clock(stamps(10, jitter_ns=2_000_000))
    for position in (9 * RATE, 10 * RATE):
        assert abs(found.ns(position) - BEGAN_NS - position * 1e9 / RATE) < 500_000


@pytest.mark.parametrize("ppm", [100, -100])
def test_a_clock_that_is_off_is_followed(ppm: float) -> None:
    found = clock(stamps(120, ppm=ppm, jitter_ns=300_000))
    assert abs(found.ns(120 * RATE) - BEGAN_NS - 120e9 * (1 + ppm * 1e-6)) < 500_000


def test_from_a_time_to_a_place_is_the_way_back() -> None:
    found = clock(stamps(20, ppm=80))
    for position in (0, 7 * RATE + 0.25, 21 * RATE):
        assert found.position(found.ns(position)) == pytest.approx(position, abs=0.01)


def test_another_stream_begins_anew() -> None:
    found = Clock()
    assert found.add(1, 0, BEGAN_NS)
    assert not found.add(1, FRAME, BEGAN_NS + STEP_NS)
    assert found.add(2, 0, 77)
    assert found.ns(0) == 77
    assert found.position(77) == 0


def test_one_wild_stamp_is_nothing_and_a_jump_that_stays_begins_anew() -> None:
    found = clock(stamps(2))
    before = found.ns(2 * RATE)
    assert not found.add(1, 2 * RATE, BEGAN_NS + 3_000_000_000)
    assert found.ns(2 * RATE) == before
    # it is forgotten as soon as one is on the line again
    for position, at_ns in stamps(0.1, first=2 * RATE):
        assert not found.add(1, position, at_ns)
    jumped = [
        found.add(1, position, at_ns + 50_000_000)
        for position, at_ns in stamps(0.3, first=3 * RATE)
    ]
    assert jumped.count(True) == 1
    assert 2 <= jumped.index(True) <= 8
    at = 3 * RATE + 14 * FRAME
    assert found.ns(at) == pytest.approx(before + 50_000_000 + (at - 2 * RATE) * 1e9 / RATE, abs=1)


def test_no_stamp_makes_nonsense() -> None:
    found = Clock()
    numbers = (0, 1, 2**62, LARGEST, 5)
    for stream, position, at_ns in itertools.product((0, LARGEST), numbers, numbers):
        for _ in range(7):
            found.add(stream, position, at_ns)
        assert np.isfinite([found.ns(0), found.ns(LARGEST), found.position(LARGEST)]).all()


# FarEnd


def sound(samples: int, *, at: float = 0.0, step: float = 1.0) -> NDArray[np.float64]:
    """Give sound in the voice's range, at any place of it."""
    places = at + np.arange(samples) * step
    tones = ((220, 0.2), (1370, 0.1), (3310, 0.1), (7900, 0.05))
    return sum(
        (a * np.sin(2 * np.pi * f / RATE * places + f) for f, a in tones),
        start=np.zeros(samples),
    )


def int16(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.rint(samples * 32768).astype(np.int16)


def filled(seconds: float) -> FarEnd:
    far = FarEnd()
    whole = int16(sound(round(seconds * RATE)))
    for at in range(0, len(whole), FRAME):
        far.put(1, at, whole[at : at + FRAME])
    return far


@pytest.mark.parametrize("step", [1.0, 1 + 1e-4, 1 - 1e-4])
@pytest.mark.parametrize("place", [9600.0, 9600.5, 9601.123, 12_345.678])
def test_between_two_samples_is_what_was_between_them(place: float, step: float) -> None:
    read = filled(2).read(place, step, FRAME)
    wanted = sound(FRAME, at=place, step=step)
    error_db = 10 * np.log10(np.square(read - wanted).sum() / np.square(wanted).sum())
    assert error_db < -50


def test_what_never_came_is_silence() -> None:
    far = filled(1)
    assert not far.read(-3 * FRAME, 1.0, FRAME).any()
    assert not far.read(RATE + 100, 1.0, FRAME).any()
    assert not far.read(float("nan"), 1.0, FRAME).any()
    assert not far.read(1e300, 1.0, FRAME).any()
    # what is half there is there by half
    half = far.read(RATE - FRAME // 2, 1.0, FRAME)
    assert half[: FRAME // 2 - 8].any()
    assert not half[FRAME // 2 + 8 :].any()
    # and a hole between frames is one
    far.put(1, RATE + FRAME, int16(sound(FRAME)))
    assert not far.read(RATE + 8, 1.0, FRAME - 16).any()
    assert far.read(RATE + FRAME + 8, 1.0, FRAME - 16).any()


def test_silence_that_came_is_silence_and_takes_nothing_from_the_sound_before_it() -> None:
    far, other = filled(1), filled(1)
    far.put(1, far.end, int16(np.zeros(RATE)))
    # what never came and what came as silence are the same, on every side of the sound's end
    for place in np.arange(RATE - 2 * FRAME, RATE + 2 * FRAME, 7.3):
        read = far.read(float(place), 1.0, FRAME)
        np.testing.assert_array_equal(read, other.read(float(place), 1.0, FRAME))
        assert read.any() == (place < RATE + 7)


def test_its_line_goes_on_for_ever() -> None:
    far = FarEnd()
    whole = int16(sound(30 * RATE))
    for at in range(0, len(whole), FRAME):
        far.put(1, at, whole[at : at + FRAME])
        if at > KEPT and not at % (37 * FRAME):
            for back in (FRAME, KEPT - FRAME):
                place = at - back + 0.5
                wanted = sound(FRAME, at=place)
                read = far.read(place, 1.0, FRAME - 16)
                np.testing.assert_allclose(read, wanted[: FRAME - 16], atol=2e-3)


def test_a_hole_is_silence_also_where_the_line_has_moved() -> None:
    far = filled(7.9)
    position = far.end + FRAME
    for at in range(position, position + RATE, FRAME):
        far.put(1, at, int16(sound(FRAME)))
        far.put(1, at + 3 * FRAME, int16(sound(FRAME)))
    end = far.end
    far.put(1, end + 10 * FRAME, int16(sound(FRAME)))
    assert not far.read(end + 16, 1.0, 9 * FRAME).any()


def test_what_comes_again_or_late_takes_its_own_place() -> None:
    far = filled(1)
    before = far.read(0, 1.0, RATE)
    whole = int16(sound(RATE))
    far.put(1, 20 * FRAME, whole[20 * FRAME : 21 * FRAME])
    np.testing.assert_array_equal(far.read(0, 1.0, RATE), before)
    assert far.end == RATE


@pytest.mark.parametrize("jump", [KEPT - 1, KEPT, KEPT + 1, 2 * KEPT, LARGEST - 10 * RATE])
@pytest.mark.parametrize("seconds", [0.02, 3.98, 4.0, 7.98, 8.0, 11.0])
@pytest.mark.parametrize("length", [0, 1, FRAME, KEPT, messages.MAX_AUDIO // 2])
def test_a_far_position_is_taken_as_it_is(jump: int, seconds: float, length: int) -> None:
    far = filled(seconds)
    held = far._line.nbytes
    position = far.end + jump
    given = int16(sound(length) + 0.3)
    far.put(1, position, given)
    kept = given[-KEPT:]
    read = far.read(position + length - len(kept), 1.0, len(kept))
    np.testing.assert_allclose(read[16:-16], kept[16:-16] / 32768, atol=2e-2)
    assert far._line.nbytes == held


def test_another_stream_empties_it() -> None:
    far = filled(1)
    far.put(2, 20 * FRAME, int16(sound(FRAME)))
    assert not far.read(0, 1.0, 19 * FRAME).any()
    assert far.stream == 2
    # and so does one whose positions begin again, as one that was forged has them
    far = FarEnd()
    far.put(1, LARGEST, int16(sound(FRAME)))
    far.put(1, 0, int16(sound(FRAME)))
    assert far.read(10, 1.0, FRAME - 20).any()


# Aligner


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
    """Let both devices run; the speaker is ``lead`` samples ahead."""
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
    assert [a.anew for a in found] == [True] + [False] * 149
    assert not any(a.missing for a in found)


def test_it_waits_for_the_far_end_and_for_no_longer_than_some_frames() -> None:
    aligner, _ = aligned_with_both(1)
    at = RATE
    assert taken(aligner, microphone(at)) == []
    # it comes: the frame goes on
    aligner.speaker(speaker(at + FRAME), now_at(at))
    [found] = aligner.take(now_at(at))
    assert found.frame.position == at
    np.testing.assert_allclose(found.far, sound(FRAME, at=at + AHEAD), atol=2e-3)
    # it does not come: frames that follow take it along
    for number in range(1, farend._WAITING):
        assert taken(aligner, microphone(at + number * FRAME)) == []
    [late] = taken(aligner, microphone(at + farend._WAITING * FRAME))
    assert late.frame.position == at + FRAME


def places(aligner: Aligner, seconds: Iterable[int], stamp_ns: Callable[[int], int]) -> list[float]:
    """Let both run on from the first of some seconds; give where the far end is at each."""
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
        # as PulseAudio's: some ms of scatter, and 200 ppm for a while
        return round(at_ns + 2e6 * chance.standard_normal() + 200e-6 * (at_ns - BEGAN_NS))

    aligner = Aligner()
    found = places(aligner, range(30), wandering)
    assert found == [found[0]] * 30
    assert abs(found[0] - AHEAD) < 0.01 * RATE


def test_where_it_truly_is_elsewhere_it_goes_within_seconds() -> None:
    aligner = Aligner()
    first = places(aligner, range(3), lambda at_ns: at_ns)[-1]
    assert not aligner._anew
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
        assert at == 0 or not any(a.anew for a in found)
    # 10 ms in 10 s, and the mean of the last two
    assert aligner._place(0)[0] - AHEAD == pytest.approx(0.009 * RATE, abs=0.001 * RATE)


def test_it_can_be_told_how_much_faster_one_clock_is() -> None:
    aligner, _ = aligned_with_both(2)
    before, step = aligner._place(2 * RATE)
    assert step == 1.0
    aligner.turn(80e-6)
    aligner.turn(20e-6)
    after, step = aligner._place(2 * RATE)
    assert step == pytest.approx(1 + 100e-6)
    # from here on, and no jump
    assert after == pytest.approx(before, abs=1e-2)
    assert aligner._place(12 * RATE)[0] - after == pytest.approx(10 * RATE * (1 + 100e-6))
    for _ in range(100):
        aligner.turn(80e-6)
    assert aligner._place(0)[1] == 1 + farend._FURTHEST


def test_a_speaker_that_is_gone_is_not_waited_for() -> None:
    aligner, _ = aligned_with_both(1)
    gone_ns = now_at(RATE - FRAME) + 199_999_999
    aligner.microphone(microphone(RATE))
    assert list(aligner.take(gone_ns)) == []
    [found] = aligner.take(gone_ns + 1)
    assert found.frame.position == RATE
    assert taken(aligner, microphone(RATE + 10 * FRAME))
    # nor is one that nobody ever heard of
    assert len(taken(Aligner(), microphone(0))) == 1


def test_what_is_missing_is_silence_so_that_the_servers_clock_goes_on() -> None:
    aligner = Aligner()
    taken(aligner, microphone(0))
    found = taken(aligner, microphone(4 * FRAME))
    assert [a.frame.position for a in found] == [n * FRAME for n in range(1, 5)]
    assert [a.missing for a in found] == [True, True, True, False]
    for aligned in found[:3]:
        assert aligned.frame.payload == bytes(pcm.FRAME_BYTES)
        assert aligned.frame.stream == 2
        expected = BEGAN_NS + pcm.samples_to_ns(aligned.frame.position)
        assert abs(aligned.frame.captured_ns - expected) < 1000
    # no more than two seconds of it
    longest = 5 * FRAME + 2 * RATE
    assert len(taken(aligner, microphone(longest))) == 2 * RATE // FRAME + 1
    assert len(taken(aligner, microphone(2 * longest + FRAME))) == 1


def test_a_frame_that_comes_again_is_given_once() -> None:
    aligner, found = aligned_with_both(1)
    assert taken(aligner, found[-1].frame) == []
    assert taken(aligner, found[10].frame) == []
    # also while it waits
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


def test_another_microphone_begins_anew_without_silence() -> None:
    aligner, _ = aligned_with_both(1)
    [found] = taken(aligner, microphone(7 * FRAME, stream=3, value=9))
    assert (found.frame.stream, found.frame.position) == (3, 7 * FRAME)
    assert found.anew
    assert not found.missing


@pytest.mark.parametrize("samples", [1, 160, 240, 441, 481, 960, 1920])
def test_frames_of_any_length_become_frames_of_20_ms(samples: int) -> None:
    aligner = Aligner()
    whole = int16(sound(RATE))
    found: list[Aligned] = []
    # less of them where they are many
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
            assert len(aligner._waiting) < farend._WAITING
    assert given > 2 * (messages.MAX_AUDIO // pcm.FRAME_BYTES)
    # and after all that a true one is heard, at once
    assert taken(aligner, microphone(0, stream=2))
