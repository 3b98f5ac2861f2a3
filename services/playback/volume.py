"""The volume: how loud the person wants the reply. Pure.

The volume is the last step before the device, after the duck. So the sound that playback publishes,
which the echo canceller subtracts, has the volume in it.
"""

from __future__ import annotations

import numpy as np

from shared.audio import pcm

#: How long the sound takes to go from silence to full volume, samples: 20 ms, without a click.
RAMP = pcm.ms_to_samples(20)


def gain(percent: int) -> float:
    """Return the factor for a volume in percent. Loudness is felt as the cube root of the power.

    PulseAudio and PipeWire use the same curve, so that 50 % sounds half as loud.
    """
    return (percent / 100) ** 3


class Volume:
    """Scales the sound. Only the loop sets ``wanted``; only the device's thread sets ``level``."""

    def __init__(self, percent: int) -> None:
        #: The factor that the person wants, 0 to 1.
        self.wanted = gain(percent)
        #: The factor of the last sample that the device was given.
        self.level = self.wanted

    def render(self, audio: bytes) -> bytes:
        """Return the samples (s16le) with the volume that the person wants."""
        wanted, level = self.wanted, self.level
        samples = np.frombuffer(audio, "<i2")
        if wanted == level:
            return (samples * level).astype("<i2").tobytes()
        ramp = np.arange(1, len(samples) + 1) / RAMP
        gains = (
            np.minimum(level + ramp, wanted) if wanted > level else np.maximum(level - ramp, wanted)
        )
        if len(gains):
            self.level = float(gains[-1])
        return (samples * gains).astype("<i2").tobytes()
