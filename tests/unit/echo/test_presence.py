"""Whether something in the microphone follows the far end: white noise, and voices."""

from __future__ import annotations

import numpy as np
import pytest

from harness import rooms
from harness.acoustics import responses
from services.echo.presence import EchoPresence
from services.echo.spectra import FrameSpectra
from shared.audio.pcm import FRAME, RATE

DELAYS, VOICE = 51, slice(4, 160)
SECONDS = 4
FAR = rooms.assistant(SECONDS * RATE)
NOISE = 1e-3 * np.random.default_rng(7).standard_normal(len(FAR))


def compared(
    near: rooms.Sound, far: rooms.Sound = FAR, presence: EchoPresence | None = None
) -> EchoPresence:
    """Return the comparison of two streams, or what another one has become with them."""
    presence = presence or EchoPresence(DELAYS, VOICE.stop - VOICE.start)
    spectra = FrameSpectra(FRAME, DELAYS)
    for at in range(0, len(near) - FRAME + 1, FRAME):
        here = slice(at, at + FRAME)
        if not spectra.push(near[here].astype(np.float32), far[here].astype(np.float32)):
            continue
        rows, powers = spectra.rows(0, DELAYS)
        presence.add(spectra.near[VOICE], rows[:, VOICE], powers[:, VOICE])
    return presence


def echo(delay_ms: float, gain_db: float, reverb_s: float = 0.3) -> rooms.Sound:
    response = rooms.response(np.random.default_rng(3), reverb_s, delay_ms)
    return responses.convolved(FAR, response) * responses.level(gain_db)


@pytest.mark.parametrize("delay_ms", [5, 330, 610, 990])
@pytest.mark.parametrize("gain_db", [-30, 0, 15])
def test_an_echo_is_found_at_its_delay_whatever_its_gain(delay_ms: float, gain_db: float) -> None:
    presence = compared(echo(delay_ms, gain_db) + 0.03 * NOISE)
    assert presence.present
    assert not presence.absent
    assert abs(presence.delay - int(delay_ms / 20)) <= 1


def test_an_echo_below_the_noise_is_an_echo() -> None:
    soft = echo(60, 0)
    soft *= np.sqrt(np.square(NOISE).mean() / np.square(soft).mean()) * responses.level(-8)
    assert compared(soft + NOISE).present


def test_an_echo_far_below_a_person_is_an_echo() -> None:
    person = np.resize(rooms.person(1), len(FAR))
    soft = echo(60, 0)
    soft *= np.sqrt(np.square(person).mean() / np.square(soft).mean()) * responses.level(-20)
    assert compared(person + soft).present


@pytest.mark.parametrize("number", range(4))
def test_a_person_follows_nothing(number: int) -> None:
    person = np.resize(rooms.person(number), len(FAR))
    presence = compared(person * responses.level(-26) + NOISE)
    assert presence.absent
    assert not presence.present


def test_an_echo_that_moves_again_and_again_is_still_an_echo() -> None:
    far = rooms.assistant(10 * RATE)
    near = responses.convolved(far, rooms.response(np.random.default_rng(3), 0.3, 300))
    # the microphone loses 10 ms in each half second
    half = RATE // 2
    near = np.concatenate([near[at : at + half - 240] for at in range(0, len(near), half)])
    seconds = slice(0, 9 * RATE)
    presence = compared(near[seconds], far[seconds])
    assert presence.present
    assert not presence.absent


def test_a_filter_that_predicts_the_microphone_proves_an_echo() -> None:
    for is_confirmed in (False, True):
        presence = compared(NOISE[:RATE], FAR[:RATE])
        if is_confirmed:
            presence.confirm()
        presence = compared(NOISE[RATE : 2 * RATE], FAR[RATE : 2 * RATE], presence)
        assert presence.absent != is_confirmed


def test_less_than_a_second_and_a_half_proves_no_absence() -> None:
    short = slice(0, 70 * FRAME)
    presence = compared(NOISE[short], FAR[short])
    assert not presence.absent
    assert not presence.present


def test_unplugged_headphones_are_noticed_and_a_result_can_be_forgotten() -> None:
    presence = compared(NOISE)
    assert presence.absent
    later = np.concatenate((NOISE, echo(60, -10)[: 2 * RATE]))
    presence = compared(later, np.concatenate((FAR, FAR[: 2 * RATE])))
    assert presence.present
    assert not presence.absent
    presence.forget()
    assert not presence.present


def test_a_microphone_of_zeros_has_no_echo_until_one_is_heard() -> None:
    presence = EchoPresence(DELAYS, VOICE.stop - VOICE.start)
    for _ in range(DELAYS):
        presence.add_silence()
        assert not presence.absent
    presence.add_silence()
    assert presence.absent


def test_an_echo_is_not_forgotten_while_the_microphone_is_muted() -> None:
    presence = compared(echo(60, 0))
    assert presence.present
    for _ in range(2 * DELAYS):
        presence.add_silence()
    assert presence.present
    assert not presence.absent
