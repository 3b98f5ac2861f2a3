"""Small cases of an open speaker, from the first frame on, through the aligner and the canceller.

Each case is one way in which a canceller can decide wrongly about what it hears.
"""

from __future__ import annotations

import pytest

from tests.support.open_speaker import Says, hear, scene, shoebox

BOX = shoebox(0.4, seed=4)


def test_the_first_person_who_talks_over_the_first_reply_is_heard() -> None:
    late: list[float | None] = []
    for seed, after_s in enumerate((0.7, 1.2, 1.2, 1.2)):
        says = (Says(seed, 1 + after_s, -28.0),)
        heard = hear(scene(seconds=4, echo_dbfs=-33, says=says, seed=seed))
        assert not heard.false_onsets()
        late += heard.late_ms()
    assert all(ms is not None and ms < 200 for ms in late)


@pytest.mark.parametrize("echo_dbfs", [-17.0, -12.0])
def test_an_echo_louder_than_its_far_end_is_an_echo(echo_dbfs: float) -> None:
    heard = hear(scene(seconds=9, echo_dbfs=echo_dbfs, response=BOX))
    assert not heard.passed
    assert heard.removed_db(3, 9) >= 25
    assert not heard.onsets


@pytest.mark.parametrize("delay_ms", [320, 450, 600])
def test_an_echo_that_comes_late_is_an_echo(delay_ms: float) -> None:
    heard = hear(scene(seconds=9, echo_dbfs=-28, delay_ms=delay_ms, response=BOX))
    assert not heard.passed
    assert heard.removed_db(3, 9) >= 25
    assert not heard.onsets


def test_a_person_who_speaks_after_a_pause_of_the_far_end_is_heard() -> None:
    # 20 pauses of 0.4 s; a person as loud as the echo begins 0.5 s after the end of each
    ends = [4.0 + 3.5 * number for number in range(20)]
    heard = hear(
        scene(
            seconds=ends[-1] + 4,
            echo_dbfs=-28,
            noise_dbfs=-63,
            pauses=tuple((end - 0.4, end) for end in ends),
            says=tuple(Says(n, end + 0.5, -28.0) for n, end in enumerate(ends)),
        )
    )
    assert sum(ms is not None for ms in heard.late_ms()) >= 19
    assert not heard.false_onsets()


@pytest.mark.parametrize(
    ("noise_dbfs", "seconds"), [(-58.0, 20), (-61.0, 20), (-64.0, 60), (-67.0, 20)]
)
def test_a_soft_echo_is_no_person(noise_dbfs: float, seconds: int) -> None:
    heard = hear(scene(seconds=1 + seconds, echo_dbfs=-58, noise_dbfs=noise_dbfs))
    assert not heard.onsets
