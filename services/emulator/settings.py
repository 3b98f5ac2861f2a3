"""The session object: what a client may set, its defaults, and partial updates.

The defaults are those of a ``session.created`` observed on the live service in 2026: server_vad is
on, with a silence of 200 ms (the guide's prose says 500). Accepted and without effect here are
``speed``, ``noise_reduction``, ``truncation`` (of the context), ``tracing``, ``prompt``,
``reasoning`` and ``include``.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from services.emulator.schema import (
    Check,
    Refused,
    anything,
    array,
    choice,
    either,
    fields,
    flag,
    integer,
    nullable,
    number,
    tagged,
    text,
)

VOICES: Final = (
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip

_LANGUAGE = text(64)


def _no_mcp(_: Any, path: str) -> None:
    raise Refused(
        "invalid_value", "The emulator reaches no MCP servers: give it functions.", f"{path}.type"
    )


def _modalities(value: Any, path: str) -> None:
    array(choice("text", "audio"))(value, path)
    if value not in (["text"], ["audio"]):
        raise Refused(
            "invalid_value",
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and ['audio'].",
            path,
        )


FORMAT: Final[Check] = tagged(
    {
        "audio/pcm": fields({"type": anything, "rate": integer(24000, 24000)}),
        "audio/pcmu": fields({"type": anything}),
        "audio/pcma": fields({"type": anything}),
    }
)
VOICE: Final[Check] = either(
    {str: choice(*VOICES), dict: fields({"id": text(256)}, required=["id"])}
)
TOOLS: Final[Check] = array(
    tagged(
        {
            "function": fields(
                {
                    "type": anything,
                    "name": text(64),
                    "description": text(),
                    "parameters": either({dict: anything}),
                },
                required=["name"],
            ),
            "mcp": _no_mcp,
        }
    ),
    longest=128,
)
TOOL_CHOICE: Final[Check] = either(
    {
        str: choice("none", "auto", "required"),
        dict: tagged(
            {
                "function": fields({"type": anything, "name": text(64)}, required=["name"]),
                "mcp": _no_mcp,
            }
        ),
    }
)
MAX_OUTPUT_TOKENS: Final[Check] = either({int: integer(1, 4096), str: choice("inf")})
PROMPT: Final[Check] = fields(
    {"id": text(), "version": nullable(text()), "variables": nullable(either({dict: anything}))},
    required=["id"],
)
REASONING: Final[Check] = fields({"effort": choice("minimal", "low", "medium", "high", "xhigh")})
MODALITIES: Final[Check] = _modalities

_TURN_DETECTION = tagged(
    {
        "server_vad": fields(
            {
                "type": anything,
                "threshold": number(0.0, 1.0),
                "prefix_padding_ms": integer(0, 10_000),
                "silence_duration_ms": integer(0, 60_000),
                "idle_timeout_ms": nullable(integer(5000, 30_000)),
                "create_response": flag,
                "interrupt_response": flag,
            }
        ),
        "semantic_vad": fields(
            {
                "type": anything,
                "eagerness": choice("low", "medium", "high", "auto"),
                "create_response": flag,
                "interrupt_response": flag,
            }
        ),
    }
)
_TRANSCRIPTION = fields(
    {
        "model": text(128),
        "language": _LANGUAGE,
        "languages": array(_LANGUAGE),
        "prompt": text(),
        "keywords": array(text()),
        "delay": choice("minimal", "low", "medium", "high", "xhigh"),
    }
)
_NOISE_REDUCTION = fields({"type": choice("near_field", "far_field"), "strength": number(0, 1)})

SESSION: Final[Check] = fields(
    {
        "type": choice("realtime"),
        "model": text(128),
        "instructions": text(),
        "output_modalities": MODALITIES,
        "audio": fields(
            {
                "input": fields(
                    {
                        "format": FORMAT,
                        "transcription": nullable(_TRANSCRIPTION),
                        "noise_reduction": nullable(_NOISE_REDUCTION),
                        "turn_detection": nullable(_TURN_DETECTION),
                    }
                ),
                "output": fields({"format": FORMAT, "voice": VOICE, "speed": number(0.25, 1.5)}),
            }
        ),
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": flag,
        "max_output_tokens": MAX_OUTPUT_TOKENS,
        "reasoning": nullable(REASONING),
        "prompt": nullable(PROMPT),
        "truncation": either(
            {
                str: choice("auto", "disabled"),
                dict: tagged(
                    {
                        "retention_ratio": fields(
                            {
                                "type": anything,
                                "retention_ratio": number(0.0, 1.0),
                                "token_limits": nullable(fields({"post_instructions": integer(0)})),
                            },
                            required=["retention_ratio"],
                        )
                    }
                ),
            }
        ),
        "tracing": nullable(
            either(
                {
                    str: choice("auto"),
                    dict: fields(
                        {
                            "workflow_name": text(),
                            "group_id": text(),
                            "metadata": either({dict: anything}),
                        }
                    ),
                }
            )
        ),
        "include": nullable(array(choice("item.input_audio_transcription.logprobs"))),
    },
    required=["type"],
)

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


def default(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """Give a new session's object; ``expires_at`` in seconds since the epoch."""
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
    """Give the session with a partial update applied; the one given stays as it was.

    ``spoken``: the conversation holds assistant audio, which fixes the voice. Objects are merged
    field by field, lists and what has another ``type`` than before are replaced, null switches off.
    Raises Refused, and then nothing of the update applies.
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
    """Raise Refused if the voice changes while the conversation holds assistant audio."""
    if spoken and voice != session["audio"]["output"]["voice"]:
        raise Refused(
            "cannot_update_voice",
            "Cannot update a conversation's voice if assistant audio is present.",
        )


def _merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(old)
    for key, value in new.items():
        merged[key] = copy.deepcopy(value)
    if "audio" not in new:
        return merged
    merged["audio"] = audio = copy.deepcopy(old["audio"])
    given = new["audio"]
    audio["output"].update(copy.deepcopy(given.get("output", {})))
    for key, value in given.get("input", {}).items():
        before = audio["input"][key]
        if key == "format":
            audio["input"][key] = dict(_PCM) if value["type"] == "audio/pcm" else dict(value)
        elif value is None:
            audio["input"][key] = None
        elif key == "turn_detection":
            if before is None or before["type"] != value["type"]:
                before = _DETECTION_DEFAULTS[value["type"]]
            audio["input"][key] = {**before, **value}
        elif key == "noise_reduction":
            audio["input"][key] = {**(before or _NOISE_DEFAULTS), **value}
        else:
            audio["input"][key] = {**(before or {}), **value}
    if audio["output"]["format"]["type"] == "audio/pcm":
        audio["output"]["format"] = dict(_PCM)
    return merged
