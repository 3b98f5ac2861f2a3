"""The session object: its defaults, and partial updates.

The defaults come from a ``session.created`` that the live service sent in 2026: server_vad is on,
with a silence of 200 ms (the service's guide says 500).
"""

from __future__ import annotations

import copy
from typing import Any, Final

from services.emulator.schema import Refused
from services.emulator.session_fields import SESSION

_DETECTION_DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "server_vad": {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 200,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    },
    "semantic_vad": {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    },
}
_NOISE_DEFAULTS: Final = {"type": "near_field"}
_PCM: Final = {"type": "audio/pcm", "rate": 24000}
#: Null switches these features off. In any other field, null means that the field was not given.
_SESSION_FEATURES: Final = frozenset({"tracing", "prompt", "reasoning", "include"})
_INPUT_FEATURES: Final = frozenset({"transcription", "noise_reduction", "turn_detection"})
_TURN_FEATURES: Final = frozenset({"idle_timeout_ms"})


def default(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """Return the object of a new session. ``expires_at`` is in seconds since 1970."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are the emulator of a voice assistant. You say what you are given.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "prompt": None,
        "truncation": "auto",
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_DETECTION_DEFAULTS["server_vad"]),
            },
            "output": {"format": dict(_PCM), "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def updated(session: dict[str, Any], update: Any, *, spoken: bool) -> dict[str, Any]:
    """Return a copy of the session with a partial update applied.

    ``audio`` and the objects in it are merged field by field. An object that changes its ``type``
    starts from the defaults of the new type. Any other field is replaced. Null switches a feature
    off if the feature can be off; in any other field, null means that the field was not given.
    ``spoken`` says that the conversation holds assistant audio, so that the voice is fixed. Raises
    Refused if any part of the update is wrong.
    """
    SESSION(update, "session")
    merged = _merge(session, update)
    check_voice(session, merged["audio"]["output"]["voice"], spoken=spoken)
    if session["tracing"] is not None and merged["tracing"] != session["tracing"]:
        raise Refused(
            "invalid_value",
            "Cannot update a session's tracing configuration once it is on.",
            "session.tracing",
        )
    return merged


def check_voice(session: dict[str, Any], voice: Any, *, spoken: bool) -> None:
    """Raise Refused if the voice changes although the conversation holds assistant audio."""
    if spoken and voice != session["audio"]["output"]["voice"]:
        raise Refused(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
        )


def _merge(old: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(old)
    new = _without_nulls(copy.deepcopy(update), _SESSION_FEATURES)
    audio = new.pop("audio", {})
    merged.update(new)
    merged["audio"]["output"].update(_without_nulls(audio.get("output") or {}))
    if merged["audio"]["output"]["format"]["type"] == "audio/pcm":
        merged["audio"]["output"]["format"] = dict(_PCM)
    merged_input = merged["audio"]["input"]
    for key, value in _without_nulls(audio.get("input") or {}, _INPUT_FEATURES).items():
        merged_input[key] = _merged_input(key, merged_input[key], value)
    return merged


def _merged_input(key: str, before: Any, value: dict[str, Any] | None) -> Any:
    """Return the new value of one field of ``audio.input``."""
    if value is None:
        return None
    if key == "format":
        return dict(_PCM) if value["type"] == "audio/pcm" else value
    if key == "turn_detection" and (before is None or before["type"] != value["type"]):
        before = _DETECTION_DEFAULTS[value["type"]]
    elif key == "noise_reduction":
        before = before or _NOISE_DEFAULTS
    return {**(before or {}), **_without_nulls(value, _TURN_FEATURES)}


def _without_nulls(given: dict[str, Any], features: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return an object without the fields that are null, except those that switch a feature off."""
    return {key: value for key, value in given.items() if value is not None or key in features}
