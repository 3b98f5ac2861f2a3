"""When a session is renewed: at a quiet moment, or before it is too late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.realtime import events as e
from shared.realtime import renewal as r
from shared.realtime.renewal import Renewal

pytestmark = pytest.mark.unit

S = 1_000_000_000
LIMIT_S, BEFORE_S = 3600, 300
OPENED = 7 * S
DUE = OPENED + (LIMIT_S - BEFORE_S) * S
URGENT = OPENED + LIMIT_S * S - BEFORE_S * S // r.URGENT
FORCED = OPENED + LIMIT_S * S - BEFORE_S * S // r.FORCED

STARTED, STOPPED = e.SpeechStarted(0, "a"), e.SpeechStopped(1, "a")
CREATED = e.ResponseCreated(e.Response("resp_1"))
DONE = e.ResponseDone(e.Response("resp_1"))
CALLED = e.ItemDone(e.Item("c", "function_call"))


def renewal(*events: e.Event, at: int = DUE) -> Renewal:
    made = Renewal(LIMIT_S * 1000, BEFORE_S * 1000)
    made.connected(1, OPENED)
    for event in events:
        made.read(event, at)
    return made


def test_a_session_that_is_not_open_is_not_renewed() -> None:
    assert Renewal(1000, 500).moment(10**18) == ""


def test_a_silent_session_is_renewed_when_it_is_due() -> None:
    made = renewal()
    assert made.moment(DUE - 1) == ""
    assert made.moment(DUE) == "quiet"
    # and the next one in its turn
    made.connected(2, DUE)
    assert made.moment(FORCED) == ""
    assert made.moment(DUE + (LIMIT_S - BEFORE_S) * S) == "quiet"


@pytest.mark.parametrize(
    ("events", "waits_s"),
    [
        ((STARTED,), 3600),
        ((STARTED, STOPPED), r.ANSWER_NS / S),
        ((STARTED, STOPPED, CREATED), 3600),
        ((STARTED, STOPPED, CREATED, DONE), r.QUIET_NS / S),
        ((CREATED, CALLED, DONE), r.CALL_NS / S),
        ((CREATED, CALLED, DONE, CREATED, DONE), r.QUIET_NS / S),
        ((e.UserTranscript("a", "Hello"),), r.QUIET_NS / S),
        ((e.Ignored("rate_limits.updated"),), 0),
    ],
    ids=["speaks", "waits", "is answered", "was answered", "calls", "called", "words", "nothing"],
)
def test_it_waits_for_a_quiet_moment(events: tuple[e.Event, ...], waits_s: float) -> None:
    made = renewal(*events)
    quiet = DUE + int(waits_s * S)
    for before in (DUE, quiet - 1):
        assert before >= quiet or made.moment(min(before, URGENT - 1)) == ""
    if quiet < URGENT:
        assert made.moment(quiet) == "quiet"


def test_what_plays_is_waited_for_but_not_to_the_end() -> None:
    made = renewal()
    made.playing(DUE, playing=True)
    assert made.moment(DUE + S) == ""
    made.playing(DUE + S, playing=False)
    assert made.moment(DUE + S + r.QUIET_NS - 1) == ""
    assert made.moment(DUE + S + r.QUIET_NS) == "quiet"
    made.playing(DUE + 2 * S, playing=True)
    assert made.moment(URGENT - 1) == ""
    assert made.moment(URGENT) == "quiet"


def test_who_speaks_all_the_time_is_not_waited_for_for_ever() -> None:
    made = renewal(STARTED)
    assert made.moment(FORCED - 1) == ""
    assert made.moment(FORCED) == "forced"
    assert FORCED < OPENED + LIMIT_S * S


def test_the_server_may_end_it_sooner_and_not_later() -> None:
    made = renewal()
    made.expires(OPENED + 2 * LIMIT_S * S)
    assert made.moment(DUE - 1) == ""
    made.expires(OPENED + LIMIT_S // 2 * S)
    assert made.moment(OPENED + (LIMIT_S // 2 - BEFORE_S) * S) == "quiet"


def test_a_clock_that_is_wrong_does_not_end_it_at_once() -> None:
    made = renewal()
    made.expires(OPENED + 10 * S)
    made.expires(OPENED - 3600 * S)
    assert made.moment(OPENED + LIMIT_S // 2 * S) == ""


def test_another_session_begins_with_nobody_speaking() -> None:
    made = renewal(STARTED, CREATED)
    made.connected(2, OPENED + 1)
    assert made.moment(DUE + r.QUIET_NS) == "quiet"


events = st.sampled_from([STARTED, STOPPED, CREATED, DONE, CALLED, e.UserTranscript("a", "b")])


@given(st.lists(st.tuples(st.integers(0, LIMIT_S), events | st.booleans())))
def test_it_is_renewed_before_its_end_whatever_happens(
    happens: list[tuple[int, e.Event | bool]],
) -> None:
    made = renewal()
    for at_s, what in sorted(happens, key=lambda each: each[0]):
        now = OPENED + at_s * S
        if isinstance(what, bool):
            made.playing(now, playing=what)
        else:
            made.read(what, now)
        assert (made.moment(now) == "") or now >= DUE
        if made.moment(now) == "quiet" and now < URGENT:
            assert what in (DONE, False) or now > DUE
    assert made.moment(FORCED) != ""
