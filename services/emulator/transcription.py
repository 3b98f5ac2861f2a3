"""Input transcription without speech recognition: the transcript says how long the speech was.

The events are the service's. With whisper-1 the whole transcript is one delta; with all other
models each word is a delta. The service bills some models by the duration of the audio and all
others by tokens, and ``usage`` says so.
"""

from __future__ import annotations

from typing import Any

from services.emulator.clips import RATE
from services.emulator.conversation import Item
from services.emulator.plans import USER_TOKENS_S

_KIND = "conversation.item.input_audio_transcription"
#: The models that the service bills by the duration of the audio.
_BILLED_BY_DURATION = ("whisper-1", "gpt-transcribe", "gpt-live-transcribe")


def transcribe(item: Item, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the transcript (``[2.3 s of speech]``) into the item, and return its events.

    ``wanted`` is the session's ``transcription``.
    """
    seconds = len(item.audio) / 2 / RATE
    transcript = f"[{seconds:.1f} s of speech]"
    for part in item.content or ():
        part["transcript"] = transcript
    words = transcript.split()
    deltas = [f" {word}" if number else word for number, word in enumerate(words)]
    if wanted.get("model") == "whisper-1":
        deltas = [transcript]
    if wanted.get("model") in _BILLED_BY_DURATION:
        usage: dict[str, Any] = {"type": "duration", "seconds": round(seconds, 3)}
    else:
        tokens = round(seconds * USER_TOKENS_S)
        usage = {
            "type": "tokens",
            "total_tokens": tokens + len(words),
            "input_tokens": tokens,
            "output_tokens": len(words),
            "input_token_details": {"text_tokens": 0, "audio_tokens": tokens},
        }
    place = {"item_id": item.id, "content_index": 0}
    return [
        *({"type": f"{_KIND}.delta", **place, "delta": delta} for delta in deltas),
        {"type": f"{_KIND}.completed", **place, "transcript": transcript, "usage": usage},
    ]
