"""Read the server's events: their names, and which of them concern downlink.

Downlink also understands the names of the beta API, because some compatible servers still send
them.
"""

from __future__ import annotations

import msgspec

from services.downlink import events
from services.downlink.lenient import mended, whole_characters

#: The type of each event, by the event's name.
TYPES: dict[str, type[events.Event]] = {
    "session.created": events.SessionCreated,
    "session.updated": events.SessionUpdated,
    "conversation.item.added": events.ItemAdded,
    "conversation.item.created": events.ItemAdded,
    "conversation.item.done": events.ItemDone,
    "input_audio_buffer.speech_started": events.SpeechStarted,
    "input_audio_buffer.speech_stopped": events.SpeechStopped,
    "input_audio_buffer.committed": events.Committed,
    "input_audio_buffer.timeout_triggered": events.TimeoutTriggered,
    "response.created": events.ResponseCreated,
    "response.done": events.ResponseDone,
    "response.output_item.added": events.OutputItemAdded,
    "response.output_item.done": events.OutputItemDone,
    "response.function_call_arguments.done": events.CallDone,
    "response.output_audio.delta": events.AudioDelta,
    "response.output_audio.done": events.AudioDone,
    "response.output_audio_transcript.delta": events.TextDelta,
    "response.output_audio_transcript.done": events.TranscriptDone,
    "response.output_text.delta": events.WrittenDelta,
    "response.output_text.done": events.TextDone,
    "conversation.item.input_audio_transcription.delta": events.UserTranscriptDelta,
    "conversation.item.input_audio_transcription.completed": events.UserTranscript,
    "conversation.item.input_audio_transcription.failed": events.TranscriptionFailed,
    "mcp_list_tools.failed": events.McpListFailed,
    "response.mcp_call_arguments.done": events.McpArguments,
    "response.mcp_call.in_progress": events.McpBegan,
    "response.mcp_call.completed": events.McpCompleted,
    "response.mcp_call.failed": events.McpFailed,
    "conversation.item.truncated": events.ItemTruncated,
    "conversation.item.deleted": events.ItemDeleted,
    "error": events.ErrorEvent,
    # beta names
    "response.audio.delta": events.AudioDelta,
    "response.audio.done": events.AudioDone,
    "response.audio_transcript.delta": events.TextDelta,
    "response.audio_transcript.done": events.TranscriptDone,
    "response.text.delta": events.WrittenDelta,
    "response.text.done": events.TextDone,
    # names of other servers
    "response.cancelled": events.ResponseCancelled,
}

#: Events for which there is nothing to do.
IGNORED = frozenset(
    {
        "conversation.created",
        "conversation.item.retrieved",
        "conversation.item.input_audio_transcription.segment",
        "input_audio_buffer.cleared",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "rate_limits.updated",
        # The item says which functions there are.
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "response.mcp_call_arguments.delta",
    }
)


#: The names that some servers leave out of the events in events.SPOKEN.
NAMELESS = {"response_id": "", "item_id": ""}


class BadEvent(ValueError):
    """Raised when a text is not a server event, with the reason."""


class _Head(msgspec.Struct):
    type: str


_HEAD = msgspec.json.Decoder(_Head)
_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in TYPES.items()}


def read(text: bytes) -> events.Event:
    """Return a server event.

    Raises BadEvent if the text is not JSON, or lacks a field that the event needs.
    """
    try:
        return _read(text)
    except BadEvent:
        if (whole := whole_characters(text)) == text:
            raise
    return _read(whole)


def _read(text: bytes) -> events.Event:
    try:
        kind = _HEAD.decode(text).type
        decoder = _DECODERS.get(kind)
        if decoder is None:
            return events.Ignored(kind) if kind in IGNORED else events.Unknown(kind[:200])
        try:
            return decoder.decode(text)
        except msgspec.ValidationError as error:
            try:
                made = mended(msgspec.json.decode(text))
                # The conversation finds out which response and which item the event belongs to.
                made = NAMELESS | made if TYPES[kind] in events.SPOKEN else made
                return msgspec.convert(made, TYPES[kind])
            except (ValueError, RecursionError):
                raise error from None  # it says what the server sent
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadEvent(f"not a server event: {str(error)[:200]}") from None
