"""What the speaker plays, on the microphone's time: two clocks, and the samples between them. Pure.

A microphone and a speaker count samples by clocks of their own, and stamp them with the machine's.
A line through each one's stamps says when a sample was heard; from one line to the other leads the
place in the far end that was at the speaker while a frame of the microphone was taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared import messages as m
from shared.audio.pcm import FRAME, FRAME_BYTES, RATE, SAMPLE_BYTES, samples_to_ns, to_array

#: How long a stamp counts: long enough to average its jitter away, short enough to follow a clock.
_MEMORY_S = 60.0
#: What a clock is believed to be off by before its stamps tell, and how far stamps scatter.
_DRIFT = 100e-6
_JITTER_S = 0.5e-3
#: A stamp this far off its line is not believed; so many in a row are, and the line begins anew.
_OFF_S = 0.02
_PATIENCE = 5
#: A device that ran empty goes on some ms later: the line is moved when so many stamps in a row are
#: on one side of it, further than they scatter (times), and than 1 ms.
_SLIPPED, _SCATTERS, _SLIP_S = 10, 3.0, 1e-3

#: Samples of the far end that are kept: the longest delay a canceller looks for, and room.
KEPT = 4 * RATE
#: The interpolator: 16 taps of a windowed sinc at each 256th of a sample, flat to 10 kHz.
_TAPS, _PHASES = 16, 256


class Clock:
    """When the samples of one stream were at its converter: a line through their stamps."""

    def __init__(self) -> None:
        self._stream = -1
        self._keep = 1.0 - 1.0 / (_MEMORY_S * 50)
        self._off = 0  # stamps in a row that are not on the line
        self._beside: deque[float] = deque(maxlen=_SLIPPED)  # how far the last were from it, s
        self._scatter = _JITTER_S
        self._position = self._ns = 0  # where the line's numbers count from
        self._n, self._x, self._y, self._xx, self._xy = 1.0, 0.0, 0.0, 0.0, 0.0

    def add(self, stream: int, position: int, at_ns: int) -> bool:
        """Take the stamp of a frame's first sample; say whether the line begins anew with it."""
        if stream != self._stream:
            self._stream = stream
            self._begin(position, at_ns)
            return True
        x = (position - self._position) / RATE
        y = (at_ns - self._ns) * 1e-9 - x
        beside = y - self._height(x)
        if abs(beside) > _OFF_S:
            self._off += 1
            if self._off < _PATIENCE:
                return False
            self._begin(position, at_ns)
            return True
        self._off = 0
        keep = self._keep
        self._n = keep * self._n + 1
        self._x = keep * self._x + x
        self._y = keep * self._y + y
        self._xx = keep * self._xx + x * x
        self._xy = keep * self._xy + x * y
        self._follow(beside)
        return False

    def _follow(self, beside: float) -> None:
        """Move the line where the device has slipped: the samples after it are later, no others."""
        self._beside.append(beside)
        far = max(_SLIP_S, _SCATTERS * self._scatter)
        self._scatter += (min(abs(beside), far) - self._scatter) / 50
        nearest, furthest = min(self._beside), max(self._beside)
        if len(self._beside) < _SLIPPED or (nearest < far and furthest > -far):
            return
        slip = sum(self._beside) / _SLIPPED
        self._y += self._n * slip
        self._xy += self._x * slip
        self._beside.clear()

    def ns(self, position: float) -> float:
        """Give when a sample was at the converter, monotonic ns."""
        x = (position - self._position) / RATE
        return self._ns + (x + self._height(x)) * 1e9

    def position(self, ns: float) -> float:
        """Give which sample, and part of one, was at the converter at a monotonic ns."""
        seconds = (ns - self._ns) * 1e-9
        # the line's slope is a millionth's matter: once around is exact to a millionth of that
        x = seconds - self._height(seconds)
        return self._position + x * RATE

    def _begin(self, position: int, at_ns: int) -> None:
        self._position, self._ns = position, at_ns
        self._n, self._x, self._y, self._xx, self._xy = 1.0, 0.0, 0.0, 0.0, 0.0
        self._off = 0
        self._beside.clear()

    def _height(self, x: float) -> float:
        """Give how far the line is above the nominal rate's at ``x`` seconds, s."""
        mean_x, mean_y = self._x / self._n, self._y / self._n
        # what two large sums differ by may be less than nothing
        spread = max(0.0, self._xx - self._n * mean_x * mean_x)
        # stamps that scatter much tell little of a slope at first
        spread += (1.25 * self._scatter / _DRIFT) ** 2
        slope = (self._xy - self._n * mean_x * mean_y) / spread
        return mean_y + slope * (x - mean_x)


def _sincs() -> NDArray[np.float32]:
    at = np.arange(_TAPS) - (_TAPS // 2 - 1) - np.arange(_PHASES)[:, None] / _PHASES
    taps = (
        np.sinc(at * 0.92)
        * np.kaiser(2 * _TAPS * _PHASES + 1, 7.0)[
            np.rint((at / _TAPS + 0.5) * 2 * _TAPS * _PHASES)
            .astype(int)
            .clip(0, 2 * _TAPS * _PHASES)
        ]
    )
    taps /= taps.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(taps, dtype=np.float32)


class FarEnd:
    """The last seconds of what the speaker was given, to be read at any place between samples.

    What is missing, before, between and after, is silence.
    """

    def __init__(self) -> None:
        self.stream = -1
        self.end = 0  # position after the newest sample
        self._line: NDArray[np.float32] = np.zeros(2 * KEPT, np.float32)
        self._begin = 0  # position of the line's first sample
        self._sincs = _sincs()

    def put(self, stream: int, position: int, samples: NDArray[np.int16]) -> None:
        """Take a frame; one of another stream, or from far away, empties the line first."""
        if len(samples) > KEPT:
            position += len(samples) - KEPT
            samples = samples[-KEPT:]
        if stream != self.stream or not self._begin <= position <= self.end + KEPT:
            self.stream = stream
            self._line[:] = 0
            self._begin = self.end = position
        at = position - self._begin
        if at + len(samples) > len(self._line):
            moved = at + len(samples) - KEPT
            kept = max(0, len(self._line) - moved)
            self._line[:kept] = self._line[moved : moved + kept]
            self._line[kept:] = 0
            self._begin += moved
            at -= moved
        here = self._line[at : at + len(samples)]
        here[:] = samples
        here *= 1 / 32768
        self.end = max(self.end, position + len(samples))

    def read(self, first: float, step: float, count: int) -> NDArray[np.float32]:
        """Give ``count`` samples, full scale 1, the first at place ``first``, ``step`` apart."""
        begin = first - self._begin
        if not -count <= begin <= len(self._line):
            return np.zeros(count, np.float32)
        places = begin + np.arange(count) * step
        whole = np.floor(places)
        phases = ((places - whole) * _PHASES).astype(np.intp)
        index = whole.astype(np.intp) - (_TAPS // 2 - 1)
        out: NDArray[np.float32] = np.zeros(count, np.float32)
        here = (index >= 0) & (index + _TAPS <= len(self._line))
        if not here.all():
            if not here.any():
                return out
            index, phases = index[here], phases[here]
        windows = np.ndarray(
            (len(self._line) - _TAPS + 1, _TAPS), np.float32, self._line, strides=(4, 4)
        )
        out[here] = np.einsum("ij,ij->i", windows[index], self._sincs[phases])
        return out


#: A microphone's frames wait for the far end, but not for more than this many at a time.
_WAITING = 2
#: What is missing between two frames is silence, up to so much; what is longer begins anew.
_LONGEST_GAP = 2 * RATE
#: Two clocks that are further apart than this are none: a thousandth.
_FURTHEST = 1e-3
#: A speaker that has not been heard of for so long is not waited for.
_GONE_NS = 200_000_000


@dataclass(frozen=True)
class Aligned:
    """A frame of the microphone, and what the speaker played while it was taken."""

    frame: m.MicFrame
    far: NDArray[np.float32]  # as many samples, full scale 1
    anew: bool  # with it the two clocks stand in another relation than before
    missing: bool = False  # it never came: its payload is silence


class Aligner:
    """Brings the frames of two devices together by the times they were at the converters."""

    def __init__(self) -> None:
        self._near, self._away = Clock(), Clock()
        self._far = FarEnd()
        self._waiting: deque[m.MicFrame] = deque()
        self._rest: m.MicFrame | None = None  # less than a frame, to be added to
        self._stream = -1
        self._next = 0  # position at which the microphone goes on
        self._anew = False
        self._heard_ns = -_GONE_NS

    def speaker(self, frame: m.SpeakerFrame, now_ns: int) -> None:
        """Take what the speaker was given."""
        self._heard_ns = now_ns
        self._anew |= self._away.add(frame.stream, frame.position, frame.played_ns)
        self._far.put(frame.stream, frame.position, to_array(frame.payload))

    def microphone(self, frame: m.MicFrame) -> None:
        """Take what the microphone heard; it need not come in frames of 20 ms."""
        if self._is_over(frame):
            return
        self._anew |= self._near.add(frame.stream, frame.position, frame.captured_ns)
        if self._rest is None and len(frame.payload) == FRAME_BYTES:
            self._waiting.append(frame)
        else:
            self._cut(frame)

    def take(self, now_ns: int) -> Iterator[Aligned]:
        """Give the frames for which the far end is there, or has been waited for long enough."""
        present = now_ns - self._heard_ns < _GONE_NS
        while self._waiting:
            frame = self._waiting[0]
            place, step = self._place(frame.position)
            count = len(frame.payload) // 2
            ends = place + step * count + _TAPS
            if present and len(self._waiting) < _WAITING and ends > self._far.end:
                return
            self._waiting.popleft()
            if self._is_over(frame):
                continue
            yield from self._silence(frame)
            self._stream, self._next = frame.stream, frame.position + count
            yield Aligned(frame, self._far.read(place, step, count), self._take_anew())

    def _place(self, position: int) -> tuple[float, float]:
        """Give where in the far end a sample of the microphone is, and how far apart they lie."""
        begin = self._away.position(self._near.ns(position))
        step = (self._away.position(self._near.ns(position + RATE)) - begin) / RATE
        return begin, min(1 + _FURTHEST, max(1 - _FURTHEST, step))

    def _is_over(self, frame: m.MicFrame) -> bool:
        """Say whether a frame was given before; what is far behind begins anew instead."""
        behind = self._next - frame.position
        return frame.stream == self._stream and 0 < behind <= _LONGEST_GAP

    def _cut(self, frame: m.MicFrame) -> None:
        """Make frames of 20 ms of what has another length."""
        rest, self._rest = self._rest, None
        if rest is not None and (
            rest.stream == frame.stream
            and rest.position + len(rest.payload) // SAMPLE_BYTES == frame.position
        ):
            frame = msgspec.structs.replace(
                frame,
                position=rest.position,
                captured_ns=rest.captured_ns,
                payload=rest.payload + frame.payload,
            )
        for at in range(0, len(frame.payload), FRAME_BYTES):
            piece = msgspec.structs.replace(
                frame,
                position=frame.position + at // SAMPLE_BYTES,
                captured_ns=frame.captured_ns + samples_to_ns(at // SAMPLE_BYTES),
                payload=frame.payload[at : at + FRAME_BYTES],
            )
            if len(piece.payload) == FRAME_BYTES:
                self._waiting.append(piece)
            else:
                self._rest = piece

    def _silence(self, frame: m.MicFrame) -> Iterator[Aligned]:
        """Give silence for the frames that are missing before this one."""
        if frame.stream != self._stream or abs(frame.position - self._next) > _LONGEST_GAP:
            return
        while frame.position - self._next >= FRAME:
            place, step = self._place(self._next)
            silent = m.MicFrame(
                stream=frame.stream,
                position=self._next,
                captured_ns=max(0, round(self._near.ns(self._next))),
                overflows=frame.overflows,
                payload=bytes(FRAME_BYTES),
            )
            self._next += FRAME
            far = self._far.read(place, step, FRAME)
            yield Aligned(silent, far, self._take_anew(), missing=True)

    def _take_anew(self) -> bool:
        anew, self._anew = self._anew, False
        return anew
