"""The limits for the peers of a publisher's endpoint."""

from __future__ import annotations

import pytest

from shared import registry
from shared.bus.peers import BURST, RATE, SUBSCRIPTIONS, Requests, Strangers

pytestmark = pytest.mark.unit


def test_a_reader_of_everything_is_far_below_the_limit() -> None:
    assert 4 * len(registry.TOPICS) < SUBSCRIPTIONS


def test_a_connection_has_a_limit_of_subscriptions() -> None:
    requests = Requests(0.0)
    allowed = [requests.allow(begins=True, now=float(n)) for n in range(SUBSCRIPTIONS + 1)]
    assert allowed == [True] * SUBSCRIPTIONS + [False]
    # The end of one makes room for another.
    assert requests.allow(begins=False, now=1e6)
    assert not requests.allow(begins=True, now=2e6)


def test_ends_that_had_no_beginning_give_no_room() -> None:
    requests = Requests(0.0)
    for n in range(10):
        assert requests.allow(begins=False, now=float(n))
    allowed = [requests.allow(begins=True, now=1e6 + n) for n in range(SUBSCRIPTIONS + 1)]
    assert allowed == [True] * SUBSCRIPTIONS + [False]


def test_a_connection_that_subscribes_and_ends_it_again_and_again_has_a_limit() -> None:
    requests = Requests(0.0)
    flood = [requests.allow(begins=n % 2 == 0, now=0.0) for n in range(BURST + 1)]
    assert flood == [True] * BURST + [False]
    slowly = Requests(0.0)
    assert all(slowly.allow(begins=n % 2 == 0, now=n / RATE) for n in range(10 * BURST))


def test_the_oldest_stranger_goes_first_and_a_reader_stays() -> None:
    strangers = Strangers(most=3)
    assert [strangers.came(n, 10 + n) for n in (1, 2, 3)] == [None] * 3
    strangers.subscribed(1)
    assert strangers.came(4, 14) is None
    assert strangers.came(5, 15) == (2, 12)
    assert strangers.came(6, 16) == (3, 13)
    strangers.subscribed(99)
