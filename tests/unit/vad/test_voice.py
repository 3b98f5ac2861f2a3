"""When somebody begins and stops speaking, and which windows the detector is shown."""

from __future__ import annotations

import numpy as np
import pytest

from harness import rooms
from harness.acoustics import responses
from services.vad.voice import WINDOW, Change, Voice
from shared.audio import pcm
from shared.audio.silero import Silero

BEGAN_NS = 7_000_000_000
WINDOW_NS = WINDOW * 1_000_000_000 // 16_000
#: Loud enough to be shown to the detector.
SOUND = np.resize(np.array([3000, -3000], np.int16), pcm.FRAME)


class Script:
    """A detector that returns these probabilities in turn, and then repeats the last."""

    def __init__(self, *probabilities: float) -> None:
        self._left = list(probabilities)
        self.shown = 0
        #: How many windows it had been shown when it was reset.
        self.resets: list[int] = []

    def __call__(self, window: bytes, /) -> float:
        assert len(window) == 2 * WINDOW
        self.shown += 1
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]

    def reset(self) -> None:
        self.resets.append(self.shown)


def heard(
    voice: Voice,
    samples: np.ndarray[tuple[int, ...], np.dtype[np.int16]],
    begin: int = 0,
    frame: int = pcm.FRAME,
) -> list[Change]:
    found: list[Change] = []
    for at in range(begin, len(samples), frame):
        payload = samples[at : at + frame].tobytes()
        found += voice.take(payload, BEGAN_NS + pcm.samples_to_ns(at))
    return found


def sound(seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.resize(SOUND, round(seconds * pcm.RATE))


@pytest.mark.parametrize("frame", [240, pcm.FRAME, 481, 9600])
def test_onset_and_end_are_the_audios(frame: int) -> None:
    # speech in windows 3 to 9; 96 ms of silence end it
    voice = Voice(Script(0, 0, 0, *[0.9] * 7, 0), 0.5, 96)
    onset, end = heard(voice, sound(1), frame=frame)
    assert (onset.speaking, end.speaking) == (True, False)
    # the resampler's delay is accounted for; a sample is 63 us
    assert abs(onset.at_ns - BEGAN_NS - 3 * WINDOW_NS + 2_000_000) < 100_000
    assert abs(end.at_ns - onset.at_ns - 7 * WINDOW_NS) < 100_000


def test_a_real_voices_onset_is_found_where_it_is() -> None:
    said = rooms.person(0) * responses.level(-26)
    loud = int(np.flatnonzero(np.abs(said) > rooms.ONSET * np.abs(said).max())[0])
    whole = np.concatenate((np.zeros(2 * pcm.RATE), said, np.zeros(pcm.RATE)))
    chance = np.random.default_rng(5)
    whole += chance.standard_normal(len(whole)) * responses.level(-65)
    voice = Voice(Silero(), 0.5, 300)
    changes = heard(voice, np.rint(whole * 32767).astype(np.int16))
    assert changes[0].speaking
    onset_ms = (changes[0].at_ns - BEGAN_NS) / 1e6 - 2000 - loud / 24
    assert -40 < onset_ms < 110
    assert not changes[-1].speaking
    end_ms = (changes[-1].at_ns - BEGAN_NS) / 1e6 - 2000 - len(said) / 24
    assert -400 < end_ms < 150


def test_speech_goes_on_where_the_detector_is_a_little_less_sure() -> None:
    # 0.36 is within the hysteresis of 0.15; 0.34 is not
    voice = Voice(Script(0.5, 0.36, 0.36, 0.36, 0.36, 0.36, 0.34, 0.36, 0.36, 0.36), 0.5, 96)
    onset, end = heard(voice, sound(1))
    assert abs(end.at_ns - onset.at_ns - 6 * WINDOW_NS) < 100_000
    assert not voice.speaking
    # 0.49 is no onset, and a silence of 64 ms is no end
    assert heard(Voice(Script(0.49), 0.5, 96), sound(0.5)) == []
    [onset] = heard(Voice(Script(0.9, 0, 0, 0.9, 0, 0, 0.9, 0.9), 0.5, 96), sound(0.5))
    assert onset.speaking


def test_until_stops_at_the_end_of_the_speech() -> None:
    voice = Voice(Script(0.9, 0.9, 0.9, 0), 0.5, 200)
    [onset] = heard(voice, sound(0.24))
    assert voice.speaking
    assert abs(voice.until_ns - onset.at_ns - 3 * WINDOW_NS) < 100_000


def test_silence_is_not_shown_to_the_detector() -> None:
    chance = np.random.default_rng(6)
    noise = np.rint(chance.standard_normal(20 * pcm.RATE) * 60).astype(np.int16)
    voice = Voice(Script(0.1), 0.5, 300)
    heard(voice, noise[: 10 * pcm.RATE])
    # the detector is shown a new noise until the noise is known, and nothing after that
    looked = voice.windows
    assert 31 < looked < 4 * 31
    heard(voice, noise, begin=10 * pcm.RATE)
    assert voice.windows == looked
    voice = Voice(Script(0.9), 0.5, 300)
    assert heard(voice, np.zeros(5 * pcm.RATE, np.int16)) == []
    assert voice.windows == 0
    # a louder sound is shown at once, and so is the second that follows
    loud = np.zeros(3 * pcm.RATE, np.int16)
    loud[pcm.RATE : pcm.RATE + pcm.FRAME] = SOUND
    voice = Voice(Script(0.1), 0.5, 300)
    heard(voice, loud)
    assert 30 <= voice.windows <= 33


def test_the_detector_forgets_what_it_heard_before_windows_were_left_out() -> None:
    silent = np.zeros(2 * pcm.RATE, np.int16)
    detector = Script(0.1)
    voice = Voice(detector, 0.5, 300)
    # two noises half a second apart are one stretch; the third comes after windows were left out
    noise, pause = sound(0.2), silent[: pcm.RATE // 2]
    heard(voice, np.concatenate([noise, pause, noise, silent]))
    assert detector.resets == [0]
    shown = detector.shown
    heard(voice, np.concatenate([noise, silent]))
    assert detector.resets == [0, shown]


def test_speech_is_not_forgotten_while_it_goes_on() -> None:
    # a detector that is sure, in soft sound that would not be shown by its loudness
    detector = Script(0.9)
    voice = Voice(detector, 0.5, 300)
    soft = np.zeros(5 * pcm.RATE, np.int16)
    heard(voice, np.concatenate([sound(0.2), soft, sound(0.2)]))
    assert voice.speaking
    assert detector.resets == [0]


def test_the_rooms_noise_is_learnt_though_it_is_loud() -> None:
    chance = np.random.default_rng(6)
    noise = np.rint(chance.standard_normal(60 * pcm.RATE) * 200).astype(np.int16)
    voice = Voice(Script(0.1), 0.5, 300)
    heard(voice, noise)
    # the estimate rises by 3 dB a second from next to nothing: more than ten seconds
    assert voice.windows * 0.032 < 25
    before = voice.windows
    heard(voice, noise)
    assert voice.windows == before


def test_a_lost_frame_takes_its_time_as_well() -> None:
    voice = Voice(Script(*[0.1] * 40, 0.9), 0.5, 300)
    whole = sound(3)
    onsets: list[Change] = []
    taken = 0
    for at in range(0, len(whole), pcm.FRAME):
        # each tenth frame is lost, and each frame lacks three samples
        if at // pcm.FRAME % 10 == 9:
            continue
        taken += 1
        payload = whole[at : at + pcm.FRAME - 3].tobytes()
        found = voice.take(payload, BEGAN_NS + pcm.samples_to_ns(at))
        if found:
            onsets += found
            here = pcm.samples_to_ns(at)
            break
    [onset] = onsets
    # the window ends in this frame at the latest
    ended = onset.at_ns - BEGAN_NS + WINDOW_NS
    assert 0 <= here + pcm.samples_to_ns(pcm.FRAME) - ended < 25_000_000


@pytest.mark.parametrize("later", [1, 11, 41])
def test_a_detector_that_starts_some_frames_later_finds_the_same_onsets(later: int) -> None:
    chance = np.random.default_rng(5)
    whole = np.concatenate((np.zeros(2 * pcm.RATE), rooms.person(0), np.zeros(pcm.RATE)))
    whole += chance.standard_normal(len(whole)) * responses.level(-65)
    said = np.rint(whole * 32767).clip(-32768, 32767).astype(np.int16)
    begin = later * pcm.FRAME
    first = heard(Voice(Silero(), 0.5, 300), said)
    assert len(first) >= 2
    assert heard(Voice(Silero(), 0.5, 300, position=begin), said, begin) == first
