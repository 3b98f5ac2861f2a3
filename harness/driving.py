"""Drives the product's pure parts as the stages drive them, faster than real time.

The frames have time stamps, scatter and waits like those of devices. Their output goes to vad, to
the server's turn detection (the emulator's, with its defaults) and to the client's judgement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.judging import Conversation
from services.emulator.ears import Detection, Ears, Started
from services.vad.voice import Voice
from shared import config, messages
from shared.audio import pcm
from shared.audio.silero import Silero

Sound = NDArray[np.float64]

#: How the two devices' time stamps scatter, ns, and the delay that each device states.
STAMPS_NS = 300_000
INPUT_NS, OUTPUT_NS = 12_000_000, 10_000_000
#: How long a message is on the bus, ns.
BUS_NS = 1_000_000
#: A person who is detected this long after falling silent still counts as detected: 0.5 s, in
#: samples.
GRACE = pcm.RATE // 2
#: When a scene begins, monotonic ns.
BEGIN_NS = 10**9


def frames(
    far: Sound, near: Sound, drift_ppm: float, chance: np.random.Generator
) -> Iterator[tuple[int, messages.Message]]:
    """Yield the frames of both devices in the order in which echo gets them, with their times."""
    played_samples = np.rint(far * 32767).astype(np.int16)
    captured_samples = np.rint(near * 32767).astype(np.int16)
    step = pcm.samples_to_ns(pcm.FRAME)
    events: list[tuple[int, messages.Message]] = []
    for at in range(0, len(far) - pcm.FRAME + 1, pcm.FRAME):
        played = BEGIN_NS + pcm.samples_to_ns(at)
        stamp = played + int(chance.normal() * STAMPS_NS)
        payload = played_samples[at : at + pcm.FRAME].tobytes()
        frame = messages.SpeakerFrame(stream=1, position=at, played_ns=stamp, payload=payload)
        # A speaker.frame is published when its last sample was handed to the device.
        events.append((played + step - OUTPUT_NS + BUS_NS, frame))
    for at in range(0, len(near) - pcm.FRAME + 1, pcm.FRAME):
        captured = BEGIN_NS + round(at * 1e9 / pcm.RATE / (1 - drift_ppm * 1e-6))
        stamp = captured + int(chance.normal() * STAMPS_NS)
        payload = captured_samples[at : at + pcm.FRAME].tobytes()
        events.append(
            (
                captured + step + INPUT_NS + BUS_NS,
                messages.MicFrame(
                    stream=2, position=at, captured_ns=stamp, overflows=0, payload=payload
                ),
            )
        )
    return iter(sorted(events, key=lambda event: event[0]))


@dataclass
class Detections:
    """The detections in a microphone's sound. Times are samples of the microphone."""

    #: vad's onsets: the sample, and the ns at which vad knew.
    onsets: list[tuple[int, int]] = field(default_factory=list)
    #: The server's turns: the sample at which it knew.
    turns: list[int] = field(default_factory=list)


class Detectors:
    """vad, the server's turn detection and the client's judgement, on one stream of frames."""

    def __init__(self, settings: config.Config) -> None:
        self.heard = Detections()
        self.client = Conversation(settings)
        self._voice = Voice(Silero(), settings.vad.threshold, settings.vad.silence_ms)
        self._server = Ears(Silero())
        turns = settings.session.turn_detection
        self._server.configure(
            Detection(turns.threshold, turns.prefix_padding_ms, turns.silence_duration_ms)
        )

    def vad(self, frame: messages.MicClean, now: int) -> None:
        """Show a frame to vad."""
        changes = self._voice.take(frame.payload, frame.captured_ns)
        ends = frame.position + pcm.FRAME
        self.heard.onsets += [(ends, now) for change in changes if change.speaking]
        self.client.hear(self._voice, changes, ends, now)

    def server(self, frame: messages.MicClean, now: int) -> None:
        """Send a frame to the server."""
        self._server.append(frame.payload)
        found = self._server.hear(8)
        at = self._server.clock
        self.heard.turns += [at for one in found if isinstance(one, Started)]
        self.client.server(found, at, now)
