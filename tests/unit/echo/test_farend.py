"""The far end's buffer: interpolation, gaps, and positions that jump."""

from __future__ import annotations

import numpy as np
import pytest

from services.echo.farend import CAPACITY, FarEnd
from shared import messages
from shared.audio import pcm
from tests.support.tones import int16, sound

FRAME, RATE = pcm.FRAME, pcm.RATE
LARGEST = 2**63 - 1


def filled(seconds: float) -> FarEnd:
    far = FarEnd()
    whole = int16(sound(round(seconds * RATE)))
    for at in range(0, len(whole), FRAME):
        far.write(1, at, whole[at : at + FRAME])
    return far


@pytest.mark.parametrize("step", [1.0, 1 + 1e-4, 1 - 1e-4])
@pytest.mark.parametrize("place", [9600.0, 9600.5, 9601.123, 12_345.678])
def test_between_two_samples_is_what_was_between_them(place: float, step: float) -> None:
    read = filled(2).read(place, step, FRAME)
    wanted = sound(FRAME, at=place, step=step)
    error_db = 10 * np.log10(np.square(read - wanted).sum() / np.square(wanted).sum())
    assert error_db < -50


def test_samples_that_never_came_are_silence() -> None:
    far = filled(1)
    assert not far.read(-3 * FRAME, 1.0, FRAME).any()
    assert not far.read(RATE + 100, 1.0, FRAME).any()
    assert not far.read(float("nan"), 1.0, FRAME).any()
    assert not far.read(1e300, 1.0, FRAME).any()
    # of a read that begins before the end, the second half is silence
    half = far.read(RATE - FRAME // 2, 1.0, FRAME)
    assert half[: FRAME // 2 - 8].any()
    assert not half[FRAME // 2 + 8 :].any()
    # a gap between two frames is silence
    far.write(1, RATE + FRAME, int16(sound(FRAME)))
    assert not far.read(RATE + 8, 1.0, FRAME - 16).any()
    assert far.read(RATE + FRAME + 8, 1.0, FRAME - 16).any()


def test_silence_that_came_is_silence_and_takes_nothing_from_the_sound_before_it() -> None:
    far, other = filled(1), filled(1)
    far.write(1, far.end, int16(np.zeros(RATE)))
    # around the end of the sound, received silence reads like silence that was never received
    for place in np.arange(RATE - 2 * FRAME, RATE + 2 * FRAME, 7.3):
        read = far.read(float(place), 1.0, FRAME)
        np.testing.assert_array_equal(read, other.read(float(place), 1.0, FRAME))
        assert read.any() == (place < RATE + 7)


def test_its_line_goes_on_for_ever() -> None:
    far = FarEnd()
    whole = int16(sound(30 * RATE))
    for at in range(0, len(whole), FRAME):
        far.write(1, at, whole[at : at + FRAME])
        if at > CAPACITY and not at % (37 * FRAME):
            for back in (FRAME, CAPACITY - FRAME):
                place = at - back + 0.5
                wanted = sound(FRAME, at=place)
                read = far.read(place, 1.0, FRAME - 16)
                np.testing.assert_allclose(read, wanted[: FRAME - 16], atol=2e-3)


def test_a_hole_is_silence_also_where_the_line_has_moved() -> None:
    far = filled(7.9)
    position = far.end + FRAME
    for at in range(position, position + RATE, FRAME):
        far.write(1, at, int16(sound(FRAME)))
        far.write(1, at + 3 * FRAME, int16(sound(FRAME)))
    end = far.end
    far.write(1, end + 10 * FRAME, int16(sound(FRAME)))
    assert not far.read(end + 16, 1.0, 9 * FRAME).any()


def test_repeated_and_late_audio_takes_its_own_place() -> None:
    far = filled(1)
    before = far.read(0, 1.0, RATE)
    whole = int16(sound(RATE))
    far.write(1, 20 * FRAME, whole[20 * FRAME : 21 * FRAME])
    np.testing.assert_array_equal(far.read(0, 1.0, RATE), before)
    assert far.end == RATE


@pytest.mark.parametrize(
    "jump", [CAPACITY - 1, CAPACITY, CAPACITY + 1, 2 * CAPACITY, LARGEST - 10 * RATE]
)
@pytest.mark.parametrize("seconds", [0.02, 3.98, 4.0, 7.98, 8.0, 11.0])
@pytest.mark.parametrize("length", [0, 1, FRAME, CAPACITY, messages.MAX_AUDIO // 2])
def test_a_far_position_is_taken_as_it_is(jump: int, seconds: float, length: int) -> None:
    far = filled(seconds)
    held = far._line.nbytes
    position = far.end + jump
    given = int16(sound(length) + 0.3)
    far.write(1, position, given)
    kept = given[-CAPACITY:]
    read = far.read(position + length - len(kept), 1.0, len(kept))
    np.testing.assert_allclose(read[16:-16], kept[16:-16] / 32768, atol=2e-2)
    assert far._line.nbytes == held


def test_another_stream_empties_it() -> None:
    far = filled(1)
    far.write(2, 20 * FRAME, int16(sound(FRAME)))
    assert not far.read(0, 1.0, 19 * FRAME).any()
    assert far.stream == 2
    # so does a stream whose positions restart, as a forged message could have it
    far = FarEnd()
    far.write(1, LARGEST, int16(sound(FRAME)))
    far.write(1, 0, int16(sound(FRAME)))
    assert far.read(10, 1.0, FRAME - 20).any()
