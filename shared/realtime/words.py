"""Estimate which words of a reply were heard, by placing the transcript in the audio. Pure.

The server sends no word times. It only sends pieces of text and of audio in some order, and a piece
of text is spoken no earlier than the audio that arrived before the text. If text and audio arrive
side by side, this order is enough to place the words. If the text arrives far ahead of the audio,
the words are spread evenly over the audio.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from shared import messages
from shared.audio.pcm import RATE

#: Assumed speed of speech, in samples per character including blanks: 15 characters a second.
#: Used while the total length of the audio is not known.
SAMPLES_PER_CHAR = RATE // 15
#: Least distance between two marks, in samples (0.25 s). Closer marks would not place a word
#: noticeably better.
SPACING = RATE // 4
#: Text counts as arriving beside its audio if its last piece arrived after at least this share of
#: the audio.
BESIDE = 0.6
#: The end of the text that stands for a person's turn without a transcript.
_NO_TRANSCRIPT = "; no transcript]"
_SPOKE = "[the person spoke"


def untranscribed(speech_ms: int) -> str:
    """Return the text that stands for a person's turn which nobody has transcribed.

    ``speech_ms``: how long the person spoke, ms; -1: nobody knows.
    """
    lasted = f" for {speech_ms / 1000:.1f} s" if speech_ms >= 0 else ""
    return f"{_SPOKE}{lasted}{_NO_TRANSCRIPT}"


def is_untranscribed(text: str) -> bool:
    """Return whether a text is one that ``untranscribed`` has made."""
    return text.startswith(_SPOKE) and text.endswith(_NO_TRANSCRIPT)


def split(
    text: str, marks: Sequence[messages.Mark], heard: int, received: int, *, done: bool
) -> tuple[str, str]:
    """Return the heard and the unheard part of a transcript, split after the last word heard.

    ``heard`` and ``received`` are samples. ``done`` means that no audio follows after ``received``.
    """
    if done and heard >= received:
        return text, ""
    if heard == 0 or not text:
        return "", text
    end = 0
    # A word counts as heard once the playhead has reached the place where the word ends.
    for at in range(1, len(text) + 1):
        if (at == len(text) or text[at].isspace()) and not text[at - 1].isspace():
            if _place(at, text, marks, received, done=done) > heard:
                break
            end = at
    return text[:end], text[end:]


def heard_and_unheard(
    said: messages.Transcript, audio: messages.HeardItem | None
) -> tuple[str, str]:
    """Return the words of an item that were heard, and the others.

    ``audio``: how far the item was heard, as playback reported it last; None: nothing yet. Each
    word of the person, and of a reply that nobody speaks, counts as heard.
    """
    if said.heard or said.unheard:
        return said.heard, said.unheard
    if said.role == "user" or said.written:
        return said.text, ""
    if audio is None:
        return "", said.text
    done = audio.done and said.final
    return split(said.text, said.marks, audio.heard, audio.received, done=done)


def _place(at: int, text: str, marks: Sequence[messages.Mark], received: int, *, done: bool) -> int:
    """Return the place in the audio, in samples, of the character ``at`` of the text."""
    known = bisect.bisect_right(marks, at, key=lambda mark: mark.chars) - 1
    earliest = marks[known].samples if known >= 0 else 0
    if marks and marks[-1].samples >= BESIDE * received:
        first = marks[known] if known >= 0 else messages.Mark(0, 0)
        last = messages.Mark(len(text), received)
        after = marks[known + 1] if known + 1 < len(marks) else last
        span = max(1, after.chars - first.chars)
        return first.samples + (at - first.chars) * (after.samples - first.samples) // span
    even = at * received // len(text) if done else at * SAMPLES_PER_CHAR
    return max(earliest, even)
