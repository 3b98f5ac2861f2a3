"""The gate: is the residual a person, the rest of the echo, or has the echo changed?

All sounds are white noise of a given power (full scale 1): the predicted echo, the rest that the
filter leaves of it, a person, and the room's noise. The echo and the person pause in each fortieth
frame, as voices do; the room's noise does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from services.echo.doubletalk import WEAKEST_DB, Change, DoubleTalk
from services.echo.kalman import Samples
from shared.audio import pcm

ECHO, NOISE, FAR = 1e-3, 1e-7, 1e-2
SECOND = 50  # frames


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
        rest_db: float = -25.0,  # the rest of the echo, relative to the predicted echo
        scatters_db: float = 0.0,
        person: float = 0.0,
        noise: float = NOISE,
        far: float = FAR,
        uncertain: float = 1.0,  # how much of the residual may be unlearnt echo
    ) -> Iterator[bool]:
        """Yield for each of so many frames whether the gate is open. Arguments are powers."""
        for _ in range(frames):
            self._frames += 1
            speak = self._frames % 40 > 0
            known = self.sound(echo * speak)
            this_db = rest_db + self._chance.uniform(-1, 1) * scatters_db
            near = np.float32(truly) * known + self.sound(echo * 10 ** (this_db / 10) * speak)
            near += self.sound((person + other) * speak) + self.sound(noise)
            is_open = self.talk.judge(near, near - known, self.sound(far), uncertain)
            self.changes[self.talk.change] += 1
            yield is_open

    def learns(self, **way: float) -> None:
        """Hear the assistant alone for two seconds, and check that the room is learnt."""
        assert not any(self.hear(2 * SECOND, **way))
        assert self.learnt()

    def learnt(self) -> bool:
        return self.talk.learnt

    def far(self) -> bool:
        return self.talk.far

    def passes(self) -> bool:
        return self.talk.no_echo

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


def test_where_the_assistant_is_silent_everything_is_let_through(ear: Ear) -> None:
    assert all(ear.hear(20, echo=0, far=0, person=1e-3))
    assert all(ear.hear(20, echo=0, far=0))
    assert not ear.far()
    # the same holds 0.6 s after the assistant has fallen silent
    ear.learns()
    assert ear.far()
    assert not any(ear.hear(29, echo=0, far=0))
    assert ear.far()
    assert all(ear.hear(10, echo=0, far=0))
    assert not ear.far()


def test_until_the_room_is_learnt_the_gate_is_closed(ear: Ear) -> None:
    assert not any(ear.hear(20))
    assert not ear.learnt()
    # nor can a person be told from an echo yet
    assert not any(ear.hear(4, person=ECHO))
    assert not any(ear.hear(10))
    assert ear.learnt()


def test_who_talks_over_the_first_words_is_heard_where_the_filter_is_sure(ear: Ear) -> None:
    uncertain = ECHO / 10
    assert not any(ear.hear(6, uncertain=uncertain))
    # a sound that is softer than the uncertain part may be echo; a louder one is a person
    assert not any(ear.hear(3, uncertain=uncertain, person=0.8 * ECHO))
    assert all(ear.hear(3, uncertain=uncertain, person=2 * ECHO))
    assert not ear.learnt()
    # neither a pause nor a person who speaks on is learnt as the rest of the echo
    assert all(ear.hear(2, uncertain=ECHO, truly=2))
    list(ear.hear(SECOND, uncertain=uncertain, person=4 * ECHO))
    assert not any(list(ear.hear(SECOND))[5:])
    assert ear.learnt()


def test_who_is_not_louder_than_the_noise_is_nobody_at_first_either(ear: Ear) -> None:
    ear.talk.noise = noise = ECHO / 100
    assert not any(ear.hear(15, uncertain=0, noise=noise, rest_db=-20))


def test_an_echo_that_the_filter_has_not_found_is_no_person(ear: Ear) -> None:
    # the echo comes later than the filter covers
    assert not any(ear.hear(20, echo=ECHO / 100, truly=0, other=ECHO, uncertain=ECHO / 100))
    # the same after a room that was learnt
    other = Ear()
    other.learns()
    other.talk.forget()
    assert not any(other.hear(10, uncertain=ECHO / 100))
    assert not any(other.hear(10, uncertain=ECHO / 100, other=ECHO))


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
    assert ear.learnt()


@pytest.mark.parametrize("truly", [0.6, 1.4])
def test_an_echo_that_is_softer_or_louder_for_a_moment_is_no_person(ear: Ear, truly: float) -> None:
    ear.learns()
    # a speaker that is driven too hard compresses
    for _ in range(5):
        assert not any(ear.hear(5, truly=truly))
        assert not any(ear.hear(20))
    assert any(ear.hear(5, truly=truly, person=ECHO))


def test_what_is_much_weaker_than_the_echo_is_no_person(ear: Ear) -> None:
    ear.learns()
    assert not any(ear.hear(SECOND, person=ECHO * 10 ** ((WEAKEST_DB - 3) / 10)))


def test_who_is_told_from_the_rest_depends_on_how_much_is_left(ear: Ear) -> None:
    # a speaker that distorts leaves a loud and uneven rest
    ear.learns(rest_db=-9, scatters_db=3)
    assert opened(ear.hear(10 * SECOND, rest_db=-9, scatters_db=3)) == 0
    assert opened(ear.hear(SECOND, rest_db=-9, scatters_db=3, person=ECHO * 10**-0.7)) == 0
    assert all(ear.hear(SECOND, rest_db=-9, scatters_db=3, person=3 * ECHO))
    # where the rest is soft, the same sound is a person
    other = Ear()
    other.learns()
    assert all(other.hear(SECOND, person=ECHO * 10**-0.7))


def test_the_gate_stays_open_between_syllables_and_no_longer(ear: Ear) -> None:
    # the person's ending is soft, and still louder than the rest of the echo
    ear.learns()
    assert all(ear.hear(5, person=ECHO))
    soft = ECHO * 10**-1.2
    after = list(ear.hear(15, person=soft))
    # 200 ms, of which the tenth frame is closed already
    assert after == [True] * 9 + [False] * 6


def test_the_gate_is_not_held_open_for_nothing(ear: Ear) -> None:
    ear.learns()
    assert all(ear.hear(5, person=ECHO))
    # a voice detector that hears the rest of the echo would prolong the voice that has ended
    assert list(ear.hear(SECOND)) == [True] * 3 + [False] * (SECOND - 3)


def test_a_rooms_noise_is_no_person_and_a_word_is_no_noise(ear: Ear) -> None:
    loud = ECHO / 2
    ear.learns(noise=loud / 10)
    # a noise that is louder than the weakest person is learnt at 6 dB a second
    ear.talk.noise = loud
    assert not any(ear.hear(2 * SECOND, noise=loud))
    assert ear.talk.noise == pytest.approx(loud, rel=0.3)
    # where the assistant never pauses, the residual shows the noise
    list(ear.hear(5, noise=NOISE, rest_db=-60))
    assert ear.talk.noise < loud / 100
    # the end of a noise is known at once, and a word raises the estimate by only 6 dB a second
    list(ear.hear(noise=NOISE, echo=1e-9))
    quiet = ear.talk.noise
    assert quiet < 5 * NOISE
    list(ear.hear(8, echo=0, far=0, person=1e-2))
    assert ear.talk.noise == pytest.approx(quiet * 10**0.1, rel=0.02)


def test_an_echo_that_is_not_learnt_is_not_taken_for_noise(ear: Ear) -> None:
    # the closed gate attenuates to below the noise: at first nothing else keeps the echo inaudible
    list(ear.hear(20, echo=0, far=0))
    noise = ear.talk.noise
    list(ear.hear(35, rest_db=0))
    assert not ear.learnt()
    assert ear.talk.noise < 1.5 * noise


def test_an_echo_below_the_noise_teaches_nothing(ear: Ear) -> None:
    ear.learns()
    # here the residual is as loud as the echo, because both are the noise
    assert not any(ear.hear(4 * SECOND, echo=NOISE, rest_db=0, noise=NOISE))
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


def test_what_passes_is_no_room_that_has_changed(ear: Ear) -> None:
    ear.learns()
    for _ in range(8):
        list(ear.hear(6, truly=0, other=ECHO))
        list(ear.hear(SECOND // 2))
    assert ear.reported() == set()
    # by chance a loud voice can correlate with the echo
    list(ear.hear(25, person=20 * ECHO, truly=0.2))
    assert ear.reported() == set()
    # an echo that is softer than the noise shows nothing
    list(ear.hear(2 * SECOND, echo=NOISE, truly=0, rest_db=0, far=1e-5))
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
    assert ear.learnt()


def test_a_volume_that_is_turned_down_is_learnt_anew(ear: Ear) -> None:
    ear.learns()
    assert opened(ear.hear(SECOND // 2, truly=0.2)) <= 3
    assert ear.reported() == {Change.MOVED}


def test_what_was_learnt_can_be_forgotten(ear: Ear) -> None:
    ear.learns()
    list(ear.hear(person=ECHO))
    noise = ear.talk.noise
    ear.talk.forget()
    assert not ear.learnt()
    # the room's noise does not depend on the echo's path
    assert ear.talk.noise == noise
    assert not any(ear.hear(20, person=ECHO))
    ear.learns()


# --- headphones: the assistant speaks, and the microphone hears nothing of it -------------------


def no_echo(ear: Ear, frames: int, **way: float) -> None:
    list(ear.hear(frames, echo=NOISE / 100, rest_db=0, **way))


def test_a_loud_far_end_that_leaves_nothing_is_no_echo(ear: Ear) -> None:
    no_echo(ear, 50)
    assert not ear.passes()
    no_echo(ear, 10)
    assert ear.passes()
    # from then on every sound is a person
    no_echo(ear, 2 * SECOND, person=1e-3)
    assert ear.passes()
    assert ear.reported() == set()


def test_a_soft_far_end_proves_nothing(ear: Ear) -> None:
    no_echo(ear, 10 * SECOND, far=5e-5)
    assert not ear.passes()


def test_who_speaks_all_the_time_with_headphones_on_is_let_through(ear: Ear) -> None:
    # the filter takes a small part of the person's voice for an echo
    list(ear.hear(40, echo=1e-5, truly=0, person=1e-3))
    assert not ear.passes()
    list(ear.hear(25, echo=1e-5, truly=0, person=1e-3))
    assert ear.passes()


def test_an_echo_in_between_is_an_echo(ear: Ear) -> None:
    # a soft beginning leaves no echo, and then there is one after all
    no_echo(ear, 40)
    ear.learns()
    no_echo(ear, 25)
    assert not ear.passes()


def test_headphones_that_are_plugged_out_are_found_out(ear: Ear) -> None:
    no_echo(ear, 4 * SECOND)
    poor = {"rest_db": -3.0}
    # a person's voice can resemble the assistant's for some frames
    list(ear.hear(10, **poor))
    assert ear.passes()
    no_echo(ear, SECOND, person=1e-3)
    list(ear.hear(10, **poor))
    assert ear.passes()
    list(ear.hear(6, **poor))
    assert not ear.passes()
    # at first the rest is loud, and no person
    list(ear.hear(5, **poor))
    assert not any(ear.hear(SECOND // 2, **poor))
    assert not ear.learnt()
    assert not any(ear.hear(4 * SECOND))
    assert ear.learnt()


def test_an_echo_that_cannot_be_learnt_is_one_day_let_through(ear: Ear) -> None:
    poor = {"rest_db": -2.0}
    assert not any(ear.hear(9 * SECOND, **poor))
    assert not ear.learnt()
    list(ear.hear(2 * SECOND, **poor))
    assert ear.learnt()
    # the echo is not taken for a person, and a louder person is heard
    assert opened(ear.hear(4 * SECOND, **poor)) == 0
    assert all(ear.hear(SECOND, person=10 * ECHO, **poor))
