"""The message about what a conversation has used and what it costs."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.messages.base import Count, Message, Name


class Spent(msgspec.Struct, frozen=True):
    """The use of the API, by kind, and its cost. A field is in tokens unless it says otherwise.

    The tokens from the cache are a part of the input: a sum of ``input_…`` and ``cached_…`` would
    count them twice.
    """

    responses: Count = 0
    """The number of responses."""
    input_text: Count = 0
    """Text that the model read, with the part that was in the cache."""
    input_audio: Count = 0
    """Audio that the model heard, with the part that was in the cache."""
    input_image: Count = 0
    """Images that the model saw, with the part that was in the cache."""
    cached_text: Count = 0
    """The part of ``input_text`` that was in the cache, which is cheaper."""
    cached_audio: Count = 0
    """The part of ``input_audio`` that was in the cache."""
    cached_image: Count = 0
    """The part of ``input_image`` that was in the cache."""
    output_text: Count = 0
    """Text that the model wrote: words, calls and reasoning."""
    output_audio: Count = 0
    """Audio that the model spoke."""
    transcripts: Count = 0
    """The number of the person's turns that were transcribed."""
    transcript_audio: Count = 0
    """Audio that the transcription heard, if it is billed by tokens."""
    transcript_text: Count = 0
    """Text that the transcription read, if it is billed by tokens."""
    transcript_output: Count = 0
    """Text that the transcription wrote, if it is billed by tokens."""
    transcript_ms: Count = 0
    """Audio that the transcription heard, if it is billed by duration, ms."""
    cost_micros: Count = 0
    """An estimate of the cost by ``[prices]``, in millionths of their currency."""


class Usage(Message, frozen=True, kw_only=True):
    """The conversation's use of the API, and an estimate of its cost."""

    session: Count
    """The session of the last response."""
    response_id: Name = ""
    """The server's id of the last response."""
    last: Spent = Spent()
    """The last response."""
    conversation: Spent = Spent()
    """The whole conversation, since downlink's conversation began."""
    day: Spent = Spent()
    """All conversations of this user with this server on ``date``."""
    date: Name = ""
    """The day of ``day`` by this machine's clock, YYYY-MM-DD."""
    awake_ms: Count = 0
    """How long the conversation has had a session, ms. Sleep does not count."""
    currency: Name = ""
    """The currency of the costs: ``prices.currency``."""
    priced_on: Name = ""
    """The date of the prices: ``prices.date``."""
    unpriced: Annotated[list[Name], Meta(max_length=64)] = []
    """The models that were used and have no price in ``[prices]``. Their cost is missing in the
    estimates."""
