"""Settings of the session that have no effect, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable

from shared.config import Config


def warn(config: Config, say: Callable[[str, str], None]) -> None:
    """Log a warning for each setting that was changed and has no effect."""
    for line in without_effect(config):
        say("%s", line)


def without_effect(config: Config) -> list[str]:
    """Return a line for each setting that was changed and has no effect."""
    session, turns = config.session, config.session.turn_detection
    lines = []
    if session.language and not session.transcription_model:
        lines.append(
            f"session.language = {session.language!r} has no effect without"
            " session.transcription_model: set it, or name the language in session.instructions"
        )
    if turns.idle_timeout_ms and turns.type != "server_vad":
        lines.append(
            "session.turn_detection.idle_timeout_ms has no effect without"
            ' session.turn_detection.type = "server_vad"'
        )
    if turns.eagerness != "auto" and turns.type != "semantic_vad":
        lines.append(
            "session.turn_detection.eagerness has no effect without"
            ' session.turn_detection.type = "semantic_vad"'
        )
    return lines
