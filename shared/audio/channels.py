"""Makes one channel of a microphone's several: their mix, or the channel with a number.

Written without NumPy, which would make a process that only captures 25 MB larger. Mixing a block of
10 ms takes some 20 µs.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from shared.audio.device import DeviceError

#: The phase is measured on every eighth sample: an eighth of the work, and the same result.
THINNED = 8
#: A block holds sound if the sum or the difference of its channels has more than this mean power,
#: in squared steps of 16 bits: -60 dBFS. The noise of two converters is softer, and has no phase.
_SOUND = 32.8**2
#: Two channels cancel each other if their sum has less than a hundredth of their difference's
#: power: the mix loses 20 dB. The two wires of one balanced cable lose that much if their levels
#: differ by less than 1.6 dB. Two microphones in one room lose 0 to 3 dB.
_CANCELLED = 0.01
#: The phase is believed after 20 blocks with sound, 0.2 to 0.4 s. It is averaged over some hundred
#: such blocks, 1 to 2 s.
_BELIEVED, _KEPT = 20, 0.99
OPPOSITE = (
    "the microphone's two channels are in opposite phase and cancel each other: set"
    " capture.channel = 1, or use a cable that is not wired as a balanced one"
)


def check_channel(wanted: int, channels: int, name: str) -> None:
    """Raise DeviceError if the device ``name`` has no channel ``wanted``. 0 is the mix."""
    if wanted <= channels:
        return
    has = "1 channel" if channels == 1 else f"{channels} channels, 1 to {channels}"
    raise DeviceError(f"capture.channel = {wanted}: {name} has {has}; 0 is the mix")


class Phase:
    """Measures whether two channels are in opposite phase, so that their mix is almost silent."""

    def __init__(self) -> None:
        self.opposite = False
        self._sum = self._difference = 0.0  # mean powers of the two, averaged
        self._blocks = 0  # with sound, up to _BELIEVED

    def add(self, left: Sequence[float], right: Sequence[float]) -> None:
        """Add a block of the two channels, in steps of 16 bits."""
        pairs = list(zip(left, right, strict=True))
        both = sum([(a + b) ** 2 for a, b in pairs]) / max(1, len(pairs))
        apart = sum([(a - b) ** 2 for a, b in pairs]) / max(1, len(pairs))
        if max(both, apart) <= _SOUND:
            return
        self._sum = _KEPT * self._sum + both
        self._difference = _KEPT * self._difference + apart
        self._blocks = min(_BELIEVED, self._blocks + 1)
        cancelled = self._sum < _CANCELLED * self._difference
        self.opposite = cancelled and self._blocks >= _BELIEVED


class Channels:
    """Makes one channel out of blocks with several, interleaved s16le.

    ``wanted`` is a channel's number, counted from 1. 0 is the mix of the first two: a device with
    more has its microphones there, and the others are often empty or carry what the computer plays.
    """

    def __init__(self, channels: int, wanted: int) -> None:
        self._channels, self._wanted = channels, wanted
        self._phase = Phase()

    def fault(self) -> str | None:
        """Return in one line what is wrong with the channels; None if nothing is known."""
        return OPPOSITE if self._phase.opposite else None

    def mono(self, block: bytes) -> bytes:
        """Return a block's one channel."""
        if self._channels == 1:
            return block
        samples = memoryview(block).cast("h")
        if self._wanted:
            return samples[self._wanted - 1 :: self._channels].tobytes()
        left, right = (array("h", samples[at :: self._channels].tobytes()) for at in (0, 1))
        self._phase.add(left[::THINNED], right[::THINNED])
        # A sound server gives the one channel of most microphones twice.
        if left == right:
            return left.tobytes()
        return array("h", [(a + b) >> 1 for a, b in zip(left, right, strict=True)]).tobytes()
