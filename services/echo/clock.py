"""When the samples of one stream were at the device's converter. Pure."""

from __future__ import annotations

from shared.audio.pcm import RATE

_SAMPLE_NS = 1e9 / RATE
#: The scatter of the stamps is averaged over this many stamps: 100 frames are 2 s. On PulseAudio
#: single stamps scatter by 2 ms.
_AVERAGED = 100
#: A stamp that is further than 20 ms, one frame, from the clock's prediction is ignored …
_OUTLIER_NS = 20_000_000
#: … unless this many stamps in a row are: then the device itself has jumped.
_OUTLIERS = 5


class StreamClock:
    """Converts between the sample positions of one stream and monotonic time.

    A device counts samples by its own crystal and stamps each frame with the machine's clock. The
    stamps scatter, so the clock averages the stamps of the last seconds.
    """

    def __init__(self) -> None:
        self._stream = -1  # -1: no stream yet
        self._outliers = 0  # ignored stamps in a row
        # the stamp that the clock started from, and how many stamps were averaged since
        self._position = self._ns = self._count = 0
        self._late = 0.0  # ns: how much later than the first stamp says the samples are, on average

    def add(self, stream: int, position: int, at_ns: int) -> bool:
        """Add a stamp: the sample ``position`` of ``stream`` was at the converter at ``at_ns``.

        Return True if the clock restarted with this stamp: it is another stream, or the device
        jumped.
        """
        late = at_ns - self._ns - (position - self._position) * _SAMPLE_NS
        if stream != self._stream:
            self._outliers = _OUTLIERS
        elif abs(late - self._late) > _OUTLIER_NS:
            self._outliers += 1
        else:
            self._outliers = 0
            self._count = min(self._count + 1, _AVERAGED)
            self._late += (late - self._late) / self._count
            return False
        if self._outliers < _OUTLIERS:
            return False
        self._stream, self._position, self._ns = stream, position, at_ns
        self._count, self._late, self._outliers = 1, 0.0, 0
        return True

    def ns(self, position: float) -> float:
        """Return when a sample was at the converter, in ns of the monotonic clock."""
        return self._ns + self._late + (position - self._position) * _SAMPLE_NS

    def position(self, ns: float) -> float:
        """Return which sample, with its fraction, was at the converter at a monotonic time."""
        return self._position + (ns - self._ns - self._late) / _SAMPLE_NS
