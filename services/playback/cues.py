"""Two soft tones: a falling one when the conversation falls asleep, a rising one when it wakes.

With ``playback.cues`` they also say that the connection is lost, and that it is back. A loss that
is over within a moment is not reported. Pure: the tones are computed.
"""

from __future__ import annotations

import numpy as np

from shared.audio.pcm import RATE, from_array

#: The pitches: A4 and D5, a fourth apart.
LOW_HZ, HIGH_HZ = 440.0, 587.33
#: How long each pitch sounds and how long it fades in and out, in seconds, and how loud it is.
TONE_S, EDGE_S, LEVEL_DBFS = 0.11, 0.02, -24.0
#: A loss that lasts less than 0.4 s is not reported: a reconnect at once takes no longer, and the
#: person would hear two tones about nothing.
BRIEF_NS = 400_000_000
#: link publishes its state every second. A link that was silent for three seconds is gone.
LINK_TIMEOUT_NS = 3_000_000_000


def tones(*pitches_hz: float) -> bytes:
    """Return tones of these pitches, one after the other, mono s16le at 24 kHz."""
    time = np.arange(round(TONE_S * RATE)) / RATE
    edge = np.clip(np.minimum(time, TONE_S - time) / EDGE_S, 0, 1)
    level = 10 ** (LEVEL_DBFS / 20) * 32767 * (1 - np.cos(np.pi * edge)) / 2
    parts = [level * np.sin(2 * np.pi * pitch * time) for pitch in pitches_hz]
    return from_array(np.rint(np.concatenate(parts)).astype(np.int16))


LOST = tones(HIGH_HZ, LOW_HZ)
BACK = tones(LOW_HZ, HIGH_HZ)


class Cues:
    """Decides which tone is due. Times are ns of one clock.

    ``losses``: whether a lost connection is reported too.
    """

    def __init__(self, *, losses: bool = True) -> None:
        self._losses = losses
        self._asleep = False
        # The person knows of the sleep, and not yet of the waking.
        self._sleep_announced = False
        self._open = False
        self._lost_ns = 0  # when the connection was lost; 0: it is open, or there has been none
        self._reported_ns = 0  # when link reported last
        # The person knows of the loss, and not yet of the return.
        self._loss_announced = False

    def link(self, now_ns: int, *, is_open: bool, asleep: bool = False) -> None:
        """Take link's report that the connection is open or not, or that it sleeps."""
        self._reported_ns = now_ns
        if asleep:
            if not self._asleep:
                # Without a session before the sleep, there is nothing to announce.
                self._asleep, self._sleep_announced = True, not self._open
            self._open, self._lost_ns = False, 0
            return
        if is_open:
            self._asleep = False
        if self._open and not is_open:
            self._lost_ns = now_ns
        elif is_open:
            self._lost_ns = 0
        self._open = is_open

    def due(self, now_ns: int) -> bytes:
        """Return the tone to play now, s16le, or b"". Each tone is returned once."""
        if self._open and now_ns - self._reported_ns > LINK_TIMEOUT_NS:
            self.link(self._reported_ns, is_open=False)
        if self._asleep and not self._sleep_announced:
            self._sleep_announced = True
            return LOST
        if self._open and self._sleep_announced:
            self._sleep_announced = self._loss_announced = False
            return BACK
        if not self._losses:
            return b""
        if self._lost_ns and not self._loss_announced and now_ns - self._lost_ns >= BRIEF_NS:
            self._loss_announced = True
            return LOST
        if self._open and self._loss_announced:
            self._loss_announced = False
            return BACK
        return b""
