"""Whether a server's session object says something else than what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from services.downlink.comparison import differences, nested
from shared.config import Session, TurnDetection
from shared.realtime.session import wanted

ASKED = wanted(Session(transcription_model="gpt-transcribe", language="en"))


def different(told: dict[str, Any], asked: dict[str, Any] = ASKED) -> list[str]:
    return [difference.path for difference in differences(asked, nested(told))]


def audio(*, output: Any = None, **given: Any) -> dict[str, Any]:
    return {"audio": {"input": given, **({"output": output} if output else {})}}


def test_the_same_object_is_no_difference() -> None:
    assert different(ASKED) == []


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"audio": None},
        {"audio": {"input": None, "output": {}}},
        {"instructions": None, "voice": None, "output_modalities": None},
        {"tools": [], "temperature": 0.8, "expires_at": 5},
        {"instructions": f" {ASKED['instructions']}\n"},
        {"output_modalities": ["text", "audio"]},
        {"modalities": ["audio", "text"]},
        audio(output={"voice": {"type": "openai", "name": "marin"}}),
        audio(output={"voice": {"id": "marin"}}),
        audio(output={"voice": "Marin"}),
        audio(output={"format": {"type": "audio/pcm"}}),
        audio(output={"format": None}),
        audio(turn_detection={"type": "server_vad", "threshold": 0.5000000001}),
        audio(transcription={"model": "gpt-transcribe-2026-08-01", "language": "en-US"}),
        {"voice": "marin", "input_audio_format": "pcm16", "output_audio_format": "pcm16"},
    ],
)
def test_a_field_left_out_null_or_written_otherwise_is_no_difference(told: dict[str, Any]) -> None:
    assert different(told) == []


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ({"instructions": "Be rude."}, "instructions"),
        ({"output_modalities": ["text"]}, "output_modalities"),
        (audio(output={"voice": "alloy"}), "audio.output.voice"),
        ({"voice": "alloy"}, "audio.output.voice"),
        (audio(output={"voice": {"name": "alloy"}}), "audio.output.voice"),
        (audio(output={"format": {"rate": 16_000}}), "audio.output.format.rate"),
        ({"output_audio_format": "pcm16_16000hz"}, "audio.output.format.rate"),
        ({"output_audio_format": "g711_ulaw"}, "audio.output.format.type"),
        (audio(turn_detection=None), "audio.input.turn_detection"),
        ({"turn_detection": None}, "audio.input.turn_detection"),
        (audio(transcription=None), "audio.input.transcription"),
        (audio(transcription={"model": "whisper-1"}), "audio.input.transcription.model"),
        (
            audio(turn_detection={"create_response": False}),
            "audio.input.turn_detection.create_response",
        ),
        (audio(turn_detection={"threshold": 0.6}), "audio.input.turn_detection.threshold"),
        (audio(turn_detection="server_vad"), "audio.input.turn_detection"),
    ],
)
def test_a_value_that_the_server_clearly_has_otherwise_is_a_difference(
    told: dict[str, Any], path: str
) -> None:
    assert different(told) == [path]


@pytest.mark.parametrize(("told", "count"), [(None, 0), ({"type": "none"}, 0), ({}, 0)])
def test_turn_detection_that_is_off_may_be_null_or_none(told: Any, count: int) -> None:
    asked = wanted(Session(turn_detection=TurnDetection(type="none")))
    assert len(different(audio(turn_detection=told), asked)) == count


def test_turn_detection_that_is_on_although_it_was_to_be_off_is_a_difference() -> None:
    asked = wanted(Session(turn_detection=TurnDetection(type="none")))
    told = audio(turn_detection={"type": "server_vad"})
    assert different(told, asked) == ["audio.input.turn_detection"]


def test_a_difference_is_one_short_line() -> None:
    [found] = differences({"instructions": "a" * 500}, {"instructions": "b\n" * 500})
    assert str(found).startswith("instructions is 'b\\nb")
    assert len(str(found)) < 150
    [found] = differences(
        {"x": {"type": "on"}, "turn_detection": None}, {"turn_detection": {"type": "vad"}}
    )
    assert str(found) == "turn_detection is 'vad', not off"
