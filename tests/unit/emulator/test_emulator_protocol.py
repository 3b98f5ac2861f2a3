"""Checks of client events: their fields, partial updates, and the exact texts of the errors."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import (
    AudioTranscription,
    RealtimeAudioConfigOutput,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
)

from services.emulator import events, settings
from services.emulator.options import Options
from services.emulator.schema import Refused
from tests.support.emulator import Event, Rig, one, patiently


def refused(message: str | bytes) -> Refused:
    with pytest.raises(Refused) as raised:
        events.check(events.decode(message))
    return raised.value


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (
            b"\x00",
            "invalid_event",
            "Expected a text WebSocket message; binary frames are not supported.",
        ),
        ("{", "invalid_json", "Invalid event: failed to parse JSON value. "),
        ("[1]", "invalid_json", "Invalid event: failed to parse JSON value. "),
        ("[" * 100_000, "invalid_json", "Invalid event: failed to parse JSON value. "),
        ("{}", "missing_required_parameter", "Missing required parameter: 'type'."),
        (
            '{"type": "nope"}',
            "invalid_value",
            (
                "Invalid value: 'nope'. Supported values are: 'session.update', 'session.close',"
                " 'input_audio_buffer.append', 'session.input_audio_buffer.append',"
                " 'input_audio_buffer.commit', 'input_audio_buffer.clear',"
                " 'conversation.item.create', 'conversation.item.truncate',"
                " 'conversation.item.delete', 'conversation.item.retrieve', 'response.create', and"
                " 'response.cancel'."
            ),
        ),
        (
            '{"type": "response.cancel", "foo": 1}',
            "unknown_parameter",
            "Unknown parameter: 'foo'.",
        ),
        (
            '{"type": "conversation.item.delete"}',
            "missing_required_parameter",
            "Missing required parameter: 'item_id'.",
        ),
        (
            (
                '{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0,'
                ' "audio_end_ms": 1.5}'
            ),
            "invalid_type",
            (
                "Invalid type for 'audio_end_ms': expected an integer, but got a decimal number"
                " instead."
            ),
        ),
        (
            (
                '{"type": "conversation.item.truncate", "item_id": "a", "content_index": 0,'
                ' "audio_end_ms": -1}'
            ),
            "integer_below_min_value",
            (
                "Invalid 'audio_end_ms': integer below minimum value. Expected a value >= 0, but"
                " got -1 instead."
            ),
        ),
    ],
)
def test_bad_messages_are_refused_in_the_services_words(
    message: str | bytes, code: str, text: str
) -> None:
    found = refused(message)
    assert (found.code, found.message) == (code, text)


def test_an_append_of_more_than_15_mib_is_refused() -> None:
    audio = "A" * (events.MAX_APPEND + 4)
    found = refused(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    assert found.code == "string_above_max_length"


@patiently
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=3)),
       st.sampled_from([*events.SUPPORTED, "nope"]))  # fmt: skip
def test_every_input_is_refused_or_accepted(value: Any, kind: str) -> None:
    for event in ({"type": kind, "session": value, "item": value}, {"type": value}):
        with suppress(Refused):
            events.check(event)
    with suppress(Refused):
        settings.updated(SESSION, value, spoken=False)


@patiently
@given(st.text() | st.binary())
def test_no_message_breaks_a_session(message: str | bytes) -> None:
    rig = Rig()
    assert one(rig.raw(message), "error")


SESSION = settings.default("sess_1", "gpt-realtime", 1)


def updated(**update: Any) -> Event:
    return settings.updated(SESSION, {"type": "realtime", **update}, spoken=False)


def test_an_update_is_merged_field_by_field() -> None:
    before = copy.deepcopy(SESSION)
    new = updated(
        instructions="Be brief.",
        audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}},
    )
    detection = new["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 200)
    assert new["instructions"] == "Be brief."
    assert new["audio"]["output"] == SESSION["audio"]["output"]
    assert before == SESSION


def test_null_switches_off_and_another_type_replaces() -> None:
    def detection(value: Any) -> Any:
        return updated(audio={"input": {"turn_detection": value}})["audio"]["input"][
            "turn_detection"
        ]

    assert detection(None) is None
    assert detection({"type": "semantic_vad", "eagerness": "low"}) == {
        "type": "semantic_vad",
        "eagerness": "low",
        "create_response": True,
        "interrupt_response": True,
    }


def test_the_wires_default_silence_is_200_ms() -> None:
    assert SESSION["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200


@pytest.mark.parametrize(
    ("update", "code", "param"),
    [
        ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        ({"output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 0.1}}}},
            "missing_required_parameter",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad",
                                                    "idle_timeout_ms": 100}}}},
            "integer_below_min_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            {"audio": {"input": {"transcription": {"delay": "bogus"}}}},
            "invalid_value",
            "session.audio.input.transcription.delay",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        ({"audio": {"output": {"voice": "hal"}}}, "invalid_value", "session.audio.output.voice"),
        (
            {"tools": [{"type": "mcp"}]},
            "missing_required_parameter",
            "session.tools[0].server_label",
        ),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
    ],
)  # fmt: skip
def test_an_invalid_update_is_refused_whole(update: Event, code: str, param: str) -> None:
    rig = Rig()
    answer = one(rig.update(instructions="never set", **update), "error")
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
    session = one(rig.update(), "session.updated")["session"]
    assert session["instructions"] != "never set"


#: The fields of a response, all null: a client that dumps its model sends it like that.
NULL_RESPONSE = dict.fromkeys(RealtimeResponseCreateParams.model_fields)
#: The fields of a session that are not required, all null.
NULL_SESSION = {
    name: None
    for name, field in RealtimeSessionCreateRequest.model_fields.items()
    if not field.is_required()
}


@pytest.mark.parametrize(
    "audio",
    [
        None,
        {"input": None, "output": None},
        {"output": dict.fromkeys(RealtimeAudioConfigOutput.model_fields)},
        {"input": {"format": {"type": "audio/pcm", "rate": None}}},
        {"input": {"turn_detection": {"type": "server_vad", "threshold": None,
                                      "silence_duration_ms": None, "create_response": None}}},
    ],
)  # fmt: skip
def test_null_in_a_session_update_means_that_the_field_was_not_given(audio: Any) -> None:
    rig = Rig()
    before = one(rig.update(), "session.updated")["session"]
    after = one(rig.update(**{**NULL_SESSION, "audio": audio}), "session.updated")["session"]
    assert {**after, "reasoning": None} == {**before, "reasoning": None}


def test_null_in_a_transcription_leaves_the_field_out() -> None:
    fields = dict.fromkeys(AudioTranscription.model_fields)
    new = updated(audio={"input": {"transcription": {**fields, "model": "whisper-1"}}})
    assert new["audio"]["input"]["transcription"] == {"model": "whisper-1"}


@pytest.mark.parametrize(
    "asked",
    [
        NULL_RESPONSE,
        {"audio": {"output": None}},
        {"audio": {"output": {"voice": None, "format": None}}},
        {"input": [], "instructions": None, "tool_choice": None, "tools": None},
    ],
)
def test_null_in_a_response_create_means_that_the_field_was_not_given(asked: Event) -> None:
    def done(**fields: Any) -> Event:
        rig = Rig(Options(reply="tone:0.2", pace=0))
        return dict(one(rig.send("response.create", **fields), "response.done")["response"])

    given, usual = done(event_id=None, response=asked), done()
    for name in ("status", "output_modalities", "max_output_tokens", "audio", "usage"):
        assert given[name] == usual[name]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "id": None, "status": None, "object": None,
         "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "message", "role": "user",
         "content": [{"type": "input_audio", "audio": "AAAA", "transcript": None}]},
        {"type": "function_call", "id": None, "call_id": None, "name": "roll", "arguments": "{}"},
    ],
)  # fmt: skip
def test_null_in_an_item_means_that_the_field_was_not_given(item: Event) -> None:
    created = Rig().send("conversation.item.create", item=item, previous_item_id=None)
    done = one(created, "conversation.item.done")["item"]
    assert done["id"].startswith("item_")
    assert done.get("call_id", "call_").startswith("call_")


def test_null_in_a_required_field_is_refused() -> None:
    found = refused('{"type": "input_audio_buffer.append", "audio": null}')
    assert found.message == "Invalid type for 'audio': expected a string, but got null instead."


def test_a_session_must_say_its_type() -> None:
    error = one(Rig().send("session.update", session={}), "error")["error"]
    assert error["message"] == "Missing required parameter: 'session.type'."


def test_errors_carry_the_clients_event_id() -> None:
    rig = Rig()
    assert one(rig.send("nope", event_id="mine"), "error")["error"]["event_id"] == "mine"
    refused = one(rig.send("response.cancel", event_id="other"), "error")["error"]
    assert refused["event_id"] == "other"


def test_tracing_cannot_be_changed_once_on() -> None:
    rig = Rig()
    one(rig.update(tracing="auto"), "session.updated")
    one(rig.update(tracing=None), "error")
    one(rig.update(tracing="auto"), "session.updated")
