"""The whole canceller in short computed scenes: the echo is removed, a person comes through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from harness import room, rooms
from harness.acoustics import responses
from harness.rooms import Rendered, Scene, Sound
from services.echo.aligner import Aligner
from services.echo.canceller import Canceller
from services.echo.kalman import KalmanFilter
from services.vad.voice import Voice
from shared import config, messages
from shared.audio import pcm
from shared.audio.silero import Silero

FRAME, RATE = pcm.FRAME, pcm.RATE


def no_clock() -> float:
    """Return no processor time: reading it takes a sixth of a scene's own."""
    return 0.0


LIVING = Scene("living room", 0.3, -5, 40, seconds=10, barge_ins=0, seed=3)


@dataclass
class Done:
    """A scene before and after the canceller, full scale 1."""

    canceller: Canceller
    before: Sound
    after: Sound

    def removed_db(self, begin_s: float, end_s: float) -> float:
        here = slice(round(begin_s * RATE), round(end_s * RATE))
        before, after = (np.square(sound[here]).mean() for sound in (self.before, self.after))
        return responses.decibels(before) - responses.decibels(after)


def frames(sound: Sound) -> Iterator[bytes]:
    samples = np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)
    for at in range(0, len(samples) - FRAME + 1, FRAME):
        yield samples[at : at + FRAME].tobytes()


def cancelled(microphone: Sound, far: Sound, canceller: Canceller | None = None) -> Done:
    """Run a canceller on a microphone and a speaker that share a clock."""
    canceller = canceller or Canceller(high_pass=True, noise_suppression=False)
    fars = far.astype(np.float32)
    made = [
        pcm.to_array(canceller.process(near, fars[n * FRAME : (n + 1) * FRAME]))
        for n, near in enumerate(frames(microphone))
    ]
    after = np.concatenate(made) / 32768
    return Done(canceller, microphone[: len(after)], after)


def scene(**changes: object) -> Rendered:
    return rooms.render(replace(LIVING, **changes))  # type: ignore[arg-type]


def with_person(
    rendered: Rendered, at_s: float, dbfs: float = rooms.NEAR_DBFS
) -> tuple[Sound, Sound]:
    """Add a person to a scene. Return the microphone, and the person alone."""
    said = rooms.person(2) * responses.level(dbfs)
    near = np.zeros(len(rendered.microphone))
    at = round(at_s * RATE)
    said = said[: len(near) - at]
    near[at : at + len(said)] = said
    return rendered.microphone + near, near


def onsets(sound: Sound) -> list[float]:
    """Return when Silero detects the beginnings of speech, in seconds."""
    voice = Voice(Silero(), 0.5, 300)
    found = []
    for number, frame in enumerate(frames(sound)):
        changes = voice.take(frame, 10**9 + pcm.samples_to_ns(number * FRAME))
        found += [(c.at_ns - 10**9) / 1e9 for c in changes if c.speaking]
    return found


@pytest.mark.parametrize("echo_db", [-15, 0])
def test_the_assistant_is_gone_two_seconds_after_it_began(echo_db: float) -> None:
    rendered = scene(echo_db=echo_db)
    done = cancelled(rendered.microphone, rendered.far)
    assert done.removed_db(2, 10) >= 25
    assert onsets(done.after) == []
    # the canceller reports the same
    assert done.canceller.removed_db > 15
    assert done.canceller.far_audible
    assert not done.canceller.passes


@pytest.mark.parametrize("echo_db", [-10, -3])
def test_a_person_comes_through(echo_db: float) -> None:
    rendered = scene(echo_db=echo_db)
    microphone, near = with_person(rendered, 6)
    done = cancelled(microphone, rendered.far)
    spoken = np.flatnonzero(np.abs(near) > 0.3 * np.abs(near).max())
    begin, end = spoken[0] / RATE, spoken[-1] / RATE
    here = slice(round(begin * RATE), round(end * RATE))
    change_db = responses.decibels(np.square(done.after[here]).mean()) - responses.decibels(
        np.square(near[here]).mean()
    )
    assert -5 < change_db < 1.5
    [onset] = [at for at in onsets(done.after) if at > 2][:1]
    assert abs(onset - begin) < 0.25
    # the echo stays removed until then
    assert done.removed_db(2, 5.9) >= 25


@pytest.mark.parametrize("jump_ms", [80, -30, -51.3, 290])
def test_the_filter_follows_a_jump_of_the_delay_at_once(jump_ms: float) -> None:
    rendered = scene(jump_ms=jump_ms, seconds=10, delay_ms=60)
    done = cancelled(rendered.microphone, rendered.far)
    assert done.removed_db(2, 5) >= 25
    assert done.removed_db(5.1, 10) >= 25
    assert done.canceller.moved == 1
    assert not [at for at in onsets(done.after) if at > 2]


def test_the_filter_learns_a_changed_room_again_within_seconds() -> None:
    rendered, other = scene(), scene(seed=11, delay_ms=90, reverb_s=0.2)
    half = len(rendered.far)
    microphone = np.concatenate((rendered.microphone, other.microphone))
    done = cancelled(microphone, np.concatenate((rendered.far, other.far)))
    assert done.removed_db(2, half / RATE) >= 25
    assert done.removed_db(half / RATE + 4, half / RATE + 10) >= 22


def test_a_person_is_no_echo_that_has_jumped() -> None:
    rendered = scene(echo_db=0, seconds=14)
    for at_s in (4.3, 6.1, 8.4, 9.2):
        microphone, _ = with_person(rendered, at_s)
        assert cancelled(microphone, rendered.far).canceller.moved == 0


def test_an_echo_that_comes_very_late_is_looked_for_and_found() -> None:
    rendered = scene(delay_ms=700, seconds=14, reverb_s=0.2)
    done = cancelled(rendered.microphone, rendered.far)
    assert done.removed_db(9, 14) >= 20


def test_a_volume_that_is_turned_up_is_followed() -> None:
    rendered = scene(seconds=12, echo_db=-15)
    louder = rendered.microphone.copy()
    louder[6 * RATE :] *= 3
    done = cancelled(louder, rendered.far)
    assert done.removed_db(2, 6) >= 25
    assert done.removed_db(8, 12) >= 25
    assert [at for at in onsets(done.after) if at > 7.5] == []


def test_a_speaker_that_is_silenced_leaves_no_sound_of_the_prediction() -> None:
    rendered = scene(seconds=9)
    microphone = rendered.microphone.copy()
    # In the middle of a frame: its first half opens the gate.
    cuts = [slice(at, at + RATE // 10) for at in range(4 * RATE + FRAME // 2, 8 * RATE, RATE // 2)]
    for cut in cuts:
        microphone[cut] = 1e-4 * np.random.default_rng(5).standard_normal(RATE // 10)
    done = cancelled(microphone, rendered.far)
    # The whole frames within a cut hold the noise, and the end of what the high-pass filter makes
    # of the step. With the prediction, they reach 0.03.
    within = slice(FRAME // 2, -FRAME // 2)
    assert max(np.abs(done.after[cut][within]).max() for cut in cuts) < 5e-3


def test_with_headphones_the_microphone_passes_through_untouched() -> None:
    rendered = scene()
    chance = np.random.default_rng(8)
    quiet = chance.standard_normal(len(rendered.far)) * responses.level(-65)
    microphone, _ = with_person(replace(rendered, microphone=quiet), 5)
    done = cancelled(microphone, rendered.far)
    assert done.canceller.passes
    assert done.canceller.removed_db == 0
    given = b"".join(frames(microphone))
    passed = pcm.from_array(np.rint(done.after * 32768).astype(np.int16))
    begin = 4 * RATE * pcm.SAMPLE_BYTES
    assert passed[begin:] == given[begin : len(passed)]
    # the headphones are unplugged: the microphone soon stops passing through
    done = cancelled(rendered.microphone, rendered.far, done.canceller)
    assert not done.canceller.passes
    assert done.removed_db(5, 10) >= 20


def test_with_headphones_the_filter_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = scene(seconds=8)
    chance = np.random.default_rng(8)
    quiet = chance.standard_normal(len(rendered.far)) * responses.level(-70)
    done = cancelled(quiet, rendered.far)
    assert done.canceller.passes
    monkeypatch.delattr(KalmanFilter, "process")
    microphone, _ = with_person(replace(rendered, microphone=quiet), 2)
    again = cancelled(microphone, rendered.far, done.canceller)
    assert again.canceller.passes


def test_another_device_is_learnt_anew() -> None:
    rendered, other = scene(), scene(seed=11, delay_ms=90, reverb_s=0.2)
    canceller = cancelled(rendered.microphone, rendered.far).canceller
    canceller.restart()
    done = cancelled(other.microphone, other.far, canceller)
    assert done.removed_db(3, 10) >= 25
    assert canceller.moved == 0


def restarted(rendered: Rendered, begin_s: float, end_s: float, *, speaker_s: float = 0.0) -> Done:
    """Run a new canceller and aligner on a part of a scene, as a restarted stage would.

    The first frame of the speaker arrives ``speaker_s`` later than the microphone's.
    """
    canceller, aligner = Canceller(high_pass=True, noise_suppression=False), Aligner()
    made, near = [], []
    for now, message in room.frames(rendered, np.random.default_rng(1)):
        at_s = (now - 10**9) / 1e9
        if not begin_s <= at_s < end_s:
            continue
        if isinstance(message, messages.SpeakerFrame):
            if at_s >= begin_s + speaker_s:
                aligner.speaker(message, now)
        elif isinstance(message, messages.MicFrame):
            aligner.microphone(message)
        for aligned in aligner.take(now):
            near.append(pcm.to_array(aligned.frame.payload))
            made.append(pcm.to_array(canceller.cancel(aligned, aligner)))
    return Done(canceller, np.concatenate(near) / 32768, np.concatenate(made) / 32768)


@pytest.mark.parametrize("echo_db", [-5, 0])
@pytest.mark.parametrize("speaker_s", [0.0, 0.06, 0.5])
def test_a_restarted_canceller_takes_no_echo_for_a_person(echo_db: float, speaker_s: float) -> None:
    rendered = scene(seconds=12, echo_db=echo_db)
    done = restarted(rendered, 7.5, 12, speaker_s=speaker_s)
    assert not onsets(done.after)
    assert done.removed_db(0, 1) >= 25


def test_a_restarted_canceller_learns_the_room_again_and_lets_a_person_through() -> None:
    rendered = scene(seconds=16, drift_ppm=60.0)
    microphone, near = with_person(rendered, 11.5)
    spoken = np.flatnonzero(np.abs(near) > 0.3 * np.abs(near).max())
    done = restarted(replace(rendered, microphone=microphone), 7.5, 16)
    assert done.removed_db(2, 3.9) >= 25
    [onset, *_] = onsets(done.after)
    assert abs(onset + 7.5 - spoken[0] / RATE) < 0.25


def test_a_person_is_not_changed_while_the_assistant_is_silent() -> None:
    silent = np.zeros(6 * RATE)
    chance = np.random.default_rng(8)
    quiet = chance.standard_normal(len(silent)) * responses.level(-65)
    near = np.zeros(len(silent))
    said = rooms.person(2) * responses.level(-26)
    near[2 * RATE : 2 * RATE + len(said)] = said[: 4 * RATE]
    done = cancelled(quiet + near, silent)
    assert not done.canceller.far_audible
    here = slice(2 * RATE, min(6 * RATE, 2 * RATE + len(said)))
    change_db = responses.decibels(np.square(done.after[here]).mean()) - responses.decibels(
        np.square(near[here]).mean()
    )
    assert abs(change_db) < 1


# --- two devices with a clock each, as in benchmarks/room.py -----------------------------------


def settings(**changes: object) -> config.Config:
    found = config.Config()
    return msgspec.structs.replace(found, echo=msgspec.structs.replace(found.echo, **changes))


SHORT = Scene("short", 0.3, -3, 70, drift_ppm=100, seconds=20, barge_ins=1, seed=5)


def test_a_short_scene_meets_the_aims_and_not_without_the_canceller() -> None:
    on = room.run(SHORT, settings(), no_clock)
    assert (on.self_interruptions, on.found, on.barge_ins) == (0, 1, 1)
    assert on.removed_db >= 25
    assert len(on.ducked) == 1
    off = room.run(SHORT, settings(enabled=False), no_clock)
    assert off.self_interruptions > 0
    assert off.found == 0
    assert abs(off.removed_db) < 0.1
    assert off.false_ducks > on.false_ducks


def test_noises_end_no_sentence_where_the_client_decides() -> None:
    noisy = rooms.noisy()[2]
    on = room.run(noisy, settings(), no_clock).client
    # many noises are taken for a voice; none interrupts, and none stays in the conversation
    assert (on.noises, on.for_nothing, on.left) == (20, 0, 0)
    assert on.noticed >= 8
    assert on.found == noisy.barge_ins
    off = room.run(noisy, settings(enabled=False), no_clock).client
    assert off.for_nothing > 0
    assert off.found < noisy.barge_ins


@pytest.mark.parametrize("ppm", [100, -100])
def test_the_aligner_finds_the_drift_of_the_clocks_in_the_echo(ppm: int) -> None:
    rendered = rooms.render(replace(SHORT, barge_ins=0, seconds=12, drift_ppm=ppm))
    aligner = Aligner()
    canceller = Canceller(high_pass=True, noise_suppression=False)
    clean: list[bytes] = []
    for now, message in room.frames(rendered, np.random.default_rng(1)):
        if isinstance(message, messages.SpeakerFrame):
            aligner.speaker(message, now)
        elif isinstance(message, messages.MicFrame):
            aligner.microphone(message)
        clean += [canceller.cancel(aligned, aligner) for aligned in aligner.take(now)]
    after = pcm.to_array(b"".join(clean)) / 32768
    done = Done(canceller, rendered.microphone[: len(after)], after)
    assert done.removed_db(3, 12) >= 30
    assert (aligner._place(0)[1] - 1) * 1e6 == pytest.approx(ppm, abs=5)


def test_a_person_passes_whose_microphone_is_silent_otherwise() -> None:
    """A headset that removes its own noise gives zeros until its person speaks."""
    canceller = Canceller(high_pass=True, noise_suppression=False)
    far = rooms.assistant(3 * RATE).astype(np.float32)
    said = list(frames(0.05 * rooms.person(0)[:RATE]))
    near = [bytes(pcm.FRAME_BYTES)] * 55 + said
    clean = [canceller.process(f, far[n * FRAME : n * FRAME + FRAME]) for n, f in enumerate(near)]
    assert clean[55:] == said
