"""Input transcription without a recognizer: it says how much speech there was, and no words.

The events are those of the service: one delta and a usage in seconds for whisper-1, a delta for
each word and a usage in tokens for the other models.
"""

from __future__ import annotations

from typing import Any

from services.emulator.clips import RATE
from services.emulator.conversation import Item
from services.emulator.plans import USER_TOKENS_S

_KIND = "conversation.item.input_audio_transcription"


def transcribe(item: Item, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the transcript (``[2.3 s of speech]``) into the item; give the events that tell of it.

    ``wanted``: the session's ``transcription``.
    """
    seconds = len(item.audio) / 2 / RATE
    transcript = f"[{seconds:.1f} s of speech]"
    for part in item.content or ():
        part["transcript"] = transcript
    words = transcript.split()
    if wanted.get("model") == "whisper-1":
        deltas = [transcript]
        usage: dict[str, Any] = {"type": "duration", "seconds": round(seconds, 3)}
    else:
        deltas = [f" {word}" if number else word for number, word in enumerate(words)]
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
