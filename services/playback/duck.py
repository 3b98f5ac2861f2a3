"""The reply made quieter, or held, while it is decided whether the person's voice ends it.

Pure. It stands between the player and the device, and only while it has something to do: what it
does not ask the player for is not lost and not heard, so the playhead stays right.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from shared import messages
from shared.audio import pcm
from shared.config import Interruption

#: How long it takes to lower a reply, and to bring it back.
DOWN = pcm.ms_to_samples(5)
UP = pcm.ms_to_samples(100)
#: Speech that ended longer ago has not caused an interruption.
NEAR_NS = 2_000_000_000


class Source(Protocol):
    """What is lowered: the player."""

    @property
    def playing(self) -> bool:
        """Whether there is something to hear."""

    def render(self, samples: int, /) -> bytes:
        """Give its next samples, s16le."""


class Duck:
    """Decides when a reply is lowered (on the loop), and lowers it (in the device's callback).

    The callback goes through ``render`` while ``wanted`` holds or ``level`` is below 1: a reply at
    full level costs nothing. The loop alone sets the one, the callback the other.
    """

    def __init__(self, rules: Interruption) -> None:
        self.wanted = False
        self.level = 1.0  # the gain of the last sample given
        self.ducked_ns = 0  # when the device was given the first sample lowered for this speech
        # a voice that cannot interrupt lowers nothing
        self._ducks = rules.duck != "off" and rules.decide in ("server", "client")
        self._low = 0.0 if rules.duck == "pause" else 10.0 ** (-rules.duck_db / 20)
        self._limit_ns = rules.duck_limit_ms * 1_000_000
        self._speech: messages.Speech | None = None
        self._onset_ns = 0  # of the person's last speech

    # on the loop

    def hear(self, speech: messages.Speech, *, playing: bool, now_ns: int) -> int:
        """Learn that the person speaks, or no longer; give for how long to lower, ns, or 0.

        ``playing``: the assistant can be heard.
        """
        self._speech = speech
        if not speech.speaking:
            # with nothing to lower, the reply to this is not to begin lowered
            self.wanted = self.wanted and playing
            return 0
        if speech.at_ns <= self._onset_ns:
            return 0
        self._onset_ns, self.ducked_ns = speech.at_ns, 0
        # an onset that a playback which has just begun is told of again is no news
        left_ns = speech.at_ns + self._limit_ns - now_ns
        self.wanted = self._ducks and left_ns > 0
        return left_ns if self.wanted else 0

    def bring_back(self, onset_ns: int) -> None:
        """Bring the reply back to its level, unless it is lowered for a later speech."""
        if onset_ns >= self._onset_ns:
            self.wanted = False

    def onset_ns(self, cause: str, at_ns: int) -> int:
        """Give when the person began to speak who caused a flush at ``at_ns``; 0: not known."""
        speech = self._speech
        if speech is None or cause not in ("speech_started", "judged"):
            return 0
        return self._onset_ns if speech.speaking or at_ns - speech.at_ns < NEAR_NS else 0

    # in the device's callback

    def render(self, source: Source, samples: int, now_ns: int) -> bytes:
        """Give the device its next samples, s16le: the source's, lowered; in a pause, none of
        them.
        """
        target = self._low if self.wanted else 1.0
        falling = target < self.level
        if falling and not self.ducked_ns and source.playing:
            self.ducked_ns = now_ns
        if self.level == target == 0.0 or not samples:
            return bytes(samples * pcm.SAMPLE_BYTES)
        step = (1.0 - self._low) / (DOWN if falling else UP)
        # a pause takes no more than what can still be heard
        taken = min(samples, max(1, round(self.level / step))) if target == 0.0 else samples
        ramp = step * np.arange(1, taken + 1)
        gains = np.maximum(self.level - ramp, target)
        if not falling:
            gains = np.minimum(self.level + ramp, target)
        # to the target exactly: what is left of a rounded ramp would never come to its end
        self.level = target if abs(gains[-1] - target) < step / 2 else float(gains[-1])
        out = (np.frombuffer(source.render(taken), "<i2") * gains).astype("<i2").tobytes()
        return bytes(out.ljust(samples * pcm.SAMPLE_BYTES, b"\0"))
