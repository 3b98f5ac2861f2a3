"""Input transcription without speech recognition: the transcript says how long the speech was.

The events are the service's. With whisper-1 the whole transcript is one delta; with most other
models each word is a delta. ``gpt-live-transcribe`` sends its words while the person speaks, before
the commit, with the id that the turn's item will have. The service bills some models by the
duration of the audio and all others by tokens, and ``usage`` says so.
"""

from __future__ import annotations

from typing import Any, Final

from services.emulator.clips import RATE
from services.emulator.conversation import Item
from services.emulator.plans import USER_TOKENS_S

_KIND: Final = "conversation.item.input_audio_transcription"
#: The models that the service bills by the duration of the audio.
_BILLED_BY_DURATION: Final = ("whisper-1", "gpt-transcribe", "gpt-live-transcribe")
#: The models that transcribe while the person speaks.
_LIVE: Final = ("gpt-live-transcribe",)
#: The samples of a turn that make one live word: half a second.
_LIVE_WORD: Final = RATE // 2

Event = dict[str, Any]


class Live:
    """The words of the turn that goes on: one for each half second, "1 2 3 …"."""

    def __init__(self) -> None:
        self._words: dict[str, int] = {}  # the number of words so far, by the item's id

    def hear(self, item_id: str, samples: int) -> list[Event]:
        """Return the deltas of the turn that becomes this item; it has ``samples`` so far."""
        said, words = self._words.get(item_id, 0), samples // _LIVE_WORD
        self._words[item_id] = max(said, words)
        return _deltas(item_id, [str(number) for number in range(said + 1, words + 1)], said)

    def end(self, item: Item, wanted: dict[str, Any]) -> list[Event]:
        """Return the last events of a turn. A turn has at least one word."""
        last = self.hear(item.id, max(_LIVE_WORD, len(item.audio) // 2))
        words = [str(number) for number in range(1, self._words.pop(item.id) + 1)]
        return [*last, _completed(item, wanted, " ".join(words))]


def is_live(wanted: dict[str, Any] | None) -> bool:
    """Return whether a session's ``transcription`` asks for words while the person speaks."""
    return wanted is not None and wanted.get("model") in _LIVE


def transcribe(item: Item, wanted: dict[str, Any]) -> list[Event]:
    """Put the transcript (``[2.3 s of speech]``) into the item, and return its events.

    ``wanted`` is the session's ``transcription``.
    """
    transcript = f"[{_seconds(item):.1f} s of speech]"
    words = [transcript] if wanted.get("model") == "whisper-1" else transcript.split()
    return [*_deltas(item.id, words), _completed(item, wanted, transcript)]


def failed(item: Item, code: str) -> Event:
    """Return the event of a transcription that failed with this error code."""
    message = f"Input transcription failed for item '{item.id}'."
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    return {"type": f"{_KIND}.failed", "item_id": item.id, "content_index": 0, "error": error}


def _deltas(item_id: str, words: list[str], before: int = 0) -> list[Event]:
    """Return a delta for each word. ``before`` is the number of words before them."""
    place = {"type": f"{_KIND}.delta", "item_id": item_id, "content_index": 0}
    return [
        {**place, "delta": f" {word}" if number else word}
        for number, word in enumerate(words, before)
    ]


def _completed(item: Item, wanted: dict[str, Any], transcript: str) -> Event:
    for part in item.content or ():
        part["transcript"] = transcript
    if wanted.get("model") in _BILLED_BY_DURATION:
        usage: Event = {"type": "duration", "seconds": round(_seconds(item), 3)}
    else:
        heard, words = round(_seconds(item) * USER_TOKENS_S), len(transcript.split())
        usage = {
            "type": "tokens",
            "total_tokens": heard + words,
            "input_tokens": heard,
            "output_tokens": words,
            "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        }
    return {
        "type": f"{_KIND}.completed",
        "item_id": item.id,
        "content_index": 0,
        "transcript": transcript,
        "usage": usage,
    }


def _seconds(item: Item) -> float:
    return len(item.audio) / 2 / RATE
