"""Which words of a reply were heard: the transcript's place in the audio. Pure.

The server gives no word times. What it gives is the order in which text and audio come: a piece of
text is spoken no earlier than the audio that had come before it. Where text and audio come side by
side that alone places the words; where the text runs far ahead, words are spread evenly.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from shared import messages
from shared.audio.pcm import RATE

#: Speech, where nothing better is known: 15 letters a second, blanks included.
SAMPLES_PER_CHAR = RATE // 15
#: Marks nearer than this to the one before add nothing.
SPACING = RATE // 4
#: Text comes beside its audio when its last piece came after this share of the audio.
BESIDE = 0.6


def split(
    text: str, marks: Sequence[messages.Mark], heard: int, received: int, *, done: bool
) -> tuple[str, str]:
    """Split a transcript at the playhead, at the end of the last word that was heard.

    ``heard`` and ``received`` are samples; with ``done`` there is no more audio than ``received``.
    """
    if done and heard >= received:
        return text, ""
    if heard == 0 or not text:
        return "", text
    end = 0
    # a word is heard when the next one's place is reached
    for at in range(1, len(text) + 1):
        if (at == len(text) or text[at].isspace()) and not text[at - 1].isspace():
            if _place(at, text, marks, received, done=done) > heard:
                break
            end = at
    return text[:end], text[end:]


def _place(at: int, text: str, marks: Sequence[messages.Mark], received: int, *, done: bool) -> int:
    """Give where the letter ``at`` of the text is in the audio, samples."""
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
