"""Two soft tones that tell of the connection: falling when it is lost, rising when it is back.

Pure, and made by arithmetic. A connection that is back within a moment is not worth a word.
"""

from __future__ import annotations

import numpy as np

from shared.audio.pcm import RATE, from_array

#: D and A of the middle of a piano, each for so long, with soft edges, and quiet.
LOW_HZ, HIGH_HZ = 440.0, 587.33
TONE_S, EDGE_S, LEVEL_DBFS = 0.11, 0.02, -24.0
#: A loss that is over after this long goes unsaid.
BRIEF_NS = 400_000_000
#: When link has said nothing for this long, it is not there.
SILENT_NS = 3_000_000_000


def tones(*pitches_hz: float) -> bytes:
    """Give tones of these pitches one after the other, mono s16le at 24 kHz."""
    time = np.arange(round(TONE_S * RATE)) / RATE
    edge = np.clip(np.minimum(time, TONE_S - time) / EDGE_S, 0, 1)
    level = 10 ** (LEVEL_DBFS / 20) * 32767 * (1 - np.cos(np.pi * edge)) / 2
    parts = [level * np.sin(2 * np.pi * pitch * time) for pitch in pitches_hz]
    return from_array(np.rint(np.concatenate(parts)).astype(np.int16))


LOST = tones(HIGH_HZ, LOW_HZ)
BACK = tones(LOW_HZ, HIGH_HZ)


class Cues:
    """Says which tone is due. Times are ns of one clock."""

    def __init__(self) -> None:
        self._open = False
        self._lost_ns = 0  # since when there is no connection, where there was one; 0: there is
        self._seen_ns = 0  # when link was last heard of
        self._told = False  # that it is lost

    def link(self, now_ns: int, *, is_open: bool) -> None:
        """Learn how the connection is."""
        self._seen_ns = now_ns
        if self._open and not is_open:
            self._lost_ns = now_ns
        elif is_open:
            self._lost_ns = 0
        self._open = is_open

    def due(self, now_ns: int) -> bytes:
        """Give the tone to play now, s16le; none: b"". Each is given once."""
        if self._open and now_ns - self._seen_ns > SILENT_NS:
            self.link(self._seen_ns, is_open=False)
        if self._lost_ns and not self._told and now_ns - self._lost_ns >= BRIEF_NS:
            self._told = True
            return LOST
        if self._open and self._told:
            self._told = False
            return BACK
        return b""
