"""Finds faults of the microphone, from its level and its channels. Pure."""

from __future__ import annotations

from collections import deque

from services.capture.levels import Level
from shared.audio import pcm
from shared.faults import Fault

#: A microphone whose samples were all zero for 3 s gives no sound: even a quiet room has noise.
_DEAD_S = 3
#: A second clips if 1 ms of it does. A microphone clips more than occasionally if 3 of the last 10
#: seconds clipped: a cough, a knock or a slammed door clips one or two. The fault is over after 10
#: seconds without clipping: a person who speaks too loudly pauses, too.
_CLIPPED_SAMPLES = pcm.RATE // 1000
_SECONDS, _TOO_MANY = 10, 3


DEAD = Fault(
    "dead_s",
    "no sound from the microphone",
    "the microphone gives no sound at all. Is it muted, or is it another device than you meant? See"
    " the system's sound and privacy settings, or --list-devices and capture.device",
    "the microphone is heard again",
)
CLIPS = Fault(
    "clipping_s",
    "clips",
    "the microphone is too loud: it clips again and again, and then echo and words are hard to tell"
    " apart. Lower its level in the system's settings, or move it away from the speaker",
    "the microphone has stopped clipping",
)


def opposite(advice: str) -> Fault:
    """Return the fault of two channels that cancel each other."""
    return Fault(
        "opposite_phase_s",
        "two channels in opposite phase",
        advice,
        "the microphone's two channels are in phase again",
    )


class Condition:
    """Judges one open microphone, once a second."""

    def __init__(self) -> None:
        self._clipped: deque[bool] = deque(maxlen=_SECONDS)  # whether each of the seconds did
        self._clips = False

    def judge(self, level: Level, channels: str | None, *, may_be_silent: bool) -> Fault | None:
        """Return the microphone's fault; None if there is none.

        ``level`` is that of the last second. ``channels`` is the device's own report of a fault in
        its channels; None: no fault. ``may_be_silent``: zeros are no fault, however long they
        last, as in a file.
        """
        self._clipped.append(level.clipped >= _CLIPPED_SAMPLES)
        seconds = sum(self._clipped)
        self._clips = seconds >= _TOO_MANY or (self._clips and seconds > 0)
        if channels is not None:
            return opposite(channels)
        if level.silent_s >= _DEAD_S and not may_be_silent:
            return DEAD
        return CLIPS if self._clips else None
