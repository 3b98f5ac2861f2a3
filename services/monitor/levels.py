"""The levels of both voices, in steps of one frame, as a viewer draws them. Pure."""

from __future__ import annotations

from typing import Any, Literal

Voice = Literal["person", "assistant"]
#: At least so many frames of a voice are sent together: ten messages a second are smooth enough.
TOGETHER = 5
#: The peak is looked for in every fourth sample: a quarter of the work, and the same picture.
THINNED = 4
#: The first byte of a message with sound.
SOUND: dict[Voice, bytes] = {"person": b"\x00", "assistant": b"\x01"}


def peak(pcm: bytes) -> int:
    """Return the peak of s16le audio, 0 to 100, in steps of full scale's square root.

    The square root shows a quiet voice, as the eye expects it.
    """
    samples = memoryview(pcm).cast("h")[::THINNED]
    loudest = max(*samples, -min(samples)) if samples else 0
    quiet_shown: float = (loudest / 32768) ** 0.5
    return round(quiet_shown * 100)


class Levels:
    """Gathers the peaks of a voice's frames."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._at_ns = 0
        self._peaks: list[int] = []

    def add(self, pcm: bytes, at_ns: int) -> None:
        """Add a frame whose first sample was at ``at_ns``."""
        if not self._peaks:
            self._at_ns = at_ns
        self._peaks.append(peak(pcm))

    def take(self) -> dict[str, Any] | None:
        """Return the message with the frames so far, or None while there are too few."""
        if len(self._peaks) < TOGETHER:
            return None
        peaks, self._peaks = self._peaks, []
        at_ms = self._at_ns // 1_000_000
        return {"type": "levels", "voice": self._voice, "at_ms": at_ms, "peaks": peaks}
