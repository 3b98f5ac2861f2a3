"""The search for a late echo, and the buffer that it searches."""

from __future__ import annotations

import numpy as np
import pytest

from harness import rooms
from services.echo.delay import SEARCHED, DelaySearch, Recent
from shared.audio.pcm import FRAME, RATE


def test_the_newest_samples_are_kept_exactly() -> None:
    recent = Recent(1000)
    whole = np.arange(1, 6001, dtype=np.float32)
    at = 0
    for length in [480] * 5 + [1, 999, 1000, 480, 7] + [480] * 4:
        recent.add(whole[at : at + length])
        at += length
        padded = np.concatenate((np.zeros(1000, np.float32), whole[:at]))
        np.testing.assert_array_equal(recent.samples, padded[-1000:])


def searched(near: rooms.Sound, far: rooms.Sound) -> DelaySearch:
    search = DelaySearch()
    for at in range(0, SEARCHED * FRAME, FRAME):
        search.add(
            near[at : at + FRAME].astype(np.float32), far[at : at + FRAME].astype(np.float32)
        )
    return search


@pytest.mark.parametrize("delay_ms", [0, 60, 700])
def test_an_echo_is_found_at_its_delay(delay_ms: float) -> None:
    far = rooms.assistant(4 * RATE)
    chance = np.random.default_rng(3)
    echo = rooms.convolved(far, rooms.response(chance, 0.2, delay_ms))
    found = searched(echo, far).find()
    assert found is not None
    assert abs(found - delay_ms * RATE / 1000) < RATE // 1000


def test_a_person_is_no_echo() -> None:
    far = rooms.assistant(4 * RATE)
    near = np.resize(rooms.person(1) * 0.05, 4 * RATE)
    assert searched(near, far).find() is None
