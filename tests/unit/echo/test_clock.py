"""The clock of a stream: stamps that scatter, drift and jump."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from services.echo.clock import StreamClock
from shared.audio import pcm

FRAME, RATE = pcm.FRAME, pcm.RATE
STEP_NS = pcm.samples_to_ns(FRAME)
BEGAN_NS = 5_000_000_000
LARGEST = 2**63 - 1


def stamps(
    seconds: float, *, ppm: float = 0.0, jitter_ns: float = 0.0, first: int = 0
) -> Iterator[tuple[int, int]]:
    """Yield the positions and stamps of a stream's frames.

    The device's clock is slow by ``ppm``, and the stamps scatter by ``jitter_ns``.
    """
    chance = np.random.default_rng(1)
    for number in range(round(seconds * 50)):
        position = first + number * FRAME
        at_ns = BEGAN_NS + position * 1e9 / RATE * (1 + ppm * 1e-6)
        yield position, round(at_ns + chance.normal() * jitter_ns)


def clock(given: Iterable[tuple[int, int]]) -> StreamClock:
    found = StreamClock()
    for position, at_ns in given:
        found.add(1, position, at_ns)
    return found


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
    found = StreamClock()
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
    # the next stamp that fits starts the count of outliers again
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
    found = StreamClock()
    numbers = (0, 1, 2**62, LARGEST, 5)
    for stream, position, at_ns in itertools.product((0, LARGEST), numbers, numbers):
        for _ in range(7):
            found.add(stream, position, at_ns)
        assert np.isfinite([found.ns(0), found.ns(LARGEST), found.position(LARGEST)]).all()
