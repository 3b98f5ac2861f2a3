"""The server's events. Their shapes are the GA Realtime API's, as in the ``openai`` package.

A field that downlink does not need is not read. `event_reader.py` lists the names of the events.
"""

from __future__ import annotations

from typing import Any

import msgspec

from services.downlink.objects import Id, Index, Item, Millis, Response, ServerError


class Event(msgspec.Struct, frozen=True):
    """Base of every event."""


class SessionCreated(Event, frozen=True):
    """``session.created``: the first event of a connection, with the server's defaults."""

    session: dict[str, Any] = {}


class SessionUpdated(Event, frozen=True):
    """``session.updated``: the session as it is after an update."""

    session: dict[str, Any] = {}


class ItemAdded(Event, frozen=True):
    """``conversation.item.added``, or ``conversation.item.created`` of older servers."""

    item: Item
    previous_item_id: Id | None = None


class ItemDone(Event, frozen=True):
    """``conversation.item.done``: the item is complete."""

    item: Item
    previous_item_id: Id | None = None


class SpeechStarted(Event, frozen=True):
    """``input_audio_buffer.speech_started``: the person began to speak."""

    #: The place in the session's input audio, prefix padding included; None: not known.
    audio_start_ms: Millis | None = None
    item_id: Id = ""  # some servers do not name the item


class SpeechStopped(Event, frozen=True):
    """``input_audio_buffer.speech_stopped``: the person stopped speaking."""

    #: The place in the session's input audio; None: not known.
    audio_end_ms: Millis | None = None
    item_id: Id = ""


class Committed(Event, frozen=True):
    """``input_audio_buffer.committed``: the person's turn is in the conversation."""

    item_id: Id = ""
    previous_item_id: Id | None = None


class TimeoutTriggered(Event, frozen=True):
    """``input_audio_buffer.timeout_triggered``: nobody spoke for a while.

    The server makes a turn of the silence, and answers that turn by itself.
    """

    item_id: Id = ""


class ResponseCreated(Event, frozen=True):
    """``response.created``: a response began."""

    response: Response


class ResponseDone(Event, frozen=True):
    """``response.done``: a response was completed or cancelled, is incomplete, or failed."""

    response: Response


class ResponseCancelled(Event, frozen=True):
    """``response.cancelled``: some servers send it where the API has ``response.done``."""

    response_id: Id = ""


class OutputItemAdded(Event, frozen=True):
    """``response.output_item.added``: a response has a new item.

    Some servers announce the assistant's items by this event only.
    """

    response_id: Id
    item: Item


class OutputItemDone(Event, frozen=True):
    """``response.output_item.done``: an item of a response is complete, or was cut off."""

    response_id: Id
    item: Item


class CallDone(Event, frozen=True):
    """``response.function_call_arguments.done``: all arguments of a function call."""

    response_id: Id
    item_id: Id
    call_id: Id | None = None
    name: str | None = None
    arguments: str | None = None


class AudioDelta(Event, frozen=True):
    """``response.output_audio.delta``: base64 of mono audio in the session's output format.

    A delta can end within a sample.
    """

    response_id: Id
    item_id: Id
    delta: str
    content_index: Index = 0


class AudioDone(Event, frozen=True):
    """``response.output_audio.done``: also sent if the response was interrupted."""

    response_id: Id
    item_id: Id
    content_index: Index = 0


class TextDelta(Event, frozen=True):
    """``response.output_audio_transcript.delta``: more words of an item with audio."""

    response_id: Id
    item_id: Id
    delta: str


class WrittenDelta(Event, frozen=True):
    """``response.output_text.delta``: more words of an item without audio."""

    response_id: Id
    item_id: Id
    delta: str


class TranscriptDone(Event, frozen=True):
    """``response.output_audio_transcript.done``: all words of an item with audio."""

    response_id: Id
    item_id: Id
    transcript: str = ""


class TextDone(Event, frozen=True):
    """``response.output_text.done``: all words of an item without audio."""

    response_id: Id
    item_id: Id
    text: str = ""


class UserTranscriptDelta(Event, frozen=True):
    """``conversation.item.input_audio_transcription.delta``: more words of the person."""

    item_id: Id
    delta: str | None = None


class UserTranscript(Event, frozen=True):
    """``conversation.item.input_audio_transcription.completed``: all words of a turn."""

    item_id: Id
    transcript: str | None = None
    usage: Any = None  # what the transcription has used: usage_counter.py reads it


class TranscriptionFailed(Event, frozen=True):
    """``conversation.item.input_audio_transcription.failed``: a turn has no transcript."""

    item_id: Id = ""
    error: ServerError | None = None


class ItemTruncated(Event, frozen=True):
    """``conversation.item.truncated``: the server followed a truncate."""

    item_id: Id
    audio_end_ms: Millis
    content_index: Index = 0


class ItemDeleted(Event, frozen=True):
    """``conversation.item.deleted``: the server followed a delete."""

    item_id: Id


class ErrorEvent(Event, frozen=True):
    """``error``: the session goes on, unless the server closes the connection next."""

    error: ServerError


class McpListFailed(Event, frozen=True):
    """``mcp_list_tools.failed``: the server could not read the functions of an MCP server."""

    item_id: Id


class McpArguments(Event, frozen=True):
    """``response.mcp_call_arguments.done``: all arguments of a call that the server runs itself."""

    response_id: Id
    item_id: Id
    arguments: str | None = None


class McpBegan(Event, frozen=True):
    """``response.mcp_call.in_progress``: the server runs a function on its own MCP server."""

    item_id: Id


class McpCompleted(Event, frozen=True):
    """``response.mcp_call.completed``: that function has returned."""

    item_id: Id


class McpFailed(Event, frozen=True):
    """``response.mcp_call.failed``: that function has failed."""

    item_id: Id


class Ignored(Event, frozen=True):
    """An event whose name is known, and for which there is nothing to do."""

    type: str


class Unknown(Event, frozen=True):
    """An event whose name this version does not know."""

    type: str


#: The events with a part of a reply: audio or words.
SPOKEN = (AudioDelta, AudioDone, TextDelta, TranscriptDone, WrittenDelta, TextDone)
