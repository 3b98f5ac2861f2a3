"""Messages in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from commands import phrases
from shared import codec, messages

pytestmark = pytest.mark.unit

MS = 1_000_000
RECORD = messages.Interruption(
    generation=2,
    session=1,
    cause="speech_started",
    onset_ns=1000 * MS,
    event_ns=1160 * MS,
    flush_ns=1160 * MS + 300_000,
    received_ns=1161 * MS,
    silent_ns=1162 * MS,
    latency_ns=10 * MS,
    reports=[messages.ItemReport("item_1", 0, 5192, 20850, "truncate", 5192, "A bare lamp")],
    cancelled=[],
)


def test_an_interruption_is_shown_in_milliseconds_and_words() -> None:
    assert phrases.lines(RECORD) == [
        "speech_started: stopped in 12 ms, heard 5.2 of 20.9 s",
        "  ms: onset -160.0, event 0.0, flush sent 0.3, flush received 1.0, silent 12.0",
        "  item_1: heard 5192 of 20850 ms, truncate at 5192 ms: “A bare lamp”",
    ]


def test_an_unknown_time_is_not_made_up() -> None:
    lost = replace(RECORD, cause="lost flush", event_ns=0, flush_ns=0, onset_ns=0, reports=[])
    assert phrases.lines(lost) == ["lost flush: stopped (the flush was lost), it had no sound"]
    assert lost.silence_ms is None


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"final": False}, "assistant: One two …"),
        ({"heard": "One two"}, "assistant: One two"),
        ({"heard": "One", "unheard": " two"}, "assistant: heard “One” not heard “two”"),
        ({"role": "user"}, "you: One two"),
    ],
)
def test_a_transcript_is_its_words(fields: dict[str, object], line: str) -> None:
    made = {"session": 1, "item_id": "a", "role": "assistant", "text": "One two", "final": True}
    assert phrases.lines(messages.Transcript(**(made | fields))) == [line]  # type: ignore[arg-type]


def test_other_messages_have_no_words() -> None:
    assert phrases.lines(messages.LinkState(state="open")) is None


def test_the_cost_is_called_an_estimate() -> None:
    spent = messages.Spent(
        responses=2, input_text=200, input_audio=1034, cached_text=64, output_audio=99
    )
    used = messages.Usage(session=1, conversation=spent, awake_ms=192_000)
    assert phrases.usage(used) == "3:12 min, 1,234 tokens in (64 cached), 99 out"
    priced = replace(
        used,
        conversation=replace(spent, cost_micros=12_345),
        currency="USD",
        priced_on="2026-11-27",
    )
    assert phrases.usage(priced).endswith(", about 0.0123 USD (estimate, prices of 2026-11-27)")
    assert phrases.usage(priced, brief=True).endswith(", about 0.0123 USD (estimate)")
    last = messages.Spent(responses=1, input_text=10, output_text=5, cost_micros=100)
    day = messages.Spent(responses=9, input_text=5000, output_text=500, cost_micros=9_000_000)
    assert phrases.lines(replace(priced, last=last, day=day, date="2026-11-28")) == [
        "last response: 10 tokens in, 5 out, about 0.0001 USD (estimate, prices of 2026-11-27)",
        f"  conversation: {phrases.usage(priced)}",
        "  2026-11-28: 5,000 tokens in, 500 out, about 9.0000 USD (estimate, prices of 2026-11-27)",
    ]
    unpriced = replace(priced, unpriced=["a-model"])
    assert phrases.usage(unpriced).endswith("99 out, no price for a-model")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (messages.LinkState(state="open", reason=""), "connected"),
        (messages.LinkState(state="open", round_trip_us=23456), "connected, round trip 23.5 ms"),
        (messages.LinkState(state="connecting"), "connecting"),
        (messages.LinkState(state="refused", reason="wrong key"), "refused: wrong key"),
    ],
)
def test_the_connection_in_words(state: messages.LinkState, words: str) -> None:
    assert phrases.link(state) == words


def test_a_call_in_words() -> None:
    run = messages.ToolRun("call_1", "delete", "asking", number="3", summary="delete('a')")
    assert phrases.asks(run) == (
        "delete('a') waits for your approval: bargein control approve 3 (or deny 3)"
    )
    failed = messages.ToolResult(call_id="c", name="clock", ok=False, took_ms=200)
    assert phrases.result(failed) == "clock: failed after 0.2 s"
    output = codec.write_output(messages.ToolOutput("It is\nnoon."))
    told = messages.ToolResult(call_id="c", name="clock", took_ms=200, payload=output)
    assert (
        phrases.result(replace(told, summary="clock()")) == "clock(): done after 0.2 s: It is noon."
    )
    # A notice, and what tells the model to ask for an approval, are only for the model.
    assert [phrases.result(replace(told, what=what)) for what in ("notice", "model_only")] == [
        "",
        "",
    ]
    denied = replace(told, what="approval", ok=False, summary="delete('a')", payload=b"")
    assert phrases.result(denied) == "delete('a'): denied"
