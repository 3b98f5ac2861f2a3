"""The session object that Bargein asks the server for, and the names of its fields.

A field is named by its path in the object, as the server names it in an error:
``audio.output.voice`` is ``session.audio.output.voice`` there.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from shared.config import Config, Session

#: Objects of the session that are no settings themselves: their fields are.
CONTAINERS = frozenset({"audio", "audio.input", "audio.output"})
#: The sentence that the instructions get about session.language.
LANGUAGE = (
    "The person speaks the language with the ISO 639-1 code '{code}'. Answer in this language,"
    " unless the person asks for another one."
)
#: The beginning of a custom voice's id.
CUSTOM_VOICE = "voice_"
#: The settings that uplink and downlink read only when they start.
AT_START = frozenset(
    {
        "answer_after",
        "transcript_limit_ms",
        "resume_within_s",
        "input_rate",
        "output_rate",
        "mcp",
    }
)
#: Objects that null switches off.
FEATURES = frozenset({"audio.input.transcription", "audio.input.noise_reduction"})
#: The defaults of the fields that are not asked for unless a setting says so.
DEFAULTS: dict[str, Any] = {
    "audio.input.transcription": None,
    "audio.input.noise_reduction": None,
    "audio.output.speed": 1.0,
    "max_output_tokens": "inf",
    "reasoning": None,
    "truncation": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "tracing": None,
    "include": None,
}


def in_force(config: Config) -> Session:
    """Return [session], with its turn detection adapted to ``interruption.decide``.

    ``interruption.decide`` says whether the server or the client decides about turns, answers and
    interruptions.
    """
    turns = config.session.turn_detection
    if config.interruption.decide == "push_to_talk":
        turns = replace(turns, type="none")
    elif config.interruption.decide != "server":
        # Also for "never": a server cannot start a response while another one is active, so
        # downlink decides when uplink asks for each response.
        turns = replace(turns, create_response=False, interrupt_response=False)
    return replace(config.session, turn_detection=turns)


def instructions(session: Session) -> str:
    """Return the model's instructions, with a sentence about the person's language."""
    if not session.language:
        return session.instructions
    sentence = LANGUAGE.format(code=session.language)
    return f"{session.instructions}\n\n{sentence}".strip()


def wanted(session: Session) -> dict[str, Any]:
    """Return the session object that asks for the settings in [session].

    A setting that leaves the choice to the server is not in the object.
    """
    hearing: dict[str, Any] = {
        "format": {"type": "audio/pcm", "rate": session.input_rate},
        "turn_detection": _turn_detection(session),
    }
    if session.transcription_model:
        hearing["transcription"] = _transcription(session)
    if session.noise_reduction != "none":
        hearing["noise_reduction"] = {"type": session.noise_reduction}
        if session.noise_strength != 1:
            hearing["noise_reduction"]["strength"] = session.noise_strength
    speaking: dict[str, Any] = {
        "format": {"type": "audio/pcm", "rate": session.output_rate},
        "voice": _voice(session.voice),
    }
    if session.speed != 1:
        speaking["speed"] = session.speed
    made: dict[str, Any] = {
        "type": "realtime",
        "instructions": instructions(session),
        "output_modalities": session.output_modalities,
        # Tools that the model may call belong here: each session needs them again.
        "audio": {"input": hearing, "output": speaking},
    }
    if session.max_output_tokens:
        made["max_output_tokens"] = session.max_output_tokens
    if session.reasoning_effort != "auto":
        made["reasoning"] = {"effort": session.reasoning_effort}
    if session.truncation != "auto":
        made["truncation"] = _truncation(session)
    if session.tool_choice != "auto":
        made["tool_choice"] = _tool_choice(session.tool_choice)
    if session.parallel_tool_calls != "auto":
        made["parallel_tool_calls"] = session.parallel_tool_calls == "on"
    if session.tracing != "off":
        made["tracing"] = _tracing(session)
    if session.transcription_logprobs and session.transcription_model:
        made["include"] = ["item.input_audio_transcription.logprobs"]
    return made


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the path and the new value of each field in which two session objects differ.

    A field that is no longer asked for gets its default. A feature that loses one of its fields is
    switched off first: in an update, a field that is not named keeps its value.
    """
    old, new = dict(fields(before)), dict(fields(after))
    for path, value in new.items():
        was = old.get(path)
        # An object of a feature is never empty.
        lost = set(was or ()) - set(value or ()) if path in FEATURES else ()
        if lost and value:
            yield path, None
        if path not in old or was != value:
            yield path, value
    for path in old:
        if path not in new and path in DEFAULTS:
            yield path, DEFAULTS[path]


def reloaded(before: Session, after: Session) -> tuple[Session, str]:
    """Return the settings that a running session follows, and a log line that names the changes.

    The settings of AT_START stay as they were.
    """
    names = Session.__struct_fields__
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    followed = replace(after, **{name: getattr(before, name) for name in AT_START})
    if not changed:
        return followed, "nothing in [session] has changed"
    now = [name for name in changed if name not in AT_START]
    later = [name for name in changed if name in AT_START]
    line = f"changed in [session]: {', '.join(now) or 'nothing that can change now'}"
    return followed, f"{line}; after bargein restart: {', '.join(later)}" if later else line


def _voice(voice: str) -> str | dict[str, str]:
    return {"id": voice} if voice.startswith(CUSTOM_VOICE) else voice


def _transcription(session: Session) -> dict[str, Any]:
    made: dict[str, Any] = {"model": session.transcription_model}
    if session.transcription_languages:
        made["languages"] = session.transcription_languages
    elif session.language:
        made["language"] = session.language
    if session.transcription_prompt:
        made["prompt"] = session.transcription_prompt
    if session.transcription_keywords:
        made["keywords"] = session.transcription_keywords
    if session.transcription_delay != "auto":
        made["delay"] = session.transcription_delay
    return made


def _truncation(session: Session) -> str | dict[str, Any]:
    if session.truncation == "disabled":
        return "disabled"
    made: dict[str, Any] = {"type": "retention_ratio", "retention_ratio": session.retention_ratio}
    if session.retention_tokens:
        made["token_limits"] = {"post_instructions": session.retention_tokens}
    return made


def _tool_choice(choice: str) -> str | dict[str, str]:
    if choice in ("auto", "none", "required"):
        return choice
    if not choice.startswith("mcp:"):
        return {"type": "function", "name": choice}
    server, _, name = choice.removeprefix("mcp:").partition("/")
    return {"type": "mcp", "server_label": server} | ({"name": name} if name else {})


def _tracing(session: Session) -> str | dict[str, Any]:
    made: dict[str, Any] = {}
    if session.tracing_workflow:
        made["workflow_name"] = session.tracing_workflow
    if session.tracing_group:
        made["group_id"] = session.tracing_group
    if session.tracing_metadata:
        made["metadata"] = session.tracing_metadata
    return made or "auto"


def server_cancels(session: Session) -> bool:
    """Return whether the server cancels its reply by itself when it hears somebody speak."""
    turns = session.turn_detection
    return turns.interrupt_response and turns.type != "none"


def summary(session: Session) -> str:
    """Return the settings that a person notices first, for the log."""
    language = f", the language {session.language!r} in the instructions"
    text = f"voice {session.voice}, turn detection {session.turn_detection.type}"
    return f"{text}{language if session.language else ''}"


def _turn_detection(session: Session) -> dict[str, Any] | None:
    turns = session.turn_detection
    if turns.type == "none":
        return None
    detection: dict[str, Any] = {
        "type": turns.type,
        "create_response": turns.create_response,
        "interrupt_response": turns.interrupt_response,
    }
    if turns.type == "server_vad":
        detection |= {
            "threshold": turns.threshold,
            "prefix_padding_ms": turns.prefix_padding_ms,
            "silence_duration_ms": turns.silence_duration_ms,
        }
        if turns.idle_timeout_ms:
            detection["idle_timeout_ms"] = turns.idle_timeout_ms
    else:
        detection["eagerness"] = turns.eagerness
    return detection


def fields(session: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and the value of each setting in a session object."""
    for name, value in session.items():
        path = f"{prefix}{name}"
        if path in CONTAINERS and isinstance(value, Mapping):
            yield from fields(value, f"{path}.")
        else:
            yield path, value


def at(session: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path. Raises KeyError if the object has no such field."""
    found: Any = session
    for name in path.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(path)
        found = found[name]
    return found


def without(session: Mapping[str, Any], left_out: Container[str], prefix: str = "") -> Any:
    """Return a session object without the fields at some paths, nor objects that become empty."""
    kept = {}
    for name, value in session.items():
        path = f"{prefix}{name}"
        if path in left_out:
            continue
        if isinstance(value, Mapping):
            if inner := without(value, left_out, f"{path}."):
                kept[name] = inner
        else:
            kept[name] = value
    return kept


def alone(path: str, value: Any) -> dict[str, Any]:
    """Return a session object with one field only."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return {"type": "realtime", **value}
