"""Null in any optional field, at any depth, is the same as no field: over the openai types."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from services.emulator import events
from services.emulator.schema import Refused
from services.emulator.session_fields import SESSION
from tests.support.openai_types import client_events

#: How deep in an event fields are set. The deepest optional field of the types, a token limit of a
#: session's truncation, is at 4.
DEPTH = 6


def plain(kind: Any, depth: int = 0) -> Iterator[Any]:
    """Yield values of a type: one for each member of a union, with the required fields alone."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from plain(get_args(kind)[0], depth)
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            if member is not type(None):
                yield from plain(member, depth)
    elif origin is Literal:
        yield from get_args(kind)
    elif origin is list:
        yield [next(plain(get_args(kind)[0], depth))]
    elif origin is dict or kind is dict:
        yield {}
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        yield {
            name: next(plain(annotation, depth))
            for name, annotation, optional in fields(kind)
            # The types call some tags optional without which nothing says what an object is.
            if not optional or name == "type"
        }
    else:
        yield {str: "marin", int: 1, float: 1.0, bool: True, object: {}}.get(kind, "marin")


def fields(model: type[BaseModel]) -> Iterator[tuple[str, Any, bool]]:
    """Yield each field of a model: its name on the wire, its type, and whether it is optional."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation, not field.is_required()


def nulls(kind: Any, depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """Yield the path of each optional field, a value with null there, and one without it."""
    origin = get_origin(kind)
    if depth > DEPTH:
        return
    if origin is Annotated:
        yield from nulls(get_args(kind)[0], depth)
    elif origin in (Union, types.UnionType):
        for member in get_args(kind):
            yield from nulls(member, depth)
    elif origin is list:
        for path, null, without in nulls(get_args(kind)[0], depth + 1):
            yield f"[]{path}", [null], [without]
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        required = next(plain(kind))
        for name, annotation, optional in fields(kind):
            if optional:
                without = {key: value for key, value in required.items() if key != name}
                yield f".{name}", {**required, name: None}, without
            for path, null, without in nulls(annotation, depth + 1):
                yield f".{name}{path}", {**required, name: null}, {**required, name: without}


def refusal(event: dict[str, Any]) -> tuple[str | None, str] | None:
    """Return the code and the text of the emulator's refusal of an event; None if it accepts it."""
    try:
        events.check(event)
        if event["type"] == "session.update":
            SESSION(event["session"], "session")
    except Refused as refused:
        return refused.code, refused.message
    return None


CASES = [
    (f"{name}{path}", null, without)
    for name, model in client_events().items()
    if name in events.SUPPORTED
    for path, null, without in nulls(model)
]


FORMAT = {"type": "audio/pcm", "rate": 24000}
TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
PROMPT = {"id": "p", "version": "1", "variables": {"a": "b"}}
SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 1,
    "silence_duration_ms": 1,
    "idle_timeout_ms": 5000,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {
    "type": "semantic_vad",
    "eagerness": "low",
    "create_response": True,
    "interrupt_response": True,
}
ITEM = {"id": "i", "object": "realtime.item", "status": "completed"}
MESSAGES = [
    {**ITEM, "type": "message", "role": role, "content": content}
    for role, content in {
        "system": [{"type": "input_text", "text": "t"}],
        "user": [
            {"type": "input_text", "text": "t"},
            {"type": "input_audio", "audio": "AAAA", "transcript": "t"},
            {"type": "input_image", "image_url": "data:", "detail": "auto"},
        ],
        "assistant": [{"type": "output_text", "text": "t"}],
    }.items()
]
CALL = {**ITEM, "type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}
OUTPUT = {**ITEM, "type": "function_call_output", "call_id": "c", "output": "o"}
SESSION_OF = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "i",
    "output_modalities": ["audio"],
    "audio": {
        "input": {
            "format": FORMAT,
            "transcription": {
                "model": "m",
                "language": "en",
                "languages": ["en"],
                "prompt": "p",
                "keywords": ["k"],
                "delay": "low",
            },
            "noise_reduction": {"type": "near_field", "strength": 0.5},
            "turn_detection": SERVER_VAD,
        },
        "output": {"format": FORMAT, "voice": {"id": "voice_1"}, "speed": 1},
    },
    "tools": [TOOL],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": True,
    "max_output_tokens": 7,
    "reasoning": {"effort": "low"},
    "prompt": PROMPT,
    "truncation": {
        "type": "retention_ratio",
        "retention_ratio": 0.5,
        "token_limits": {"post_instructions": 1},
    },
    "tracing": {"workflow_name": "w", "group_id": "g", "metadata": {}},
    "include": ["item.input_audio_transcription.logprobs"],
}
RESPONSE = {
    "output_modalities": ["text"],
    "audio": {"output": {"voice": "marin", "format": FORMAT}},
    "instructions": "i",
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_output_tokens": "inf",
    "metadata": {"a": "b"},
    "conversation": "none",
    "input": [*MESSAGES, CALL, OUTPUT, {"type": "item_reference", "id": "i"}],
    "prompt": PROMPT,
    "reasoning": {"effort": "low"},
}
#: Events with every field that the emulator knows.
FULL: list[dict[str, Any]] = [
    {"type": "session.update", "event_id": "e", "session": SESSION_OF},
    {
        "type": "session.update",
        "session": {"type": "realtime", "audio": {"input": {"turn_detection": SEMANTIC_VAD}}},
    },
    {"type": "input_audio_buffer.append", "event_id": "e", "audio": "AAAA"},
    *(
        {"type": "conversation.item.create", "event_id": "e", "item": item, "previous_item_id": "i"}
        for item in (*MESSAGES, CALL, OUTPUT)
    ),
    {
        "type": "conversation.item.truncate",
        "event_id": "e",
        "item_id": "i",
        "content_index": 0,
        "audio_end_ms": 0,
    },
    {"type": "response.create", "event_id": "e", "response": RESPONSE},
    {"type": "response.cancel", "event_id": "e", "response_id": "r"},
]


def changed(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield for each field at any depth its path, the value with null there, and without it."""
    if isinstance(value, list):
        for index, element in enumerate(value):
            for path, null, without in changed(element):
                before, after = value[:index], value[index + 1 :]
                yield f"[{index}]{path}", [*before, null, *after], [*before, without, *after]
    elif isinstance(value, dict):
        for name, element in value.items():
            rest = {key: kept for key, kept in value.items() if key != name}
            yield f".{name}", {**rest, name: None}, rest
            for path, null, without in changed(element):
                yield f".{name}{path}", {**rest, name: null}, {**rest, name: without}


@pytest.mark.parametrize("event", FULL, ids=lambda event: event["type"])
def test_each_field_that_can_be_left_out_can_be_null(event: dict[str, Any]) -> None:
    assert refusal(event) is None
    optional = 0
    for path, null, without in changed(event):
        # In an object with free names, null is a value.
        if ".metadata." in path or ".variables." in path or ".parameters." in path:
            continue
        if refusal(without) is None:
            optional += 1
            assert refusal(null) is None, path
    assert optional > 0


def test_the_walk_reaches_deep_fields() -> None:
    paths = {path for path, _, _ in CASES}
    assert len(paths) > 100
    assert {
        "response.create.response.instructions",
        "response.create.response.audio.output.voice",
        "session.update.session.audio.input.turn_detection.idle_timeout_ms",
        "session.update.session.truncation.token_limits.post_instructions",
        "conversation.item.create.item.content[].transcript",
    } <= paths


@pytest.mark.parametrize(
    ("null", "without"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_null_is_as_good_as_no_field(null: dict[str, Any], without: dict[str, Any]) -> None:
    assert (refusal(null) is None) == (refusal(without) is None)


@pytest.mark.parametrize("event", FULL, ids=lambda event: event["type"])
def test_an_event_that_a_client_dumps_with_all_its_nulls_is_accepted(event: dict[str, Any]) -> None:
    event = copy.deepcopy(event)
    if "response" in event:
        # The types lack references to items.
        event["response"]["input"].pop()
    dumped = client_events()[event["type"]].model_validate(event).model_dump(by_alias=True)
    assert refusal(dumped) is None
