"""The fields that a client may set in a session, and the checks of their values.

The emulator accepts the following fields, but they change nothing: ``speed``, ``noise_reduction``,
``truncation`` (of the context), ``tracing``, ``prompt``, ``reasoning`` and ``include``.
"""

from __future__ import annotations

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
    number,
    tagged,
    text,
)

VOICES: Final = (
    "alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip

_LANGUAGE = text(64)


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
            "mcp": fields(
                {
                    "type": anything,
                    "server_label": text(64),
                    "server_url": text(),
                    "connector_id": text(),
                    "tunnel_id": text(),
                    "authorization": text(),
                    "headers": either({dict: anything}),
                    "allowed_tools": either({list: anything, dict: anything}),
                    "require_approval": either({str: choice("always", "never"), dict: anything}),
                    "server_description": text(),
                    "defer_loading": flag,
                    "allowed_callers": array(anything),
                },
                required=["server_label"],
            ),
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
                "mcp": fields(
                    {"type": anything, "server_label": text(64), "name": text()},
                    required=["server_label"],
                ),
            }
        ),
    }
)
MAX_OUTPUT_TOKENS: Final[Check] = either({int: integer(1, 4096), str: choice("inf")})
PROMPT: Final[Check] = fields(
    {"id": text(), "version": text(), "variables": either({dict: anything})},
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
                "idle_timeout_ms": integer(5000, 30_000),
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
                        "transcription": _TRANSCRIPTION,
                        "noise_reduction": _NOISE_REDUCTION,
                        "turn_detection": _TURN_DETECTION,
                    }
                ),
                "output": fields({"format": FORMAT, "voice": VOICE, "speed": number(0.25, 1.5)}),
            }
        ),
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "parallel_tool_calls": flag,
        "max_output_tokens": MAX_OUTPUT_TOKENS,
        "reasoning": REASONING,
        "prompt": PROMPT,
        "truncation": either(
            {
                str: choice("auto", "disabled"),
                dict: tagged(
                    {
                        "retention_ratio": fields(
                            {
                                "type": anything,
                                "retention_ratio": number(0.0, 1.0),
                                "token_limits": fields({"post_instructions": integer(0)}),
                            },
                            required=["retention_ratio"],
                        )
                    }
                ),
            }
        ),
        "tracing": either(
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
        ),
        "include": array(choice("item.input_audio_transcription.logprobs")),
    },
    required=["type"],
)
