"""Lower the reply, or hold it, while it is undecided whether the person interrupts it. Pure.

The duck stands between the player and the device, and only while it lowers. During a pause it takes
no samples from the player, so nothing is lost, and nothing counts as heard that was not.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from shared import messages
from shared.audio import pcm
from shared.config import Interruption

#: How long it takes to lower a reply (5 ms: no click), and to bring the reply back (100 ms: it does
#: not startle), in samples.
FALL = pcm.ms_to_samples(5)
RISE = pcm.ms_to_samples(100)
#: Speech that ended longer ago than this has not caused an interruption.
CAUSE_NS = 2_000_000_000


class Source(Protocol):
    """The player, as the duck uses it."""

    @property
    def playing(self) -> bool:
        """Whether anything is left to give to the device."""

    def render(self, samples: int, /) -> bytes:
        """Return the next samples, s16le; each call counts them as heard."""


class Duck:
    """Decides when the reply is lowered (on the loop), and lowers it (on the device's thread).

    The device's callback goes through `render` only while ``wanted`` is True or ``level`` is below
    1, so a reply at full level costs nothing. Only the loop sets ``wanted``. Only the callback sets
    ``level``.
    """

    def __init__(self, rules: Interruption) -> None:
        #: Whether the reply is to be lowered.
        self.wanted = False
        #: The gain of the last sample that the device was given, 0 to 1.
        self.level = 1.0
        #: When the device was given the first sample that was lowered for the present speech, ns;
        #: 0: none was.
        self.ducked_ns = 0
        # Speech that cannot interrupt lowers nothing.
        self._enabled = rules.duck != "off" and rules.decide in ("server", "client")
        self._low = 0.0 if rules.duck == "pause" else 10.0 ** (-rules.duck_db / 20)
        self._limit_ns = rules.duck_limit_ms * 1_000_000
        self._report: messages.Speech | None = None  # vad's last report
        self._onset_ns = 0  # the onset of the person's last speech

    # on the loop

    def vad_reported(self, report: messages.Speech, *, playing: bool, now_ns: int) -> int:
        """Take vad's report that the person speaks, or no longer speaks.

        ``playing``: audio is left to give to the device. Return for how many ns to lower the reply,
        0 if it is not to be lowered because of this report. After that time the caller calls
        `bring_back`.
        """
        self._report = report
        if not report.speaking:
            # If nothing plays, the answer to this speech must not begin lowered.
            self.wanted = self.wanted and playing
            return 0
        if report.at_ns <= self._onset_ns:
            # vad repeats its report every second.
            return 0
        self._onset_ns, self.ducked_ns = report.at_ns, 0
        # After a restart of playback the report may be about speech that began long ago.
        left_ns = report.at_ns + self._limit_ns - now_ns
        self.wanted = self._enabled and left_ns > 0
        return left_ns if self.wanted else 0

    def bring_back(self, onset_ns: int) -> None:
        """Bring the reply back to full level, unless it is lowered for a later speech."""
        if onset_ns >= self._onset_ns:
            self.wanted = False

    def onset_ns(self, cause: str, at_ns: int) -> int:
        """Return the onset of the speech that caused a flush at ``at_ns``; 0 if it is unknown."""
        report = self._report
        if report is None or cause not in ("speech_started", "judged"):
            return 0
        return self._onset_ns if report.speaking or at_ns - report.at_ns < CAUSE_NS else 0

    # on the device's thread

    def render(self, source: Source, samples: int, now_ns: int) -> bytes:
        """Return the device's next ``samples`` samples, s16le: the source's, lowered.

        During a pause nothing is taken from the source, and the samples are silence.
        """
        target = self._low if self.wanted else 1.0
        falling = target < self.level
        if falling and not self.ducked_ns and source.playing:
            self.ducked_ns = now_ns
        if self.level == target == 0.0 or not samples:
            return bytes(samples * pcm.SAMPLE_BYTES)
        step = (1.0 - self._low) / (FALL if falling else RISE)
        # On the way to a pause, take only the samples that can still be heard.
        taken = min(samples, max(1, round(self.level / step))) if target == 0.0 else samples
        ramp = step * np.arange(1, taken + 1)
        gains = np.maximum(self.level - ramp, target)
        if not falling:
            gains = np.minimum(self.level + ramp, target)
        # Set the target exactly: a ramp that ends just beside it, by rounding, would never end.
        self.level = target if abs(gains[-1] - target) < step / 2 else float(gains[-1])
        out = (np.frombuffer(source.render(taken), "<i2") * gains).astype("<i2").tobytes()
        return bytes(out.ljust(samples * pcm.SAMPLE_BYTES, b"\0"))
