"""The events of the API, one or more of each type, and the event reader's result for each."""

from __future__ import annotations

from typing import Any

from services.downlink import events, objects

AT = {"response_id": "resp_1", "item_id": "item_1", "output_index": 0, "content_index": 0}
RESPONSE = {
    "id": "resp_1",
    "object": "realtime.response",
    "status": "in_progress",
    "status_details": None,
    "output": [],
    "conversation_id": "conv_1",
    "output_modalities": ["audio"],
    "max_output_tokens": "inf",
    "audio": {"output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}},
    "usage": None,
    "metadata": None,
}
ITEM = {
    "id": "item_1",
    "object": "realtime.item",
    "type": "message",
    "status": "in_progress",
    "role": "assistant",
    "content": [],
}
CANCELLED = {"type": "cancelled", "reason": "turn_detected"}
FAILED = {"type": "failed", "error": {"type": "server_error", "code": "insufficient_quota"}}

Case = tuple[dict[str, Any], events.Event]

SAID = {"type": "output_audio", "audio": "AAAA", "transcript": "Good day."}
CALLED = {
    "id": "item_3",
    "object": "realtime.item",
    "type": "function_call",
    "status": "completed",
    "name": "weather",
    "call_id": "call_1",
    "arguments": '{"city":"Bern"}',
}
SESSION = {"type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["audio"]}

CALL = {"response_id": "resp_1", "item_id": "item_3", "output_index": 0, "call_id": "call_1"}
TRANSCRIPTION = "conversation.item.input_audio_transcription"

ACTED_ON: list[Case] = [
    (
        {
            "type": f"{TRANSCRIPTION}.failed",
            "item_id": "item_2",
            "content_index": 0,
            "error": {"type": "transcription_error", "message": "too short"},
        },
        events.TranscriptionFailed(
            "item_2", objects.ServerError("too short", "transcription_error")
        ),
    ),
    (
        {
            "type": "response.output_item.added",
            "response_id": "resp_1",
            "output_index": 0,
            "item": ITEM,
        },
        events.OutputItemAdded(
            "resp_1", objects.Item("item_1", "message", "assistant", "in_progress", [])
        ),
    ),
    (
        {
            "type": "response.output_item.done",
            "response_id": "resp_1",
            "output_index": 0,
            "item": ITEM,
        },
        events.OutputItemDone(
            "resp_1", objects.Item("item_1", "message", "assistant", "in_progress", [])
        ),
    ),
    (
        {
            "type": "response.function_call_arguments.done",
            **CALL,
            "name": "weather",
            "arguments": '{"city":"Bern"}',
        },
        events.CallDone("resp_1", "item_3", "call_1", "weather", '{"city":"Bern"}'),
    ),
    ({"type": "session.created", "session": SESSION}, events.SessionCreated(SESSION)),
    ({"type": "session.updated", "session": SESSION}, events.SessionUpdated(SESSION)),
    (
        {"type": "conversation.item.added", "item": ITEM, "previous_item_id": None},
        events.ItemAdded(objects.Item("item_1", "message", "assistant", "in_progress", [])),
    ),
    (
        {"type": "conversation.item.created", "item": ITEM, "previous_item_id": "item_0"},
        events.ItemAdded(
            objects.Item("item_1", "message", "assistant", "in_progress", []), "item_0"
        ),
    ),
    (
        {
            "type": "conversation.item.done",
            "item": {**ITEM, "status": "completed", "content": [SAID]},
            "previous_item_id": "item_0",
        },
        events.ItemDone(
            objects.Item(
                *("item_1", "message", "assistant", "completed"),
                [objects.Content("output_audio", None, "Good day.")],
            ),
            "item_0",
        ),
    ),
    (
        {"type": "conversation.item.done", "item": CALLED, "previous_item_id": "item_1"},
        events.ItemDone(
            objects.Item(
                *("item_3", "function_call", None, "completed", None),
                *("weather", "call_1", '{"city":"Bern"}'),
            ),
            "item_1",
        ),
    ),
    (
        {
            "type": "input_audio_buffer.speech_started",
            "audio_start_ms": 1180,
            "item_id": "item_2",
        },
        events.SpeechStarted(1180, "item_2"),
    ),
    (
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 2320, "item_id": "item_2"},
        events.SpeechStopped(2320, "item_2"),
    ),
    (
        {"type": "input_audio_buffer.committed", "item_id": "item_2", "previous_item_id": None},
        events.Committed("item_2"),
    ),
    (
        {
            "type": "input_audio_buffer.timeout_triggered",
            "audio_start_ms": 0,
            "audio_end_ms": 6000,
            "item_id": "item_2",
        },
        events.TimeoutTriggered("item_2"),
    ),
    (
        {"type": "response.created", "response": RESPONSE},
        events.ResponseCreated(objects.Response("resp_1", "in_progress", "conv_1")),
    ),
    (
        {
            "type": "response.done",
            "response": {**RESPONSE, "status": "cancelled", "status_details": CANCELLED},
        },
        events.ResponseDone(
            objects.Response(
                "resp_1", "cancelled", "conv_1", objects.StatusDetails("cancelled", "turn_detected")
            )
        ),
    ),
    (
        {
            "type": "response.done",
            "response": {**RESPONSE, "status": "failed", "status_details": FAILED},
        },
        events.ResponseDone(
            objects.Response(
                "resp_1",
                "failed",
                "conv_1",
                objects.StatusDetails(
                    "failed",
                    error=objects.ServerError(type="server_error", code="insufficient_quota"),
                ),
            )
        ),
    ),
    (
        {"type": "response.output_audio.delta", **AT, "delta": "AAEC"},
        events.AudioDelta("resp_1", "item_1", "AAEC"),
    ),
    ({"type": "response.output_audio.done", **AT}, events.AudioDone("resp_1", "item_1")),
    (
        {"type": "response.output_audio_transcript.delta", **AT, "delta": "Good"},
        events.TextDelta("resp_1", "item_1", "Good"),
    ),
    (
        {"type": "response.output_audio_transcript.done", **AT, "transcript": "Good day."},
        events.TranscriptDone("resp_1", "item_1", "Good day."),
    ),
    (
        {"type": "response.output_text.delta", **AT, "delta": "Grüß"},
        events.WrittenDelta("resp_1", "item_1", "Grüß"),
    ),
    (
        {"type": "response.output_text.done", **AT, "text": "Grüß Gott 🙂"},
        events.TextDone("resp_1", "item_1", "Grüß Gott 🙂"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.delta",
            "item_id": "item_2",
            "content_index": 0,
            "delta": "What",
        },
        events.UserTranscriptDelta("item_2", "What"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "item_2",
            "content_index": 0,
            "transcript": "What else?",
            "usage": {"type": "duration", "seconds": 1.5},
        },
        events.UserTranscript("item_2", "What else?", {"type": "duration", "seconds": 1.5}),
    ),
    (
        {
            "type": "conversation.item.truncated",
            "item_id": "item_1",
            "content_index": 0,
            "audio_end_ms": 1860,
        },
        events.ItemTruncated("item_1", 1860),
    ),
    ({"type": "conversation.item.deleted", "item_id": "item_1"}, events.ItemDeleted("item_1")),
    (
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "code": "response_cancel_not_active",
                "message": "Cancellation failed: no active response found",
                "param": None,
                "event_id": "event_7",
            },
        },
        events.ErrorEvent(
            objects.ServerError(
                "Cancellation failed: no active response found",
                "invalid_request_error",
                "response_cancel_not_active",
                None,
                "event_7",
            )
        ),
    ),
]

MCP = {"response_id": "resp_1", "item_id": "mcp_1", "output_index": 0}
PROGRESS = {"item_id": "mcp_1", "output_index": 0}
ACTED_ON += [
    ({"type": "mcp_list_tools.failed", "item_id": "mcpl_1"}, events.McpListFailed("mcpl_1")),
    (
        {"type": "response.mcp_call_arguments.done", **MCP, "arguments": "{}"},
        events.McpArguments("resp_1", "mcp_1", "{}"),
    ),
    ({"type": "response.mcp_call.in_progress", **PROGRESS}, events.McpBegan("mcp_1")),
    ({"type": "response.mcp_call.completed", **PROGRESS}, events.McpCompleted("mcp_1")),
    ({"type": "response.mcp_call.failed", **PROGRESS}, events.McpFailed("mcp_1")),
]

PART = {**AT, "part": {"type": "audio", "transcript": ""}}

PASSED_OVER: list[dict[str, Any]] = [
    {"type": "conversation.created", "conversation": {"id": "conv_1"}},
    {"type": "conversation.item.retrieved", "item": ITEM},
    {
        "type": f"{TRANSCRIPTION}.segment",
        "item_id": "item_2",
        "content_index": 0,
        "id": "seg_1",
        "text": "What",
        "speaker": "A",
        "start": 0.5,
        "end": 1.25,
    },
    {"type": "input_audio_buffer.cleared"},
    {"type": "response.content_part.added", **PART},
    {"type": "response.content_part.done", **PART},
    {"type": "response.function_call_arguments.delta", **CALL, "delta": '{"city"'},
    {
        "type": "rate_limits.updated",
        "rate_limits": [
            {"name": "tokens", "limit": 40000, "remaining": 39900, "reset_seconds": 0.5}
        ],
    },
    {"type": "mcp_list_tools.in_progress", "item_id": "mcpl_1"},
    {"type": "mcp_list_tools.completed", "item_id": "mcpl_1"},
    {"type": "response.mcp_call_arguments.delta", **MCP, "delta": '{"q"'},
]

BETA = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}
