"""What the server reports is counted once, by kind, and priced."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeResponseUsage

from services.downlink.usage_counter import BadUsage, UsageCounter, plus
from shared import messages
from shared.config import Price, Prices
from shared.settings_check import price_of

pytestmark = pytest.mark.unit

PRICES = Prices(
    models={
        "large": Price(4.0, 0.4, 24.0, 32.0, 0.4, 64.0, 5.0, 0.5),
        "scribe": Price(minute=0.006),
        "typist": Price(input_text=2.5, input_audio=6.0, output_text=10.0),
    }
)
#: A response of the API, with a third of its input in the cache.
REPORT = {
    "total_tokens": 530,
    "input_tokens": 420,
    "output_tokens": 110,
    "input_token_details": {
        "text_tokens": 220,
        "audio_tokens": 150,
        "image_tokens": 50,
        "cached_tokens": 140,
        "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 30, "image_tokens": 10},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 80},
}


def counter(model: str = "large", transcription_model: str = "scribe") -> UsageCounter:
    return UsageCounter(PRICES, model, transcription_model)


def test_the_example_is_a_report_of_the_api() -> None:
    RealtimeResponseUsage.model_validate(REPORT, strict=True)


def test_the_cache_is_part_of_the_input_and_cheaper() -> None:
    spent = counter().response("resp_1", REPORT)
    assert spent is not None
    assert (spent.input_text, spent.input_audio, spent.input_image) == (220, 150, 50)
    assert (spent.cached_text, spent.cached_audio, spent.cached_image) == (100, 30, 10)
    assert (spent.output_text, spent.output_audio) == (30, 80)
    full = 120 * 4 + 120 * 32 + 40 * 5
    cached = 100 * 0.4 + 30 * 0.4 + 10 * 0.5
    assert spent.cost_micros == round(full + cached + 30 * 24 + 80 * 64)


def test_a_response_is_counted_once() -> None:
    counted = counter()
    assert counted.response("resp_1", None) is None  # some servers send the report later
    first = counted.response("resp_1", REPORT)
    assert counted.response("resp_1", REPORT) is None
    counted.response("resp_2", REPORT)
    assert first is not None
    assert counted.conversation == plus(first, first)
    assert (counted.last_id, counted.last) == ("resp_2", first)


def test_cached_tokens_of_no_named_kind_are_not_estimated_too_low() -> None:
    report = REPORT | {"input_token_details": {"text_tokens": 220, "cached_tokens": 250}}
    spent = counter().response("resp_1", report)
    assert spent is not None
    # The rest of the input counts as audio, and the cache as text first.
    assert (spent.input_text, spent.input_audio) == (220, 200)
    assert (spent.cached_text, spent.cached_audio) == (220, 30)


def test_tokens_without_details_count_as_audio() -> None:
    spent = counter().response("resp_1", {"input_tokens": 10, "output_tokens": 5})
    assert spent is not None
    assert (spent.input_audio, spent.output_audio, spent.input_text) == (10, 5, 0)


def test_reasoning_that_the_details_lack_is_text() -> None:
    details = {"text_tokens": 10, "audio_tokens": 80}
    spent = counter().response("r", {"output_tokens": 500, "output_token_details": details})
    assert spent is not None
    assert (spent.output_text, spent.output_audio) == (420, 80)


@pytest.mark.parametrize("tokens", [-1, 2**60, "many", [1]])
def test_a_report_that_does_not_fit_the_api_is_not_counted(tokens: Any) -> None:
    counted = counter()
    for bad in ({"input_tokens": tokens}, [tokens], tokens):
        with pytest.raises(BadUsage):
            counted.response("resp_1", bad)
        with pytest.raises(BadUsage):
            counted.transcript(bad)
    assert counted.conversation == messages.Spent()


def test_a_transcript_is_billed_by_time_or_by_tokens() -> None:
    by_time = counter().transcript({"type": "duration", "seconds": 90.5})
    assert by_time == messages.Spent(transcripts=1, transcript_ms=90_500, cost_micros=9050)
    details = {"text_tokens": 4, "audio_tokens": 20}
    tokens = {"type": "tokens", "input_tokens": 24, "output_tokens": 7}
    counted = counter(transcription_model="typist")
    by_tokens = counted.transcript(tokens | {"input_token_details": details})
    assert by_tokens == messages.Spent(
        transcripts=1,
        transcript_text=4,
        transcript_audio=20,
        transcript_output=7,
        cost_micros=round(4 * 2.5 + 20 * 6 + 7 * 10),
    )
    assert counted.transcript(None) is None


def test_a_model_without_a_price_is_named() -> None:
    counted = counter("unknown", "scribe")
    counted.response("resp_1", REPORT)
    counted.response("resp_2", REPORT)
    assert counted.conversation.cost_micros == 0
    assert counted.conversation.input_text == 440
    assert counted.unpriced == ["unknown"]


def test_a_dated_version_has_the_prices_of_its_model() -> None:
    assert price_of("large-2026-07-09", PRICES) == PRICES.models["large"]
    assert price_of("large-mini", PRICES) is None


@given(
    st.dictionaries(
        st.sampled_from(["text_tokens", "audio_tokens", "image_tokens", "cached_tokens"]),
        st.integers(0, 1000),
    ),
    st.dictionaries(st.sampled_from(["text_tokens", "audio_tokens"]), st.integers(0, 1000)),
    st.integers(0, 3000),
)
def test_no_kind_has_more_in_the_cache_than_in_the_input(
    given_: dict[str, Any], cached: dict[str, Any], total: int
) -> None:
    details = given_ | {"cached_tokens_details": cached}
    spent = counter().response("r", {"input_tokens": total, "input_token_details": details})
    assert spent is not None
    for kind in ("text", "audio", "image"):
        assert getattr(spent, f"cached_{kind}") <= getattr(spent, f"input_{kind}")
    assert spent.input_text + spent.input_audio + spent.input_image >= total
    assert spent.cost_micros >= 0
