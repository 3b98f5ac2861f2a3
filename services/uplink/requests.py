"""The events that a client sends, as JSON text in the shapes of the GA Realtime API."""

from __future__ import annotations

import binascii
from typing import Any

import msgspec
from msgspec.structs import replace

from shared import messages
from shared.config import Config, Session
from shared.realtime.event_ids import RESTORES

_APPEND = b'{"type":"input_audio_buffer.append","audio":"%b"}'


def _text(kind: str, **fields: Any) -> bytes:
    return msgspec.json.encode({"type": kind, **fields})


def append(pcm: bytes) -> bytes:
    """Return ``input_audio_buffer.append`` for s16le samples at 24 kHz."""
    return _APPEND % binascii.b2a_base64(pcm, newline=False)


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


def session_update(session: Session) -> bytes:
    """Return the ``session.update`` that asks for the settings in [session]."""
    turns = session.turn_detection
    detection: dict[str, Any] | None = {
        "type": turns.type,
        "create_response": turns.create_response,
        "interrupt_response": turns.interrupt_response,
    }
    if detection is not None and turns.type == "server_vad":
        detection |= {
            "threshold": turns.threshold,
            "prefix_padding_ms": turns.prefix_padding_ms,
            "silence_duration_ms": turns.silence_duration_ms,
        }
        if turns.idle_timeout_ms:
            detection["idle_timeout_ms"] = turns.idle_timeout_ms
    elif detection is not None and turns.type == "semantic_vad":
        detection["eagerness"] = turns.eagerness
    else:
        detection = None
    pcm = {"type": "audio/pcm", "rate": 24000}
    hearing: dict[str, Any] = {"format": pcm, "turn_detection": detection}
    if session.transcription_model:
        hearing["transcription"] = {"model": session.transcription_model}
        if session.language:
            hearing["transcription"]["language"] = session.language
    if session.noise_reduction != "none":
        hearing["noise_reduction"] = {"type": session.noise_reduction}
    return _text(
        "session.update",
        session={
            "type": "realtime",
            "instructions": session.instructions,
            "output_modalities": ["audio"],
            # Tools that the model may call belong here: each session needs them again.
            "audio": {"input": hearing, "output": {"format": pcm, "voice": session.voice}},
        },
    )


def respond() -> bytes:
    """Return the ``response.create`` that asks for an answer."""
    return _text("response.create")


def commit() -> bytes:
    """Return ``input_audio_buffer.commit``: the server makes the appended audio a turn."""
    return _text("input_audio_buffer.commit")


def clear() -> bytes:
    """Return ``input_audio_buffer.clear``: the server drops the appended audio."""
    return _text("input_audio_buffer.clear")


def greet(instructions: str) -> bytes:
    """Return the ``response.create`` that makes the assistant speak first."""
    return _text("response.create", response={"instructions": instructions})


def cancel(response_id: str) -> bytes:
    """Return ``response.cancel`` for one response."""
    return _text("response.cancel", response_id=response_id)


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> bytes:
    """Return ``conversation.item.truncate``: the item keeps its audio up to ``audio_end_ms``."""
    return _text(
        "conversation.item.truncate",
        item_id=item_id,
        content_index=content_index,
        audio_end_ms=audio_end_ms,
    )


def create(turn: messages.HistoryTurn, previous: str = "") -> bytes:
    """Return ``conversation.item.create`` for a turn of an earlier session, under its new id.

    ``previous`` is the id of the item before the turn, or ``root`` for the beginning; "" puts the
    turn at the end. The assistant's turns are restored as text, because a client cannot create
    the assistant's audio.
    """
    item: dict[str, Any] = {"id": turn.new_id, "type": turn.kind}
    if turn.kind == "function_call":
        item |= {"call_id": turn.call_id, "name": turn.name, "arguments": turn.text}
    elif turn.kind == "function_call_output":
        item |= {"call_id": turn.call_id, "output": turn.text}
    else:
        kind = "output_text" if turn.role == "assistant" else "input_text"
        item |= {"role": turn.role, "content": [{"type": kind, "text": turn.text}]}
    event: dict[str, Any] = {"event_id": f"{RESTORES}{turn.new_id}"}
    if previous:
        event["previous_item_id"] = previous
    return _text("conversation.item.create", **event, item=item)


def delete(item_id: str) -> bytes:
    """Return ``conversation.item.delete``: the server removes the item from the conversation."""
    return _text("conversation.item.delete", item_id=item_id)
