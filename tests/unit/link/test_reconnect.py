"""When to connect again, and when not to."""

from __future__ import annotations

import itertools
import random
import socket
import ssl

import pytest
import websocket
from hypothesis import given
from hypothesis import strategies as st

from services.link import reconnect
from services.link.reconnect import Backoff
from shared import messages

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


# what an ending is called


class BadStatus(websocket.WebSocketBadStatusException):
    """An answer to the upgrade."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__("Handshake status", status, resp_headers=headers)


CERTIFICATE = ssl.SSLCertVerificationError("no")
CERTIFICATE.verify_message = "self-signed certificate"

ENDINGS: list[tuple[Exception, messages.Cause, str]] = [
    (websocket.WebSocketAddressException("Name or service not known"), "unresolved", "Name"),
    (socket.gaierror(-2, "Name or service not known"), "unresolved", "Name"),
    (ConnectionResetError(104, "Connection reset by peer"), "reset", "reset by peer"),
    (websocket.WebSocketConnectionClosedException("lost"), "reset", "lost"),
    (BrokenPipeError(32, "Broken pipe"), "reset", "Broken pipe"),
    (ConnectionRefusedError(111, "Connection refused"), "unreachable", "Connection refused"),
    (OSError(101, "Network is unreachable"), "unreachable", "Network"),
    (websocket.WebSocketTimeoutException("timed out"), "unreachable", "timed out"),
    (TimeoutError(), "unreachable", "TimeoutError"),
    (websocket.WebSocketProxyException("failed CONNECT"), "unreachable", "CONNECT"),
    (websocket.WebSocketException("Invalid status line: 'SSH-2.0'"), "garbled", "SSH"),
    (websocket.WebSocketProtocolException("rsv is not implemented"), "garbled", "rsv"),
    (ssl.SSLError("wrong version number"), "unreachable", "wrong version"),
    (ValueError("what?"), "unreachable", "what?"),
    (BadStatus(502), "busy", "HTTP 502"),
    (BadStatus(429), "busy", "HTTP 429"),
]


@pytest.mark.parametrize(("error", "cause", "why"), ENDINGS, ids=lambda each: str(each)[:30])
def test_an_ending_that_may_pass_has_a_name(
    error: Exception, cause: messages.Cause, why: str
) -> None:
    ending = reconnect.failed(error)
    assert ending.cause == cause
    assert why in ending.why
    assert not ending.final


@pytest.mark.parametrize(
    ("error", "why", "what"),
    [
        (BadStatus(401), "HTTP 401", "OPENAI_API_KEY"),
        (BadStatus(404), "HTTP 404", "link.url"),
        (CERTIFICATE, "certificate not trusted: self-signed certificate", "clock"),
        (websocket.WebSocketException("Redirect limit exhausted"), "a redirect", "target"),
    ],
    ids=["key", "path", "certificate", "redirect"],
)
def test_an_ending_that_is_final_says_what_to_do(error: Exception, why: str, what: str) -> None:
    ending = reconnect.failed(error)
    assert ending.cause == "refused"
    assert why in ending.why
    assert what in ending.advice
    assert ending.final


@pytest.mark.parametrize(
    ("code", "reason", "cause"),
    [
        (1000, "", "closed"),
        (1001, "Your session hit the maximum duration of 60 minutes.", "expired"),
        (1001, "going away", "closed"),
        (1011, "oops", "closed"),
        (4000, "invalid_request_error.invalid_model", "refused"),
    ],
)
def test_a_close_has_a_name(code: int, reason: str, cause: messages.Cause) -> None:
    ending = reconnect.closed(code, reason)
    assert ending.cause == cause
    assert f"({code}{' ' if reason else ''}{reason})" in ending.why
    assert ending.final == (cause == "refused")


def test_what_takes_nothing_any_more_has_stalled() -> None:
    assert reconnect.stalled(websocket.WebSocketTimeoutException("timed out")).cause == "stalled"
    assert reconnect.stalled(BrokenPipeError(32, "Broken pipe")).cause == "reset"
    assert reconnect.stalled(TimeoutError()).why == "could not send: TimeoutError"


# and how long it is waited


def waits(backoff: Backoff, cause: messages.Cause, lasted_s: float, asked_ms: int = 0) -> int:
    return backoff.after(reconnect.Ending(cause, "", asked_ms=asked_ms), lasted_s)


@pytest.mark.parametrize("cause", sorted(reconnect.AT_ONCE))
def test_after_a_good_connection_it_is_tried_at_once(cause: messages.Cause) -> None:
    backoff = Backoff(10_000, 30_000, Chance(LONGEST))
    assert waits(backoff, cause, 3600) <= reconnect.AT_ONCE_MS
    # but once only
    assert [waits(backoff, "unreachable", 0) for _ in range(2)] == [10_000, 20_000]


def test_a_connection_that_ends_again_and_again_is_not_tried_at_once() -> None:
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    delays = [waits(backoff, "closed", 1) for _ in range(4)]
    assert delays == [100, 200, 400, 800]


def test_a_server_that_is_busy_says_how_long_and_is_not_believed_everything() -> None:
    busy = reconnect.failed(BadStatus(503, {"retry-after": "7"}))
    backoff = Backoff(100, 10_000, Chance(LONGEST))
    assert backoff.after(busy, 3600) == 7000
    assert waits(backoff, "busy", 0, 86_400_000) == 10_000
    for said in ("Wed, 21 Oct 2026 07:28:00 GMT", "-5", "", "9" * 5000, "٣"):
        assert reconnect.failed(BadStatus(503, {"retry-after": said})).asked_ms == 0
