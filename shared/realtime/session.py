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


def wanted(session: Session) -> dict[str, Any]:
    """Return the session object that asks for the settings in [session]."""
    hearing: dict[str, Any] = {
        "format": {"type": "audio/pcm", "rate": session.input_rate},
        "turn_detection": _turn_detection(session),
    }
    if session.transcription_model:
        hearing["transcription"] = {"model": session.transcription_model}
        if session.language:
            hearing["transcription"]["language"] = session.language
    if session.noise_reduction != "none":
        hearing["noise_reduction"] = {"type": session.noise_reduction}
    speaking = {
        "format": {"type": "audio/pcm", "rate": session.output_rate},
        "voice": session.voice,
    }
    return {
        "type": "realtime",
        "instructions": session.instructions,
        "output_modalities": ["audio"],
        # Tools that the model may call belong here: each session needs them again.
        "audio": {"input": hearing, "output": speaking},
    }


def server_cancels(session: Session) -> bool:
    """Return whether the server cancels its reply by itself when it hears somebody speak."""
    turns = session.turn_detection
    return turns.interrupt_response and turns.type != "none"


def summary(session: Session) -> str:
    """Return the settings that a person notices first, for the log."""
    return f"voice {session.voice}, turn detection {session.turn_detection.type}"


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
