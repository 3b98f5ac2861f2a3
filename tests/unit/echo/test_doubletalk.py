"""The gate: is the residual a person, or residual echo, or has the echo changed?

All sounds are white noise of a given power (full scale 1): the predicted echo, the residual
echo, a person, and the room's noise. The echo and the person pause in each fortieth
frame, as voices do; the room's noise does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from services.echo.doubletalk import WEAKEST_DB, Change, DoubleTalk
from services.echo.spectra import Samples, Spectra, rfft
from shared.audio import pcm

ECHO, NOISE, FAR = 1e-3, 1e-7, 1e-2
SECOND = 50  # frames


def voice(white: Samples) -> Spectra:
    """Return the spectrum of a sound that has all its frequencies in common with a voice."""
    return rfft(np.concatenate((np.zeros_like(white), white)))


class Ear:
    """A gate, and the frames that it is given."""

    def __init__(self, seed: int = 0) -> None:
        self.talk = DoubleTalk()
        self.changes: Counter[Change] = Counter()
        self._chance = np.random.default_rng(seed)
        self._frames = 0

    def sound(self, power: float) -> Samples:
        white = self._chance.standard_normal(pcm.FRAME, np.float32)
        return white * np.float32(np.sqrt(power))

    def hear(
        self,
        frames: int = 1,
        *,
        echo: float = ECHO,  # power of the predicted echo
        truly: float = 1.0,  # the true echo's gain over the predicted one, amplitude
        other: float = 0.0,  # power of an echo that the filter does not predict
        residual_echo_db: float = -25.0,  # the residual echo, relative to the predicted echo
        scatters_db: float = 0.0,
        person: float = 0.0,
        noise: float = NOISE,
        far: float = FAR,
        uncertain: float = 0.0,  # how much of the residual may be unlearnt echo
    ) -> Iterator[bool]:
        """Yield for each of so many frames whether the gate is open. Arguments are powers."""
        for _ in range(frames):
            self._frames += 1
            speak = self._frames % 40 > 0
            known = self.sound(echo * speak)
            this_db = residual_echo_db + self._chance.uniform(-1, 1) * scatters_db
            near = np.float32(truly) * known + self.sound(echo * 10 ** (this_db / 10) * speak)
            near += self.sound((person + other) * speak) + self.sound(noise)
            played = float(np.square(self.sound(far)).mean())
            is_open = self.talk.judge(voice(near), voice(near - known), played, uncertain)
            self.changes[self.talk.change] += 1
            yield is_open

    def learns(self, **way: float) -> None:
        """Hear the assistant alone for two seconds."""
        assert not any(self.hear(2 * SECOND, **way))

    def is_far(self) -> bool:
        return self.talk.far

    def reported(self) -> set[Change]:
        """Return the changes that were reported since the last call."""
        changes, self.changes = set(self.changes) - {Change.NONE}, Counter()
        return changes


@pytest.fixture
def ear() -> Ear:
    return Ear()


def opened(heard: Iterator[bool]) -> int:
    """Count the frames with the gate open."""
    return sum(heard)


def test_everything_passes_while_the_assistant_is_silent(ear: Ear) -> None:
    assert all(ear.hear(20, echo=0, far=0, person=1e-3))
    assert all(ear.hear(20, echo=0, far=0))
    assert not ear.is_far()
    # the same holds 0.6 s after the assistant has fallen silent
    ear.learns()
    assert ear.is_far()
    assert not any(ear.hear(29, echo=0, far=0))
    assert ear.is_far()
    assert all(ear.hear(10, echo=0, far=0))
    assert not ear.is_far()


def test_echo_that_the_filter_may_have_missed_is_no_person(ear: Ear) -> None:
    assert not any(ear.hear(SECOND, uncertain=2 * ECHO))
    # a person who is louder than that is one, from the first loud frame on
    assert all(ear.hear(10, uncertain=2 * ECHO, person=10 * ECHO))
    other = Ear()
    assert not any(other.hear(SECOND, uncertain=2 * ECHO, other=2 * ECHO))


def test_a_person_over_the_first_words_is_heard_where_the_filter_is_sure(ear: Ear) -> None:
    uncertain = ECHO / 10
    assert not any(ear.hear(20, residual_echo_db=-10, uncertain=uncertain))
    assert all(ear.hear(3, residual_echo_db=-10, uncertain=uncertain, person=8 * ECHO))


def test_an_echo_comes_first_and_says_nothing_about_the_residual_echo(ear: Ear) -> None:
    # as loud as the echo at first: the filter has learnt nothing, and does not know it
    assert not any(ear.hear(10, residual_echo_db=-1, scatters_db=3))


def test_a_sound_no_louder_than_the_noise_opens_no_gate_at_first(ear: Ear) -> None:
    ear.talk.noise = noise = ECHO / 100
    assert not any(ear.hear(15, noise=noise, residual_echo_db=-20))


@pytest.mark.parametrize("scatters_db", [0, 3, 6])
def test_the_echos_rest_is_no_person(ear: Ear, scatters_db: float) -> None:
    ear.learns(scatters_db=scatters_db)
    assert not any(ear.hear(20 * SECOND, scatters_db=scatters_db))
    assert ear.reported() == set()


@pytest.mark.parametrize("beside_db", [-6, 0, 10])
def test_a_person_is_heard_with_the_first_loud_frame(ear: Ear, beside_db: float) -> None:
    ear.learns()
    assert all(ear.hear(2 * SECOND, person=ECHO * 10 ** (beside_db / 10)))
    # a person is not taken for a changed echo, however loud
    assert ear.reported() == set()


@pytest.mark.parametrize("truly", [0.6, 1.4])
def test_an_echo_that_is_softer_or_louder_for_a_moment_is_no_person(ear: Ear, truly: float) -> None:
    ear.learns()
    # a speaker that is driven too hard compresses
    for _ in range(5):
        assert not any(ear.hear(5, truly=truly))
        assert not any(ear.hear(20))
    assert any(ear.hear(5, truly=truly, person=ECHO))


def test_a_sound_much_weaker_than_the_echo_is_no_person(ear: Ear) -> None:
    ear.learns()
    assert not any(ear.hear(SECOND, person=ECHO * 10 ** ((WEAKEST_DB - 3) / 10)))


def test_a_louder_residual_echo_needs_a_louder_person(ear: Ear) -> None:
    # a speaker that distorts leaves a loud and uneven residual echo
    ear.learns(residual_echo_db=-9, scatters_db=3)
    assert opened(ear.hear(10 * SECOND, residual_echo_db=-9, scatters_db=3)) == 0
    assert opened(ear.hear(SECOND, residual_echo_db=-9, scatters_db=3, person=ECHO * 10**-0.7)) == 0
    assert all(ear.hear(SECOND, residual_echo_db=-9, scatters_db=3, person=3 * ECHO))
    # where the residual echo is soft, the same sound is a person
    other = Ear()
    other.learns()
    assert all(other.hear(SECOND, person=ECHO * 10**-0.7))


def test_the_gate_stays_open_between_syllables_and_no_longer(ear: Ear) -> None:
    # the person's ending is soft, and still louder than the residual echo
    ear.learns()
    assert all(ear.hear(5, person=ECHO))
    soft = ECHO * 10**-1.2
    after = list(ear.hear(15, person=soft))
    # 200 ms, of which the tenth frame is closed already
    assert after == [True] * 9 + [False] * 6


def test_the_gate_is_not_held_open_for_nothing(ear: Ear) -> None:
    ear.learns()
    assert all(ear.hear(5, person=ECHO))
    # a voice detector that hears the residual echo would prolong the voice that has ended
    assert list(ear.hear(SECOND)) == [True] * 3 + [False] * (SECOND - 3)


def test_a_rooms_noise_is_no_person_and_a_word_is_no_noise(ear: Ear) -> None:
    loud = ECHO / 2
    ear.learns(noise=loud / 10)
    # a noise that is louder than the weakest person is learnt at 6 dB a second
    ear.talk.noise = loud
    assert not any(ear.hear(2 * SECOND, noise=loud))
    assert ear.talk.noise == pytest.approx(loud, rel=0.3)
    # where the assistant never pauses, the residual shows the noise
    list(ear.hear(5, noise=NOISE, residual_echo_db=-60))
    assert ear.talk.noise < loud / 100
    # the end of a noise is known at once, and a word raises the estimate by only 6 dB a second
    list(ear.hear(40, noise=NOISE, echo=0, far=0))
    quiet = ear.talk.noise
    assert quiet < 5 * NOISE
    list(ear.hear(8, echo=0, far=0, person=1e-2))
    assert ear.talk.noise == pytest.approx(quiet * 10**0.1, rel=0.02)


def test_an_echo_that_is_not_learnt_is_not_taken_for_noise(ear: Ear) -> None:
    # the closed gate attenuates to below the noise: at first nothing else keeps the echo inaudible
    list(ear.hear(20, echo=0, far=0))
    noise = ear.talk.noise
    list(ear.hear(35, residual_echo_db=0, uncertain=ECHO))
    assert ear.talk.noise < 1.5 * noise


def test_an_echo_below_the_noise_teaches_nothing(ear: Ear) -> None:
    ear.learns()
    # here the residual is as loud as the echo, because both are the noise
    assert not any(ear.hear(4 * SECOND, echo=NOISE, residual_echo_db=0, noise=NOISE))
    assert all(ear.hear(SECOND, person=ECHO / 3))


def test_a_room_that_has_changed_is_no_person_for_long(ear: Ear) -> None:
    ear.learns()
    heard = []
    for is_open in ear.hear(SECOND, truly=0, other=ECHO):
        heard.append(is_open)
        if ear.talk.change is not Change.NONE:
            break
    assert ear.reported() == {Change.MOVED}
    assert len(heard) < 8
    # the first frames cannot be told from a person
    assert sum(heard) <= 3


def test_a_passing_sound_does_not_count_as_a_changed_room(ear: Ear) -> None:
    ear.learns()
    for _ in range(8):
        list(ear.hear(6, truly=0, other=ECHO))
        list(ear.hear(SECOND // 2))
    assert ear.reported() == set()
    # by chance a loud voice can correlate with the echo
    list(ear.hear(25, person=20 * ECHO, truly=0.2))
    assert ear.reported() == set()
    # an echo that is softer than the noise shows nothing
    list(ear.hear(2 * SECOND, echo=NOISE, truly=0, residual_echo_db=0, far=1e-5))
    assert ear.reported() == set()


@pytest.mark.parametrize("times", [2.0, 4.0])
def test_a_volume_that_is_turned_up_is_followed(ear: Ear, times: float) -> None:
    ear.learns()
    follows = 1.0
    heard: list[bool] = []
    for _ in range(2 * SECOND):
        heard += ear.hear(echo=follows**2 * ECHO, truly=times / follows)
        if ear.talk.change is not Change.NONE:
            follows *= ear.talk.gain
            assert len(heard) < SECOND
    assert ear.reported() == {Change.LOUDER}
    assert follows == pytest.approx(times, rel=0.25)
    assert sum(heard) <= 3


def test_a_volume_that_is_turned_down_is_learnt_anew(ear: Ear) -> None:
    ear.learns()
    assert opened(ear.hear(SECOND // 2, truly=0.2)) <= 3
    assert ear.reported() == {Change.MOVED}


def test_the_learnt_path_can_be_forgotten(ear: Ear) -> None:
    ear.learns()
    list(ear.hear(person=ECHO))
    noise = ear.talk.noise
    ear.talk.forget()
    # the room's noise does not depend on the echo's path
    assert ear.talk.noise == noise
    assert not any(ear.hear(5, residual_echo_db=-3))


def test_a_person_louder_than_an_echo_that_cannot_be_learnt_is_heard(ear: Ear) -> None:
    poor = {"residual_echo_db": -2.0}
    assert not any(ear.hear(4 * SECOND, **poor))
    assert all(ear.hear(SECOND, person=10 * ECHO, **poor))


def test_speech_below_the_threshold_does_not_raise_it(ear: Ear) -> None:
    ear.learns(uncertain=ECHO / 1000)
    quiet = ear.talk.residual_echo.most_db
    # two seconds of a person who is too weak to be told from residual echo
    list(ear.hear(2 * SECOND, uncertain=ECHO / 1000, person=ECHO / 12))
    assert ear.talk.residual_echo.most_db < quiet + 12
    assert all(ear.hear(10, uncertain=ECHO / 1000, person=ECHO))


def test_a_pause_of_the_far_end_does_not_teach_the_noise_as_residual_echo(ear: Ear) -> None:
    ear.learns(noise=ECHO / 1000)
    before = ear.talk.residual_echo.most_db
    # the echo dies away, and the noise stays
    for _ in range(10):
        list(ear.hear(15, echo=0, far=0, noise=ECHO / 1000))
        list(ear.hear(5, noise=ECHO / 1000))
    assert ear.talk.residual_echo.most_db < before + 3


def test_reverberation_between_words_hides_no_person(ear: Ear) -> None:
    # the echo comes and goes with the assistant's words; the reverberation between them stays
    def hear(frames: int, person: float = 0.0) -> Iterator[bool]:
        for number in range(frames):
            word_db = 0 if number % 10 < 5 else -20
            echo = ECHO * 10 ** (word_db / 10)
            yield from ear.hear(echo=echo, residual_echo_db=-9 - word_db, person=person)

    assert not any(hear(6 * SECOND))
    assert ear.talk.residual_echo.deviation_db < 3
    assert all(hear(SECOND, person=ECHO))
