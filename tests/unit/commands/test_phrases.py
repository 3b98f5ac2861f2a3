"""Messages in words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from commands import phrases
from shared import messages

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
    reports=[messages.Report("item_1", 0, 5192, 20850, "truncate", 5192, "A bare lamp")],
    cancelled=[],
)


def test_an_interruption_is_told_in_milliseconds_and_words() -> None:
    assert phrases.lines(RECORD) == [
        "speech_started: stopped in 12 ms, heard 5.2 of 20.9 s",
        "  ms: onset -160.0, event 0.0, flush sent 0.3, flush received 1.0, silent 12.0",
        "  item_1: heard 5192 of 20850 ms, truncate at 5192 ms: “A bare lamp”",
    ]


def test_what_is_not_known_is_not_made_up() -> None:
    lost = replace(RECORD, cause="lost flush", event_ns=0, flush_ns=0, onset_ns=0, reports=[])
    assert phrases.lines(lost) == ["lost flush: stopped (the flush was lost), nothing was heard"]
    assert phrases.silence_ms(lost) is None


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
