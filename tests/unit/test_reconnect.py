"""When to connect again, and when not to."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.realtime import reconnect
from shared.realtime.reconnect import Backoff

pytestmark = pytest.mark.unit


class Chance(random.Random):
    """Chance that always falls the same way."""

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
    backoff.worked()
    assert [backoff.next_ms() for _ in range(3)] == delays


def test_months_of_tries_stay_cheap() -> None:
    backoff = Backoff(500, 30_000, Chance(SHORTEST), _tries=10**15)
    assert backoff.next_ms() == 15_000


@pytest.mark.parametrize("code", [1008, 3000, 3001, 4000, 4004, 4999])
def test_closes_that_are_final(code: int) -> None:
    assert reconnect.close_is_final(code)


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 1014, 1015])
def test_closes_that_may_pass(code: int) -> None:
    assert not reconnect.close_is_final(code)


@pytest.mark.parametrize("status", [200, 301, 302, 400, 401, 403, 404, 410, 426])
def test_http_answers_that_are_final(status: int) -> None:
    assert reconnect.http_is_final(status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_http_answers_that_may_pass(status: int) -> None:
    assert not reconnect.http_is_final(status)


@pytest.mark.parametrize(
    ("reason", "status", "what"),
    [
        ("invalid_request_error.invalid_api_key", 0, "OPENAI_API_KEY"),
        ("invalid_request_error.invalid_model", 0, "check link.model"),
        ("invalid_request_error.missing_model", 0, "check link.model"),
        ("invalid_request_error.beta_api_shape_disabled", 0, "beta"),
        ("", 401, "OPENAI_API_KEY"),
        ("", 403, "link.model"),
        ("", 404, "link.url"),
        ("something new", 0, "link.url"),
    ],
)
def test_a_refusal_says_what_to_do(reason: str, status: int, what: str) -> None:
    assert what in reconnect.advice(reason, status)
