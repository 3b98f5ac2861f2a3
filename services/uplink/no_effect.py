"""Settings of the session that have no effect, in words. Pure."""

from __future__ import annotations

from collections.abc import Callable

from shared.config import Config


def warn(config: Config, log_warning: Callable[[str, str], None]) -> None:
    """Log a warning for each setting that was changed and has no effect."""
    for line in without_effect(config):
        log_warning("%s", line)


def without_effect(config: Config) -> list[str]:
    """Return a line for each setting that was changed and has no effect."""
    session, turns = config.session, config.session.turn_detection
    lines = []
    transcription = {
        "transcription_prompt": session.transcription_prompt,
        "transcription_keywords": session.transcription_keywords,
        "transcription_languages": session.transcription_languages,
        "transcription_delay": session.transcription_delay != "auto",
        "transcription_logprobs": session.transcription_logprobs,
    }
    lines += [
        f"session.{name} has no effect without session.transcription_model"
        for name, given in transcription.items()
        if given and not session.transcription_model
    ]
    if session.noise_strength != 1 and session.noise_reduction == "none":
        lines.append("session.noise_strength has no effect without session.noise_reduction")
    if session.retention_tokens and session.truncation != "retention_ratio":
        lines.append(
            'session.retention_tokens has no effect without session.truncation = "retention_ratio"'
        )
    if session.tracing == "off" and (session.tracing_workflow or session.tracing_group):
        lines.append('session.tracing_workflow has no effect without session.tracing = "auto"')
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
    if turns.type == "none" and config.interruption.decide in ("server", "never"):
        lines.append(
            'with session.turn_detection.type = "none" only typed lines are answered: to speak, set'
            ' interruption.decide = "push_to_talk"'
        )
    return lines
