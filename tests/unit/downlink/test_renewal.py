"""When a session is renewed: at a quiet moment, or before it is too late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.downlink import Reader
from services.downlink import events, objects, renewal
from services.downlink.renewal import Moment, Renewal
from services.downlink.replies import Replies

pytestmark = pytest.mark.unit

S = 1_000_000_000
LIMIT_S, BEFORE_S = 3600, 300
OPENED = 7 * S
DUE = OPENED + (LIMIT_S - BEFORE_S) * S
URGENT = OPENED + LIMIT_S * S - BEFORE_S * S // renewal.IGNORE_PLAYING_SHARE
FORCED = OPENED + LIMIT_S * S - BEFORE_S * S // renewal.FORCED_SHARE

STARTED, STOPPED = events.SpeechStarted(0, "a"), events.SpeechStopped(1, "a")
CREATED = events.ResponseCreated(objects.Response("resp_1"))
DONE = events.ResponseDone(objects.Response("resp_1"))
CALLED = events.ItemDone(objects.Item("c", "function_call"))


def happen(made: Renewal, *happened: events.Event, at: int) -> None:
    """Let downlink read server events at a time, ns."""
    reader = Reader(Replies(generation=1, session=1), renewal=made)
    for event in happened:
        reader.read(event, at)


def begun(*happened: events.Event) -> Renewal:
    """Return the renewal of an open session in which events came as it became due."""
    made = Renewal(LIMIT_S * 1000, BEFORE_S * 1000)
    made.begin_session(1, OPENED)
    happen(made, *happened, at=DUE)
    return made


def test_a_session_that_is_not_open_is_not_renewed() -> None:
    assert Renewal(1000, 500).moment(10**18) is None


def test_a_silent_session_is_renewed_when_it_is_due() -> None:
    made = begun()
    assert made.moment(DUE - 1) is None
    assert made.moment(DUE) is Moment.QUIET
    # the next session is renewed in its turn
    made.begin_session(2, DUE)
    assert made.moment(FORCED) is None
    assert made.moment(DUE + (LIMIT_S - BEFORE_S) * S) is Moment.QUIET


@pytest.mark.parametrize(
    ("events", "waits_s"),
    [
        ((STARTED,), 3600),
        ((STARTED, STOPPED), renewal.ANSWER_NS / S),
        ((STARTED, STOPPED, CREATED), 3600),
        ((STARTED, STOPPED, CREATED, DONE), renewal.QUIET_NS / S),
        ((CREATED, CALLED, DONE), renewal.CALL_NS / S),
        ((CREATED, CALLED, DONE, CREATED, DONE), renewal.QUIET_NS / S),
        ((events.UserTranscript("a", "Hello"),), renewal.QUIET_NS / S),
        ((events.Ignored("rate_limits.updated"),), 0),
    ],
    ids=["speaks", "waits", "is answered", "was answered", "calls", "called", "words", "nothing"],
)
def test_it_waits_for_a_quiet_moment(events: tuple[events.Event, ...], waits_s: float) -> None:
    made = begun(*events)
    quiet = DUE + int(waits_s * S)
    for before in (DUE, quiet - 1):
        assert before >= quiet or made.moment(min(before, URGENT - 1)) is None
    if quiet < URGENT:
        assert made.moment(quiet) is Moment.QUIET


def test_a_renewal_waits_for_playing_audio_but_not_for_ever() -> None:
    made = begun()
    made.playing(DUE, playing=True)
    assert made.moment(DUE + S) is None
    made.playing(DUE + S, playing=False)
    assert made.moment(DUE + S + renewal.QUIET_NS - 1) is None
    assert made.moment(DUE + S + renewal.QUIET_NS) is Moment.QUIET
    made.playing(DUE + 2 * S, playing=True)
    assert made.moment(URGENT - 1) is None
    assert made.moment(URGENT) is Moment.QUIET


def test_a_person_who_speaks_all_the_time_does_not_stop_the_renewal() -> None:
    made = begun(STARTED)
    assert made.moment(FORCED - 1) is None
    assert made.moment(FORCED) is Moment.FORCED
    assert FORCED < OPENED + LIMIT_S * S


def test_the_server_may_end_it_sooner_and_not_later() -> None:
    made = begun()
    made.expires(OPENED + 2 * LIMIT_S * S)
    assert made.moment(DUE - 1) is None
    made.expires(OPENED + LIMIT_S // 2 * S)
    assert made.moment(OPENED + (LIMIT_S // 2 - BEFORE_S) * S) is Moment.QUIET


def test_a_clock_that_is_wrong_does_not_end_it_at_once() -> None:
    made = begun()
    made.expires(OPENED + 10 * S)
    made.expires(OPENED - 3600 * S)
    assert made.moment(OPENED + LIMIT_S // 2 * S) is None


def test_another_session_begins_with_nobody_speaking() -> None:
    made = begun(STARTED, CREATED)
    made.begin_session(2, OPENED + 1)
    assert made.moment(DUE + renewal.QUIET_NS) is Moment.QUIET


any_event = st.sampled_from(
    [STARTED, STOPPED, CREATED, DONE, CALLED, events.UserTranscript("a", "b")]
)


@given(st.lists(st.tuples(st.integers(0, LIMIT_S), any_event | st.booleans())))
def test_it_is_renewed_before_its_end_whatever_happens(
    happens: list[tuple[int, events.Event | bool]],
) -> None:
    made = begun()
    for at_s, what in sorted(happens, key=lambda each: each[0]):
        now = OPENED + at_s * S
        if isinstance(what, bool):
            made.playing(now, playing=what)
        else:
            happen(made, what, at=now)
        assert (made.moment(now) is None) or now >= DUE
        if made.moment(now) is Moment.QUIET and now < URGENT:
            assert what in (DONE, False) or now > DUE
    assert made.moment(FORCED) is not None


def test_a_reply_that_waits_for_a_page_is_not_heard_by_anybody() -> None:
    made = Renewal(LIMIT_S * 1000, BEFORE_S * 1000)
    made.playing(S, playing=True, heard=100)
    assert made.somebody_speaks(10 * S)
    assert not made.somebody_speaks(12 * S)
    made.playing(20 * S, playing=True, heard=100)  # playback repeats its state
    assert not made.somebody_speaks(20 * S)
    made.playing(21 * S, playing=True, heard=200)
    assert made.somebody_speaks(22 * S)
