"""Add up what the server reports as used, and estimate its cost. Pure.

A report that does not fit the API is not counted: other servers leave fields out, or invent some.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared import messages
from shared.prices import Prices
from shared.settings_check import price_of

#: How many responses are remembered, so that none is counted twice.
REMEMBERED = 256
#: How many models without a price are named: as many as Usage holds.
MAX_UNPRICED = 64

Tokens = Annotated[int, Meta(ge=0, le=2**40)] | None


class TokensByKind(msgspec.Struct, frozen=True):
    """Tokens by kind."""

    text_tokens: Tokens = None
    audio_tokens: Tokens = None
    image_tokens: Tokens = None


class InputTokens(TokensByKind, frozen=True):
    """The input's tokens by kind, and the part of them that was in the cache."""

    cached_tokens: Tokens = None
    cached_tokens_details: TokensByKind | None = None


class ResponseUsage(msgspec.Struct, frozen=True):
    """``usage`` of a response."""

    input_tokens: Tokens = None
    output_tokens: Tokens = None
    input_token_details: InputTokens | None = None
    output_token_details: TokensByKind | None = None


class TranscriptUsage(msgspec.Struct, frozen=True):
    """``usage`` of a transcription: tokens, or seconds."""

    seconds: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None
    input_tokens: Tokens = None
    output_tokens: Tokens = None
    input_token_details: TokensByKind | None = None


class BadUsage(ValueError):
    """Raised when a report does not fit the API, with the reason."""


def plus(one: messages.Spent, other: messages.Spent) -> messages.Spent:
    """Return the sum of two uses."""
    names = messages.Spent.__struct_fields__
    return messages.Spent(**{name: getattr(one, name) + getattr(other, name) for name in names})


class UsageCounter:
    """Sums the use of the responses and the transcripts of one conversation."""

    def __init__(self, prices: Prices, model: str, transcription_model: str) -> None:
        self._prices = prices
        #: The models, by which the prices are found.
        self.model, self.transcription_model = model, transcription_model
        self.last = messages.Spent()
        self.last_id = ""
        self.conversation = messages.Spent()
        self.unpriced: list[str] = []
        self._counted: deque[str] = deque(maxlen=REMEMBERED)

    def response(self, response_id: str, usage: Any) -> messages.Spent | None:
        """Count a response. Return its use; None if the server does not say, or said before.

        Raises BadUsage.
        """
        if usage is None or response_id in self._counted:
            return None
        spent = _response_spent(_read(usage, ResponseUsage))
        self._counted.append(response_id)
        self.last, self.last_id = self._priced(spent, self.model), response_id
        self.conversation = plus(self.conversation, self.last)
        return self.last

    def transcript(self, usage: Any) -> messages.Spent | None:
        """Count the transcript of a turn. Return its use; None if the server does not say.

        Raises BadUsage.
        """
        if usage is None:
            return None
        spent = _transcript_spent(_read(usage, TranscriptUsage))
        priced = self._priced(spent, self.transcription_model)
        self.conversation = plus(self.conversation, priced)
        return priced

    def _priced(self, spent: messages.Spent, model: str) -> messages.Spent:
        """Return the use with its cost, by the prices of a model."""
        price = price_of(model, self._prices)
        if price is None:
            if model and model not in self.unpriced and len(self.unpriced) < MAX_UNPRICED:
                self.unpriced.append(model[:512])
            return spent
        # A price is for a million tokens, and the cost is in millionths: the two cancel out.
        cost = (
            (spent.input_text - spent.cached_text) * price.input_text
            + (spent.input_audio - spent.cached_audio) * price.input_audio
            + (spent.input_image - spent.cached_image) * price.input_image
            + spent.cached_text * price.cached_text
            + spent.cached_audio * price.cached_audio
            + spent.cached_image * price.cached_image
            + spent.output_text * price.output_text
            + spent.output_audio * price.output_audio
            + spent.transcript_text * price.input_text
            + spent.transcript_audio * price.input_audio
            + spent.transcript_output * price.output_text
            + spent.transcript_ms * price.minute * 1_000_000 / 60_000
        )
        return msgspec.structs.replace(spent, cost_micros=round(cost))


def _read(usage: Any, kind: type[Any]) -> Any:
    try:
        return msgspec.convert(usage, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadUsage(f"a usage that Bargein cannot read: {str(error)[:200]}") from None


def _response_spent(usage: ResponseUsage) -> messages.Spent:
    given = usage.input_token_details or InputTokens()
    text, image = given.text_tokens or 0, given.image_tokens or 0
    # Tokens of no named kind count as audio, the dearest kind: an estimate must not be too low.
    audio = max(given.audio_tokens or 0, (usage.input_tokens or 0) - text - image)
    written, spoken = _output(usage)
    cached = _cached(given, messages.Spent(input_text=text, input_audio=audio, input_image=image))
    return messages.Spent(
        responses=1,
        input_text=text,
        input_audio=audio,
        input_image=image,
        cached_text=cached[0],
        cached_audio=cached[1],
        cached_image=cached[2],
        output_text=written,
        output_audio=spoken,
    )


def _output(usage: ResponseUsage) -> tuple[int, int]:
    """Return the tokens of the text and of the audio that the model made."""
    total, given = usage.output_tokens or 0, usage.output_token_details
    if given is None:
        return 0, total
    spoken = given.audio_tokens or 0
    # Reasoning can be missing in the details: it is text.
    return max(given.text_tokens or 0, total - spoken), spoken


def _cached(given: InputTokens, whole: messages.Spent) -> tuple[int, int, int]:
    """Return the cached tokens by kind, each at most as many as the input has of this kind."""
    kinds = given.cached_tokens_details or TokensByKind()
    text = min(kinds.text_tokens or 0, whole.input_text)
    audio = min(kinds.audio_tokens or 0, whole.input_audio)
    image = min(kinds.image_tokens or 0, whole.input_image)
    # Cached tokens of no named kind: the cache saves least with text, so they count as text first.
    left = max(0, (given.cached_tokens or 0) - text - audio - image)
    for_text = min(left, whole.input_text - text)
    for_image = min(left - for_text, whole.input_image - image)
    for_audio = min(left - for_text - for_image, whole.input_audio - audio)
    return text + for_text, audio + for_audio, image + for_image


def _transcript_spent(usage: TranscriptUsage) -> messages.Spent:
    given = usage.input_token_details or TokensByKind()
    text = given.text_tokens or 0
    return messages.Spent(
        transcripts=1,
        transcript_text=text,
        transcript_audio=max(given.audio_tokens or 0, (usage.input_tokens or 0) - text),
        transcript_output=usage.output_tokens or 0,
        transcript_ms=round((usage.seconds or 0) * 1000),
    )
