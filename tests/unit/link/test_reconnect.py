"""How long link waits before it connects again."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.link import endings, reconnect
from services.link.reconnect import Backoff
from shared import messages

pytestmark = pytest.mark.unit


class Chance(random.Random):
    """A random source that returns the same value each time."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def random(self) -> float:
        return self.value


LONGEST, SHORTEST = 1 - 2**-53, 0.0
first = st.integers(10, 60_000)
most = st.integers(10, 600_000)


@given(first, most, st.integers(0, 2**32), st.integers(1, 80))
def test_a_delay_is_between_half_the_first_and_the_longest(
    first_ms: int, max_ms: int, seed: int, tries: int
) -> None:
    backoff = Backoff(first_ms, max_ms, random.Random(seed))
    for _ in range(tries):
        assert min(first_ms, max_ms) // 2 <= backoff.next_ms() <= max_ms


@given(first, most, st.sampled_from([LONGEST, SHORTEST, 0.5]))
def test_delays_double_until_the_longest(first_ms: int, max_ms: int, value: float) -> None:
    backoff = Backoff(first_ms, max_ms, Chance(value))
    delays = [backoff.next_ms() for _ in range(40)]
    assert delays == sorted(delays)
    assert delays[-1] == int(max_ms * (0.5 + value / 2))
    for before, after in itertools.pairwise(delays):
        if after < delays[-1]:
            assert 0 <= after - 2 * before <= 1  # rounding


@given(first, st.integers(1, 60))
def test_chance_shortens_by_up_to_half(first_ms: int, tries: int) -> None:
    shortest = Backoff(first_ms, 600_000, Chance(SHORTEST))
    longest = Backoff(first_ms, 600_000, Chance(LONGEST))
    for _ in range(tries):
        short, long = shortest.next_ms(), longest.next_ms()
        assert 0 <= long - 2 * short <= 1


def test_chance_differs_from_one_client_to_the_next() -> None:
    assert len({Backoff(10_000, 10_000).next_ms() for _ in range(20)}) > 1


def test_a_good_connection_begins_anew() -> None:
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    delays = [backoff.next_ms() for _ in range(3)]
    backoff.reset()
    assert [backoff.next_ms() for _ in range(3)] == delays


def test_months_of_tries_stay_cheap() -> None:
    backoff = Backoff(500, 30_000, Chance(SHORTEST), _tries=10**15)
    assert backoff.next_ms() == 15_000


# the delay after an ending


def waits(backoff: Backoff, cause: messages.Cause, lasted_s: float, asked_ms: int = 0) -> int:
    return backoff.delay_after(endings.Lost(cause, "", asked_ms), lasted_s)


@pytest.mark.parametrize("cause", sorted(reconnect.RETRY_AT_ONCE))
def test_after_a_good_connection_it_is_tried_at_once(cause: messages.Cause) -> None:
    backoff = Backoff(10_000, 30_000, Chance(LONGEST))
    assert waits(backoff, cause, 3600) <= reconnect.AT_ONCE_MS
    # The attempt after that one waits.
    assert [waits(backoff, "unreachable", 0) for _ in range(2)] == [10_000, 20_000]


def test_a_connection_that_ends_again_and_again_is_not_tried_at_once() -> None:
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    delays = [waits(backoff, "closed", 1) for _ in range(4)]
    assert delays == [100, 200, 400, 800]


def test_a_server_may_ask_for_a_longer_delay_but_not_for_any_delay() -> None:
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    assert waits(backoff, "busy", 3600, 7000) == 7000
    assert waits(backoff, "busy", 0, 86_400_000) == 10_000


def test_after_a_refusal_the_delays_are_longer_up_to_the_longest() -> None:
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    refused = endings.Refused("HTTP 401", "check the key")
    slow = [backoff.delay_after(refused, 0) for _ in range(8)]
    assert slow == [400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]
    assert slow[0] == reconnect.SLOWER * 100
