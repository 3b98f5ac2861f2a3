"""The section [prices] of config.toml: what each model costs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Money = Annotated[float, Meta(ge=0, le=1_000_000)]


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of one model, per million tokens or per minute of audio."""

    input_text: Money = 0.0
    cached_text: Money = 0.0
    output_text: Money = 0.0
    input_audio: Money = 0.0
    cached_audio: Money = 0.0
    output_audio: Money = 0.0
    input_image: Money = 0.0
    cached_image: Money = 0.0
    minute: Money = 0.0


#: By the pages of the models at developers.openai.com/api/docs/models, compared on Prices.date.
_LARGE = Price(4.0, 0.4, 24.0, 32.0, 0.4, 64.0, 5.0, 0.5)
MODELS = {
    "gpt-realtime-2.1": _LARGE,
    "gpt-realtime-2.1-mini": Price(0.6, 0.06, 2.4, 10.0, 0.3, 20.0, 0.8, 0.08),
    "gpt-realtime-2": _LARGE,
    "gpt-realtime-1.5": Price(4.0, 0.4, 16.0, 32.0, 0.4, 64.0, 5.0, 0.5),
    "gpt-transcribe": Price(minute=0.0045),
    "gpt-live-transcribe": Price(minute=0.017),
}


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[prices]: what the models cost, for the estimates."""

    date: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2026-11-27"])] = "2026-11-28"
    currency: Annotated[str, Meta(min_length=1, max_length=8)] = "USD"
    models: dict[str, Price] = msgspec.field(default_factory=lambda: dict(MODELS))
