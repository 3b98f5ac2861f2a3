"""The server's events, read. Shapes are those of the GA Realtime API (the ``openai`` package's
types).

Beta names are understood on input, for compatible servers that still speak them; they are never
sent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(max_length=512)]
Millis = Annotated[int, Meta(ge=0, le=2**53)]
Index = Annotated[int, Meta(ge=0, le=2**31)]


class BadEvent(ValueError):
    """Raised when a text is not a server event, with the reason."""


class Event(msgspec.Struct, frozen=True):
    """Base of every event that is acted on. Fields that are not needed are not read."""


class SessionTerms(msgspec.Struct, frozen=True):
    """The part of a session object that matters here."""

    expires_at: int | None = None  # s since 1970


class SessionCreated(Event, frozen=True):
    """``session.created``: the first event of a connection."""

    session: SessionTerms = SessionTerms()


class Content(msgspec.Struct, frozen=True):
    """One part of an item's content: its words."""

    type: str = ""
    text: str | None = None
    transcript: str | None = None


class Item(msgspec.Struct, frozen=True):
    """The part of an item that matters here."""

    id: Id = ""
    type: str = ""
    role: str | None = None
    status: str | None = None
    content: list[Content] | None = None
    name: str | None = None
    call_id: Id | None = None
    arguments: str | None = None
    output: str | None = None

    @property
    def text(self) -> str:
        """Its words, as far as they are known."""
        parts = (part.text or part.transcript or "" for part in self.content or ())
        return " ".join(part for part in parts if part)


class ItemAdded(Event, frozen=True):
    """``conversation.item.added``, or ``.created`` of older servers."""

    item: Item
    previous_item_id: Id | None = None


class ItemDone(Event, frozen=True):
    """``conversation.item.done``: nothing more will come of the item."""

    item: Item
    previous_item_id: Id | None = None


class SpeechStarted(Event, frozen=True):
    """``input_audio_buffer.speech_started``: the person began to speak."""

    audio_start_ms: Millis  # in the session's input audio, prefix padding included
    item_id: Id


class SpeechStopped(Event, frozen=True):
    """``input_audio_buffer.speech_stopped``."""

    audio_end_ms: Millis
    item_id: Id


class Committed(Event, frozen=True):
    """``input_audio_buffer.committed``: a turn is in the conversation."""

    item_id: Id


class TimeoutTriggered(Event, frozen=True):
    """``input_audio_buffer.timeout_triggered``: a silence becomes a turn, which it answers."""

    item_id: Id


class Failure(msgspec.Struct, frozen=True):
    """What the server says of an error."""

    message: str | None = None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    event_id: str | None = None

    @property
    def text(self) -> str:
        """The message, where there is one."""
        return self.message or ""


class StatusDetails(msgspec.Struct, frozen=True):
    """Why a response ended as it did."""

    type: str | None = None
    reason: str | None = None
    error: Failure | None = None


class Response(msgspec.Struct, frozen=True):
    """The part of a response object that matters here."""

    id: Id
    status: str | None = None
    conversation_id: str | msgspec.UnsetType | None = msgspec.UNSET
    status_details: StatusDetails | None = None

    @property
    def out_of_band(self) -> bool:
        """Whether it is outside the conversation (``conversation: "none"``), so not interrupted."""
        return self.conversation_id is None


class ResponseCreated(Event, frozen=True):
    """``response.created``."""

    response: Response


class ResponseDone(Event, frozen=True):
    """``response.done``: completed, cancelled, incomplete or failed."""

    response: Response


class AudioDelta(Event, frozen=True):
    """``response.output_audio.delta``: base64 of s16le at 24 kHz, cut anywhere."""

    response_id: Id
    item_id: Id
    delta: str
    content_index: Index = 0


class AudioDone(Event, frozen=True):
    """``response.output_audio.done``: also sent when the response was interrupted."""

    response_id: Id
    item_id: Id
    content_index: Index = 0


class TextDelta(Event, frozen=True):
    """``response.output_audio_transcript.delta`` or ``response.output_text.delta``."""

    response_id: Id
    item_id: Id
    delta: str


class TranscriptDone(Event, frozen=True):
    """``response.output_audio_transcript.done``."""

    response_id: Id
    item_id: Id
    transcript: str = ""


class TextDone(Event, frozen=True):
    """``response.output_text.done``."""

    response_id: Id
    item_id: Id
    text: str = ""


class UserTranscriptDelta(Event, frozen=True):
    """``conversation.item.input_audio_transcription.delta``."""

    item_id: Id
    delta: str | None = None


class UserTranscript(Event, frozen=True):
    """``conversation.item.input_audio_transcription.completed``."""

    item_id: Id
    transcript: str


class ItemTruncated(Event, frozen=True):
    """``conversation.item.truncated``: the server's answer to a truncate."""

    item_id: Id
    audio_end_ms: Millis
    content_index: Index = 0


class ItemDeleted(Event, frozen=True):
    """``conversation.item.deleted``: the server's answer to a delete."""

    item_id: Id


class ErrorEvent(Event, frozen=True):
    """``error``: the session goes on unless a close follows."""

    error: Failure


class Ignored(Event, frozen=True):
    """An event that is known and needs nothing done."""

    type: str


class Unknown(Event, frozen=True):
    """An event of a name this version does not know."""

    type: str


#: What an event of a name is decoded to.
TYPES: dict[str, type[Event]] = {
    "session.created": SessionCreated,
    "conversation.item.added": ItemAdded,
    "conversation.item.created": ItemAdded,
    "conversation.item.done": ItemDone,
    "input_audio_buffer.speech_started": SpeechStarted,
    "input_audio_buffer.speech_stopped": SpeechStopped,
    "input_audio_buffer.committed": Committed,
    "input_audio_buffer.timeout_triggered": TimeoutTriggered,
    "response.created": ResponseCreated,
    "response.done": ResponseDone,
    "response.output_audio.delta": AudioDelta,
    "response.output_audio.done": AudioDone,
    "response.output_audio_transcript.delta": TextDelta,
    "response.output_audio_transcript.done": TranscriptDone,
    "response.output_text.delta": TextDelta,
    "response.output_text.done": TextDone,
    "conversation.item.input_audio_transcription.delta": UserTranscriptDelta,
    "conversation.item.input_audio_transcription.completed": UserTranscript,
    "conversation.item.truncated": ItemTruncated,
    "conversation.item.deleted": ItemDeleted,
    "error": ErrorEvent,
    # beta names
    "response.audio.delta": AudioDelta,
    "response.audio.done": AudioDone,
    "response.audio_transcript.delta": TextDelta,
    "response.audio_transcript.done": TranscriptDone,
    "response.text.delta": TextDelta,
    "response.text.done": TextDone,
}

IGNORED = frozenset(
    {
        "session.updated",
        "conversation.created",
        "conversation.item.retrieved",
        "conversation.item.input_audio_transcription.failed",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "rate_limits.updated",
    }
)


class _Head(msgspec.Struct):
    type: str


_HEAD = msgspec.json.Decoder(_Head)
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in TYPES.items()}


def read(text: bytes) -> Event:
    """Read one server event. Raises BadEvent for what is not JSON or lacks what the event needs."""
    try:
        kind = _HEAD.decode(text).type
        decoder = _DECODERS.get(kind)
        if decoder is None:
            return Ignored(kind) if kind in IGNORED else Unknown(kind[:200])
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(f"not a server event: {str(error)[:200]}") from None
