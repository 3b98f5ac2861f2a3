"""The settings that a person can change at the door."""

from __future__ import annotations

import pytest

from services.emulator import session_fields
from shared.config import Config, ConfigError, Interruption, Session, TurnDetection, keys
from shared.messages import MAX_CHANGE
from shared.realtime import changes, session

pytestmark = pytest.mark.unit


def test_each_setting_exists_and_is_followed_while_the_stages_run() -> None:
    known = {key for key, _, _ in keys()}
    assert {changes.SECTION + name for name in changes.NAMES} <= known
    assert not session.AT_START & {name.partition(".")[0] for name in changes.NAMES}
    assert changes.VOICES == session_fields.VOICES


def test_a_viewer_learns_what_each_setting_accepts() -> None:
    offered = {o["name"]: o for o in changes.offered(Config(), {"speed": "1.25"})}
    assert offered["speed"] == {
        "name": "speed", "value": 1.25, "changed": True, "low": 0.25, "high": 1.5,
    }  # fmt: skip
    assert offered["turn_detection.type"]["accepted"] == ("server_vad", "semantic_vad")
    assert "cedar" in offered["voice"]["suggested"]
    assert not offered["voice"]["changed"]
    # A session without turn detection keeps having none.
    off = Config(session=Session(turn_detection=TurnDetection(type="none")))
    for config in (off, Config(interruption=Interruption(decide="push_to_talk"))):
        names = {o["name"] for o in changes.offered(config, {})}
        assert "voice" in names
        assert not any(name.startswith("turn_detection") for name in names)


def test_a_change_is_read_as_on_a_command_line() -> None:
    texts = {"speed": "1", "language": "de", "voice": "true", "turn_detection.eagerness": "low"}
    changed = changes.applied(Config(), texts)
    assert changed.session.speed == 1.0
    assert changed.session.voice == "true"
    assert changed.session.turn_detection == TurnDetection(eagerness="low")
    assert changed.link == Config().link
    with pytest.raises(ConfigError, match=r"accepted: 0\.25 to 1\.5"):
        changes.applied(Config(), {"speed": "fast"})


def test_a_text_that_fits_into_no_message_is_refused() -> None:
    longest = "a" * MAX_CHANGE
    assert changes.applied(Config(), {"instructions": longest}).session.instructions == longest
    with pytest.raises(ConfigError, match="at most 16384 characters"):
        changes.applied(Config(), {"instructions": longest + "a"})
    assert len(changes.NAMES) <= 12, "Panel.session has room for twelve settings"
