"""Settings without an effect are named at the start."""

from __future__ import annotations

import pytest

from services.uplink.no_effect import without_effect
from shared.config import Config, Session, TurnDetection


def test_every_default_has_an_effect() -> None:
    assert without_effect(Config()) == []


@pytest.mark.parametrize(
    ("session", "named"),
    [
        (Session(transcription_delay="low"), "session.transcription_delay has no effect without"),
        (Session(noise_strength=0.5), "session.noise_strength has no effect without"),
        (Session(retention_tokens=5000), "session.retention_tokens has no effect without"),
        (
            Session(turn_detection=TurnDetection(type="semantic_vad", idle_timeout_ms=5000)),
            "session.turn_detection.idle_timeout_ms has no effect",
        ),
        (
            Session(turn_detection=TurnDetection(eagerness="high")),
            "session.turn_detection.eagerness has no effect",
        ),
        (
            Session(turn_detection=TurnDetection(type="none")),
            'with session.turn_detection.type = "none" only typed lines are answered',
        ),
    ],
)
def test_a_setting_without_an_effect_is_named(session: Session, named: str) -> None:
    [line] = without_effect(Config(session=session))
    assert line.startswith(named)


@pytest.mark.parametrize(
    "session",
    [
        Session(language="de", transcription_model="gpt-transcribe"),
        Session(turn_detection=TurnDetection(idle_timeout_ms=5000)),
        Session(turn_detection=TurnDetection(type="semantic_vad", eagerness="high")),
    ],
)
def test_a_setting_that_has_its_effect_is_not_named(session: Session) -> None:
    assert without_effect(Config(session=session)) == []
