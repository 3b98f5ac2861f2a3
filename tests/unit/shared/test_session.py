"""The session object: its fields by path, with some left out, and one alone."""

from __future__ import annotations

import pytest

from shared.config import Session
from shared.realtime import session

WANTED = session.wanted(Session(transcription_model="gpt-transcribe", language="en"))


def test_the_fields_are_the_settings_and_not_the_objects_around_them() -> None:
    assert [path for path, _ in session.fields(WANTED)] == [
        "type",
        "instructions",
        "output_modalities",
        "audio.input.format",
        "audio.input.turn_detection",
        "audio.input.transcription",
        "audio.output.format",
        "audio.output.voice",
    ]


def test_a_field_is_found_by_its_path() -> None:
    assert session.at(WANTED, "audio.output.voice") == "marin"
    for path in ("audio.voice", "audio.output.voice.id", "nothing"):
        with pytest.raises(KeyError):
            session.at(WANTED, path)


def test_fields_are_left_out_with_objects_that_become_empty() -> None:
    left = session.without(
        WANTED, {"audio.output.voice", "audio.output.format", "audio.input.transcription.model"}
    )
    assert "output" not in left["audio"]
    assert left["audio"]["input"]["transcription"] == {"language": "en"}
    assert left["instructions"] == WANTED["instructions"]
    assert WANTED["audio"]["output"]["voice"] == "marin"


def test_a_feature_that_is_off_stays_in_the_object() -> None:
    assert session.without({"audio": {"turn_detection": None}}, ()) == {
        "audio": {"turn_detection": None}
    }


def test_a_field_alone_has_the_objects_around_it_and_the_type() -> None:
    assert session.alone("audio.output.voice", "cedar") == {
        "type": "realtime",
        "audio": {"output": {"voice": "cedar"}},
    }


def test_the_rates_are_the_configured_ones() -> None:
    wanted = session.wanted(Session(input_rate=16_000, output_rate=8000))
    assert wanted["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 16_000}
    assert wanted["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 8000}
