"""The clocks of the microphone and the speaker, according to the positions of their frames."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.observer import deliveries
from shared import messages, registry
from shared.audio import pcm

#: A frame that comes later than this after the one before it follows a stall, ns.
STALL_NS = 100_000_000


@dataclass
class Stream:
    """The clock of a device, according to its frames."""

    opened: int = 0  # times
    missing: int = 0  # samples between frames of one opening
    lost: int = 0  # messages
    #: The longest time without a stall: ns at the converter, samples.
    points: list[tuple[int, int]] = field(default_factory=list)
    _run: list[tuple[int, int]] = field(default_factory=list)
    _stream: int = -1
    _next: int = 0
    _last_ns: int = 0

    def frame(self, stream: int, position: int, at_ns: int, samples: int, lost: int) -> None:
        """Take a frame. One frame per second is kept for the line."""
        self.lost += lost
        broken = stream != self._stream or position != self._next
        if stream != self._stream:
            self._stream, self.opened = stream, self.opened + 1
        else:
            self.missing += abs(position - self._next)
        self._next = position + samples
        # A stall of the machine is not drift.
        since_ns = at_ns - self._last_ns
        self._last_ns = at_ns
        if broken or since_ns > STALL_NS:
            self._run = []
        if not self._run or at_ns - self._run[-1][0] >= 1_000_000_000:
            self._run.append((at_ns, position))
            if len(self._run) > len(self.points):
                self.points = self._run

    def drift(self) -> tuple[float, float]:
        """Return how much faster than the machine's clock the device is, ppm, and the greatest
        distance from a straight line, ms.
        """
        if len(self.points) < 10:
            return float("nan"), float("nan")
        # The times in the first seconds of a stream are inexact.
        at = np.array([p[0] for p in self.points[5:]], np.float64)
        at = (at - at[0]) / 1e9
        place = np.array([p[1] for p in self.points[5:]], np.float64) / pcm.RATE
        slope, zero = np.polyfit(at, place, 1)
        away = np.abs(place - (slope * at + zero)).max()
        return (float(slope) - 1) * 1e6, float(away) * 1e3


class Clocks:
    """Observes the frames of both devices on a thread, and keeps no audio."""

    def __init__(self, directory: Path) -> None:
        self.microphone, self.speaker = Stream(), Stream()
        self._directory = directory
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop observing."""
        self._ending.set()
        self._thread.join()

    def _listen(self) -> None:
        wanted = [registry.of(messages.MicFrame), registry.of(messages.SpeakerFrame)]
        for found in deliveries(wanted, self._directory, self._ending):
            for delivery in found:
                said = delivery.message
                samples = len(said.payload) // pcm.SAMPLE_BYTES
                if isinstance(said, messages.MicFrame):
                    self.microphone.frame(
                        said.stream, said.position, said.captured_ns, samples, delivery.lost
                    )
                elif isinstance(said, messages.SpeakerFrame):
                    self.speaker.frame(
                        said.stream, said.position, said.played_ns, samples, delivery.lost
                    )
