"""Whether the server's first messages begin a session."""

from __future__ import annotations

import json

import pytest

from shared.realtime import first_messages
from shared.realtime.first_messages import FirstMessages, passes

pytestmark = pytest.mark.unit


def after(*texts: object) -> FirstMessages:
    """Return the state after these messages."""
    made = FirstMessages()
    for text in texts:
        made.read(text if isinstance(text, bytes) else json.dumps(text).encode())
    return made


@pytest.mark.parametrize("kind", ["session.created", "transcription_session.created"])
def test_a_session_begins(kind: str) -> None:
    assert after({"type": kind, "session": {}}).session_begun
    assert after({"type": "error"}, {"type": kind}).session_begun


def test_an_error_is_kept_in_words() -> None:
    full = {"type": "error", "error": {"code": "session_limit_reached", "message": "One only."}}
    assert after(full).error == "session_limit_reached: One only."
    # Some servers have the name in the type.
    named = {"type": "error", "error": {"type": "server_full", "code": None, "message": None}}
    assert after(named).error == "server_full"
    assert after({"type": "error", "error": "full"}).error == "full"
    assert not after(full).session_begun


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, {"kind": "session.created"}, {}]
)
def test_garbage_begins_nothing(text: object) -> None:
    made = after(text)
    assert not made.session_begun
    assert not made.error


def test_only_the_first_messages_are_looked_at() -> None:
    made = after(*[{"type": "other"}] * first_messages.LOOKED_AT)
    assert made.over
    made.read(b'{"type":"session.created"}')
    assert not made.session_begun
    long = b'{"type":"session.created","pad":"%b"}' % (b"x" * first_messages.LONGEST)
    assert not after(long).session_begun


@pytest.mark.parametrize(
    "words",
    ["session_limit_reached", "insufficient_quota", "rate_limit_exceeded", "server is at capacity",
     "Too many sessions", "the slot is in use", "Please try again later", "overloaded",
     "server is full", "Another session is active", "all pipelines are occupied",
     "no free pipeline", "maximum concurrent connections reached",
     "Service temporarily unavailable",
     "model is loading"],
)  # fmt: skip
def test_words_of_a_refusal_that_passes(words: str) -> None:
    assert passes(words)


@pytest.mark.parametrize(
    "words",
    ["", "invalid_api_key", "invalid_request_error.invalid_model", "beta_api_shape_disabled",
     "missing_model", "unauthorized", "model_not_found",
     "Incorrect API key provided", "country not supported", "the key is not active",
     "invalid token"],
)  # fmt: skip
def test_words_of_a_refusal_that_does_not(words: str) -> None:
    assert not passes(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"error":{"code":"bad_voice","message":"No."}}', "bad_voice: No."),
        (b'{"error":"full"}', "full"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"message":"No.","request_id":7}', "No."),
        (b'1d\r\n{"error":{"message":"No."}}\r\n0\r\n\r\n', "No."),
        (b'{"error":{"message":"cut o', ""),
        (b"<html>", ""),
        (b'"}{"', ""),
        (b"", ""),
    ],
)
def test_the_words_of_an_http_answer(text: bytes, words: str) -> None:
    assert first_messages.said_in(text) == words
