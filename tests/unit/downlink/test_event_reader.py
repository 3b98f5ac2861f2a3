"""The server's events: known ones, the beta API's names, unknown ones, and hostile bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.downlink import event_reader, events, objects
from tests.support.events_of_the_api import ACTED_ON, BETA, PASSED_OVER, SESSION
from tests.support.openai_types import server_events, unknown_fields

#: Names that other servers send, and the API does not have.
OTHERS = {"response.cancelled"}


def wire(event: object) -> bytes:
    return json.dumps(event).encode()


def name(event: dict[str, Any]) -> str:
    return str(event["type"])


def without_nulls(event: events.Event) -> events.Event:
    """Return an event, with only the fields of its session that are not null."""
    if isinstance(event, (events.SessionCreated, events.SessionUpdated)):
        told = {name: value for name, value in event.session.items() if value is not None}
        return replace(event, session=told)
    return event


@pytest.mark.parametrize(("event", "expected"), ACTED_ON, ids=lambda v: str(v)[:60])
def test_events_that_downlink_acts_on_are_read(
    event: dict[str, Any], expected: events.Event
) -> None:
    event = {"event_id": "event_1", **event}
    parsed = server_events()[event["type"]].model_validate(event, strict=True)
    assert unknown_fields(parsed) == []
    assert event_reader.read(wire(event)) == expected
    # as servers that use that package write it: null for each field that is missing
    assert without_nulls(event_reader.read(parsed.model_dump_json().encode())) == expected


def test_the_end_of_a_session_is_read_though_the_package_has_no_type_for_it() -> None:
    told = {**SESSION, "expires_at": 1_795_555_000}
    event = {"type": "session.created", "session": told}
    assert event_reader.read(wire(event)) == events.SessionCreated(told)


@pytest.mark.parametrize("event", PASSED_OVER, ids=name)
def test_events_that_need_no_action_are_known(event: dict[str, Any]) -> None:
    event = {"event_id": "event_1", **event}
    parsed = server_events()[event["type"]].model_validate(event, strict=True)
    assert unknown_fields(parsed) == []
    assert event_reader.read(wire(event)) == events.Ignored(event["type"])


def test_every_name_is_one_the_service_has() -> None:
    shown = {name(event) for event, _ in ACTED_ON} | {name(event) for event in PASSED_OVER}
    assert (
        set(event_reader.TYPES) - set(BETA) - OTHERS | event_reader.IGNORED
        == shown
        <= set(server_events())
    )
    assert not (set(BETA) | OTHERS) & set(server_events())


@pytest.mark.parametrize("beta", BETA)
def test_beta_names_mean_the_same(beta: str) -> None:
    [(event, expected)] = [pair for pair in ACTED_ON if pair[0]["type"] == BETA[beta]]
    assert event_reader.read(wire({**event, "type": beta})) == expected


def test_a_name_not_known_is_unknown_and_short() -> None:
    assert event_reader.read(b'{"type":"response.new"}') == events.Unknown("response.new")
    assert event_reader.read(wire({"type": "x" * 100_000})) == events.Unknown("x" * 200)


def test_a_response_says_which_conversation_it_belongs_to_or_none_or_nothing() -> None:
    said: dict[str, Any] = {"id": "resp_1"}
    for conversation, says in [
        ({}, (False, False)),
        ("conv_1", (True, False)),
        (None, (False, True)),
    ]:
        where = {} if conversation == {} else {"conversation_id": conversation}
        event = event_reader.read(wire({"type": "response.created", "response": {**said, **where}}))
        assert isinstance(event, events.ResponseCreated)
        response = event.response
        assert (response.names_conversation, response.without_conversation) == says


def test_fields_left_out_have_their_defaults() -> None:
    kind = "conversation.item.input_audio_transcription.delta"
    text = server_events()[kind](type=kind, event_id="event_1", item_id="i").model_dump_json()
    assert b'"delta":null' in text.encode()
    assert event_reader.read(text.encode()) == events.UserTranscriptDelta("i", None)
    delta = {"type": "response.output_audio.delta", "response_id": "r", "item_id": "i"}
    assert event_reader.read(wire({**delta, "delta": ""})) == events.AudioDelta("r", "i", "", 0)
    error = event_reader.read(b'{"type":"error","error":{"message":null,"code":null}}')
    assert (
        error
        == event_reader.read(b'{"type":"error","error":{}}')
        == events.ErrorEvent(objects.ServerError())
    )
    assert isinstance(error, events.ErrorEvent)
    assert error.error.text == ""


@pytest.mark.parametrize("kind", ["response.output_audio.delta", "response.audio.delta"])
def test_audio_may_lack_the_names_of_its_response_and_its_item(kind: str) -> None:
    assert event_reader.read(wire({"type": kind, "delta": "AA"})) == events.AudioDelta("", "", "AA")
    sent = {"type": kind, "item_id": "i", "response_id": None, "delta": "AA"}
    assert event_reader.read(wire(sent)) == events.AudioDelta("", "i", "AA")


DELTA = b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i","delta":%b}'
STARTED = b'{"type":"input_audio_buffer.speech_started","item_id":"i","audio_start_ms":%b}'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"42",
        b"{",
        b"{}",
        b'{"type":null}',
        b'{"type":["error"]}',
        b'{"type":"error"}',
        b'{"type":"error","error":null}',
        b'{"type":"error","error":{"message":7}}',
        b'{"type":"error","error":{}} {}',
        b'\xef\xbb\xbf{"type":"error","error":{}}',
        b'{"type":"\xff"}',
        b'{"type":"\xed\xa0\x80"}',
        '{"type":"error","error":{}}'.encode("utf-16"),
        DELTA % b"null",
        DELTA % b"[1,2]",
        DELTA % b'"\xc3"',
        b'{"type":"response.output_audio.delta","response_id":"r","item_id":"i"}',
        b'{"type":"response.output_audio.delta","delta":null}',
        b'{"type":"response.output_item.added","item":{"id":"i"}}',
        b'{"type":"response.created","response":"r"}',
        b'{"type":"response.created","response":{"id":"%b"}}' % (b"x" * 513),
        *(
            STARTED % n
            for n in (
                b"NaN",
                b"Infinity",
                b"1e999",
                b"1e300",
                b'"nan"',
                b'"soon"',
                b"9007199254740993",
                b"1" * 5000,
                b"true",
            )
        ),
        b'{"type":' + b"[" * 200_000,
        b'{"type":"error","error":' + b'{"a":' * 200_000,
    ],
    ids=lambda text: repr(text[:60]),
)
def test_a_text_that_is_no_event_is_refused_in_one_short_line(text: bytes) -> None:
    with pytest.raises(event_reader.BadEvent) as raised:
        event_reader.read(text)
    said = str(raised.value)
    assert said.startswith("not a server event: ")
    assert said.isprintable()
    assert len(said) <= 230


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (STARTED % b"12.5", STARTED % b"12"),
        (STARTED % b'"12"', STARTED % b"12"),
        (STARTED % b"-300", STARTED % b"0"),
        (
            b'{"type":"input_audio_buffer.speech_started","audio_start_ms":null,"item_id":null}',
            b'{"type":"input_audio_buffer.speech_started"}',
        ),
        (
            (
                b'{"type":"response.output_audio.delta","response_id":1,"item_id":2,"output_index":"0",'
                b'"content_index":0.0,"delta":"AAAA"}'
            ),
            (
                b'{"type":"response.output_audio.delta","response_id":"1","item_id":"2",'
                b'"output_index":0,"content_index":0,"delta":"AAAA"}'
            ),
        ),
        (
            b'{"type":"error","error":"the model is busy"}',
            b'{"type":"error","error":{"message":"the model is busy"}}',
        ),
        (
            b'{"type":"error","error":{"message":"no","code":404}}',
            b'{"type":"error","error":{"message":"no","code":"404"}}',
        ),
        (
            (
                b'{"type":"response.output_item.done","response_id":"r","item":{"id":"i",'
                b'"type":"function_call","arguments":{"on":true}}}'
            ),
            (
                b'{"type":"response.output_item.done","response_id":"r","item":{"id":"i",'
                b'"type":"function_call","arguments":"{\\"on\\":true}"}}'
            ),
        ),
    ],
)
def test_values_of_other_types_are_read_as_they_were_meant(sent: bytes, meant: bytes) -> None:
    assert event_reader.read(sent) == event_reader.read(meant)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00b", "\ufffdb"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\uDFFF\uDbff", "\ufffd\ufffd"),
        (r"\ud800 \\ud83d", r"� \ud83d"),
        (r"\ud800 \\\ud83d", "\ufffd \\\ufffd"),
    ],
)
def test_half_a_character_costs_no_event(sent: str, read: str) -> None:
    names = '"response_id":"r1","item_id":"i1"'
    text = f'{{"type":"response.output_audio_transcript.delta",{names},"delta":"{sent}"}}'
    assert event_reader.read(text.encode()) == events.TextDelta("r1", "i1", read)


def test_json_that_is_nested_deeply_is_read_or_refused() -> None:
    """How deep a decoder goes depends on Python: 3.14 looks at the stack that is left."""
    text = b'{"type":"error","error":{},"more":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    try:
        assert event_reader.read(text) == event_reader.read(b'{"type":"error","error":{}}')
    except event_reader.BadEvent:
        pass


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
known = st.sampled_from([event for event, _ in ACTED_ON])


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        assert isinstance(event_reader.read(text), events.Event)
    except event_reader.BadEvent:
        pass


@given(known, st.data())
def test_any_change_to_an_event_is_read_or_refused(event: dict[str, Any], data: Any) -> None:
    changed = dict(event)
    for key in data.draw(st.lists(st.sampled_from(sorted(event)), min_size=1, unique=True)):
        if data.draw(st.booleans()):
            changed[key] = data.draw(anything)
        else:
            del changed[key]
    text = wire(changed)  # NaN and Infinity are written as Python writes them
    try:
        read = event_reader.read(text)
    except event_reader.BadEvent:
        return
    # an event that was read can be published: strings are text, and numbers are in bounds
    assert msgspec.msgpack.encode(read)


@given(known, st.integers(0), st.binary(min_size=1, max_size=4))
def test_any_damage_to_an_event_is_read_or_refused(
    event: dict[str, Any], place: int, damage: bytes
) -> None:
    text = wire(event)
    at = place % len(text)
    try:
        event_reader.read(text[:at] + damage + text[at + len(damage) :])
    except event_reader.BadEvent:
        pass
