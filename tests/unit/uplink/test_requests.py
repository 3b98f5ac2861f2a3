"""Each request to the server is valid by the types of the openai package."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.uplink import requests
from shared.config import Config, Interruption, Session, TurnDetection
from shared.realtime.session import in_force, wanted
from tests.support.openai_types import client_events, unknown_fields


def checked(text: bytes) -> dict[str, Any]:
    """Return a request, after checking that no field is missing, unknown or of a wrong type."""
    event: dict[str, Any] = json.loads(text)
    parsed = client_events()[event["type"]].model_validate(event, strict=True)
    assert unknown_fields(parsed) == []
    return event


def session(**fields: Any) -> dict[str, Any]:
    [update] = requests.session_updates(wanted(Session(**fields)))
    event = checked(update)
    assert event.keys() == {"type", "event_id", "session"}
    given: dict[str, Any] = event["session"]
    return given


@given(st.binary(max_size=2000))
def test_audio_is_sent_as_it_is(pcm: bytes) -> None:
    event = checked(requests.append(pcm))
    assert event.keys() == {"type", "audio"}
    assert event["type"] == "input_audio_buffer.append"
    assert base64.b64decode(event["audio"], validate=True) == pcm


def test_the_session_asks_for_what_is_configured() -> None:
    pcm = {"type": "audio/pcm", "rate": 24000}
    assert session(instructions="Say “hm”.", voice="cedar") == {
        "type": "realtime",
        "instructions": "Say “hm”.",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": pcm,
                "turn_detection": {
                    "type": "server_vad",
                    "create_response": True,
                    "interrupt_response": True,
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                },
            },
            "output": {"format": pcm, "voice": "cedar"},
        },
    }


@pytest.mark.parametrize(
    ("turns", "asked"),
    [
        (
            TurnDetection(
                threshold=0.75,
                prefix_padding_ms=0,
                silence_duration_ms=200,
                idle_timeout_ms=5000,
                create_response=False,
                interrupt_response=False,
            ),
            {
                "type": "server_vad",
                "threshold": 0.75,
                "prefix_padding_ms": 0,
                "silence_duration_ms": 200,
                "idle_timeout_ms": 5000,
                "create_response": False,
                "interrupt_response": False,
            },
        ),
        (
            TurnDetection(type="semantic_vad", eagerness="high", idle_timeout_ms=5000),
            {
                "type": "semantic_vad",
                "eagerness": "high",
                "create_response": True,
                "interrupt_response": True,
            },
        ),
        (TurnDetection(type="none"), None),
    ],
    ids=["server_vad", "semantic_vad", "none"],
)
def test_turn_detection(turns: TurnDetection, asked: dict[str, Any] | None) -> None:
    hearing = session(turn_detection=turns)["audio"]["input"]
    assert "turn_detection" in hearing  # without the field, the server uses its own default
    assert hearing["turn_detection"] == asked


def test_the_session_asks_for_transcription_and_noise_reduction() -> None:
    plain = session()["audio"]["input"]
    assert not plain.keys() & {"transcription", "noise_reduction"}
    hearing = session(
        transcription_model="gpt-transcribe", language="de", noise_reduction="far_field"
    )["audio"]["input"]
    assert hearing["transcription"] == {"model": "gpt-transcribe", "language": "de"}
    assert hearing["noise_reduction"] == {"type": "far_field"}
    assert session(transcription_model="whisper-1")["audio"]["input"]["transcription"] == {
        "model": "whisper-1"
    }


@given(
    st.builds(
        TurnDetection,
        type=st.sampled_from(["server_vad", "semantic_vad", "none"]),
        threshold=st.floats(0, 1),
        prefix_padding_ms=st.integers(0, 3_600_000),
        silence_duration_ms=st.integers(0, 3_600_000),
        idle_timeout_ms=st.sampled_from([0, 5000, 30_000]),
        eagerness=st.sampled_from(["low", "medium", "high", "auto"]),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
    ),
    st.text(),
    st.sampled_from(["none", "near_field", "far_field"]),
)
def test_every_configuration_is_a_valid_request(
    turns: TurnDetection, text: str, noise_reduction: str
) -> None:
    asked = session(
        turn_detection=turns,
        instructions=text,
        voice=text,
        transcription_model=text,
        language=text,
        noise_reduction=noise_reduction,
    )
    assert asked["instructions"].startswith(text.strip() if text else "")


def test_a_greeting_and_the_words_for_an_interruption() -> None:
    assert checked(requests.greet("Say hello.")) == {
        "type": "response.create",
        "response": {"instructions": "Say hello."},
    }
    assert checked(requests.cancel("resp_1")) == {
        "type": "response.cancel",
        "response_id": "resp_1",
    }
    assert checked(requests.truncate("item_1", 0, 1860)) == {
        "type": "conversation.item.truncate",
        "item_id": "item_1",
        "content_index": 0,
        "audio_end_ms": 1860,
    }
    assert checked(requests.delete("item_1")) == {
        "type": "conversation.item.delete",
        "item_id": "item_1",
    }


@given(st.text(max_size=512), st.integers(0, 2**31), st.integers(0, 2**53))
def test_an_id_is_given_back_as_it_came(name: str, index: int, end: int) -> None:
    truncate = checked(requests.truncate(name, index, end))
    assert (truncate["item_id"], truncate["content_index"], truncate["audio_end_ms"]) == (
        name,
        index,
        end,
    )
    assert checked(requests.delete(name))["item_id"] == name
    assert checked(requests.cancel(name))["response_id"] == name


def test_a_request_is_one_line_of_json() -> None:
    for text in (
        *requests.session_updates(wanted(Session())),
        requests.greet("a\nb"),
        requests.append(b""),
    ):
        assert b"\n" not in text
        assert msgspec.json.decode(text)


def test_the_short_requests_are_those_of_the_service() -> None:
    assert checked(requests.respond()) == {"type": "response.create"}
    assert checked(requests.commit()) == {"type": "input_audio_buffer.commit"}
    assert checked(requests.clear()) == {
        "type": "input_audio_buffer.clear",
        "event_id": "clear_buffer",
    }


@pytest.mark.parametrize(
    ("decide", "turns"),
    [
        ("server", {"type": "semantic_vad", "create_response": True, "interrupt_response": True}),
        ("client", {"type": "semantic_vad", "create_response": False, "interrupt_response": False}),
        ("never", {"type": "semantic_vad", "create_response": False, "interrupt_response": False}),
        ("push_to_talk", None),
    ],
)
def test_the_setting_decide_limits_what_the_server_does_by_itself(
    decide: Any, turns: dict[str, Any] | None
) -> None:
    configured = Session(voice="cedar", turn_detection=TurnDetection(type="semantic_vad"))
    asked = in_force(Config(session=configured, interruption=Interruption(decide=decide)))
    [update] = requests.session_updates(wanted(asked))
    event = checked(update)
    found = event["session"]["audio"]["input"]["turn_detection"]
    assert found == (turns and turns | {"eagerness": "auto"})
    assert event["session"]["audio"]["output"]["voice"] == "cedar"


def test_a_refused_field_is_left_out_of_the_update() -> None:
    [update] = requests.session_updates(wanted(Session()), ["audio.output.voice"])
    event = checked(update)
    assert event["event_id"] == "update_all"
    assert event["session"]["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}}


def test_each_field_can_travel_alone_under_its_own_name() -> None:
    updates = requests.session_updates(
        wanted(Session(transcription_model="whisper-1")), ["instructions"], apart=True
    )
    events = {event["event_id"]: event["session"] for event in map(checked, updates)}
    assert events.keys() == {
        "update_output_modalities",
        "update_audio.input.format",
        "update_audio.input.turn_detection",
        "update_audio.input.transcription",
        "update_audio.output.format",
        "update_audio.output.voice",
    }
    assert events["update_audio.output.voice"] == {
        "type": "realtime",
        "audio": {"output": {"voice": "marin"}},
    }


@pytest.mark.parametrize("what", ["answer", "continue"])
def test_an_answer_is_asked_for_again_with_the_sessions_instructions(what: Any) -> None:
    event = checked(requests.ask_again("Speak like a pirate.", what))
    assert event["type"] == "response.create"
    said = event["response"]["instructions"]
    assert said.startswith("Speak like a pirate.\n\nThe connection was lost")
