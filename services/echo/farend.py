"""What the speaker plays, on the microphone's time: two clocks, and the samples between them. Pure.

A microphone and a speaker count samples by clocks of their own, and stamp them with the machine's.
By the stamps the two are brought together once. From then on samples are counted: stamps scatter by
milliseconds and wander by more, and each move would be an echo that moves. By how much one clock is
faster than the other the echo itself tells, and far better (``Canceller.drift``).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared import messages
from shared.audio.pcm import FRAME, FRAME_BYTES, RATE, SAMPLE_BYTES, samples_to_ns, to_array

NS = 1e9 / RATE  # of a sample
#: Over so many stamps, 2 s of frames, their scatter is averaged away.
_MEMORY = 100
#: A stamp this far off is not believed; so many in a row are, and the clock begins anew.
_OFF_NS = 20_000_000
_PATIENCE = 5

#: Samples of the far end that are kept: the longest delay a canceller looks for, and room.
KEPT = 4 * RATE
#: The interpolator: 16 taps of a windowed sinc at each 256th of a sample, flat to 10 kHz; and for a
#: quarter of a sample before and after these.
_TAPS, _PHASES, _MARGIN = 16, 256, 64
_LAST = _PHASES + 2 * _MARGIN


class Clock:
    """When the samples of one stream were at its converter, by the last seconds of its stamps."""

    def __init__(self) -> None:
        self._stream = -1
        self._off = 0  # stamps in a row that are not believed
        self._position = self._ns = self._count = 0
        self._late = 0.0  # ns by which samples are later than the first stamp has them

    def add(self, stream: int, position: int, at_ns: int) -> bool:
        """Take the stamp of a frame's first sample; say whether the clock begins anew with it."""
        late = at_ns - self._ns - (position - self._position) * NS
        if stream != self._stream:
            self._off = _PATIENCE
        elif abs(late - self._late) > _OFF_NS:
            self._off += 1
        else:
            self._off = 0
            self._count = min(self._count + 1, _MEMORY)
            self._late += (late - self._late) / self._count
            return False
        if self._off < _PATIENCE:
            return False
        self._stream, self._position, self._ns = stream, position, at_ns
        self._count, self._late, self._off = 1, 0.0, 0
        return True

    def ns(self, position: float) -> float:
        """Give when a sample was at the converter, monotonic ns."""
        return self._ns + self._late + (position - self._position) * NS

    def position(self, ns: float) -> float:
        """Give which sample, and part of one, was at the converter at a monotonic ns."""
        return self._position + (ns - self._ns - self._late) / NS


def _sincs() -> NDArray[np.float32]:
    phases = np.arange(-_MARGIN, _PHASES + _MARGIN + 1)
    at = np.arange(_TAPS) - (_TAPS // 2 - 1) - phases[:, None] / _PHASES
    taps = (
        np.sinc(at * 0.92)
        * np.kaiser(2 * _TAPS * _PHASES + 1, 7.0)[
            np.rint((at / _TAPS + 0.5) * 2 * _TAPS * _PHASES)
            .astype(int)
            .clip(0, 2 * _TAPS * _PHASES)
        ]
    )
    taps /= taps.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(taps.T, dtype=np.float32)


class FarEnd:
    """The last seconds of what the speaker was given, to be read at any place between samples.

    What is missing, before, between and after, is silence.
    """

    def __init__(self) -> None:
        self.stream = -1
        self.first = 0  # position of the first sample that was given
        self.end = 0  # position after the newest sample
        self._line: NDArray[np.float32] = np.zeros(2 * KEPT, np.float32)
        self._begin = 0  # position of the line's first sample
        self._sounded = 0  # position after the last frame that was not silent
        self._sincs = _sincs()

    def put(self, stream: int, position: int, samples: NDArray[np.int16]) -> bool:
        """Take a frame, and say whether anything sounds in it.

        One of another stream, or from far away, empties the line first.
        """
        if len(samples) > KEPT:
            position += len(samples) - KEPT
            samples = samples[-KEPT:]
        if stream != self.stream or not self._begin <= position <= self.end + KEPT:
            self.stream, self.first = stream, position
            self._line[:] = 0
            self._begin = self.end = self._sounded = position
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
        sounds = bool(samples.any())
        if sounds:
            self._sounded = max(self._sounded, position + len(samples))
        return sounds

    def read(self, first: float, step: float, count: int) -> NDArray[np.float32]:
        """Give ``count`` samples, full scale 1, the first at place ``first``, ``step`` apart.

        ``step`` is so near to 1 that the last lies within a quarter of a sample of where 1 had it.
        """
        begin = first - self._begin
        silent = begin - _TAPS >= self._sounded - self._begin
        if silent or not -count <= begin <= len(self._line):
            return np.zeros(count, np.float32)
        whole = math.floor(begin)
        at = whole - (_TAPS // 2 - 1)
        length = count + _TAPS - 1
        line = self._line[max(0, at) : max(0, at + length)]
        if len(line) < length:
            line = np.pad(line, (max(0, -at), length - len(line) - max(0, -at)))
        # from first to last sample the place between two moves so little that the filters for these
        # two, and a straight line from one to the other, do for all
        phase = (begin - whole) * _PHASES
        ends = (phase, phase + (step - 1) * (count - 1) * _PHASES)
        taps = self._sincs[:, [min(max(0, round(end) + _MARGIN), _LAST) for end in ends]]
        windows = np.ndarray((count, _TAPS), np.float32, line, strides=(4, 4))
        both = windows @ taps
        out: NDArray[np.float32] = both[:, 1] - both[:, 0]
        out *= np.arange(count, dtype=np.float32)
        out *= np.float32(1 / max(1, count - 1))
        out += both[:, 0]
        return out


#: A microphone's frames wait for the far end, but not for more than this many at a time.
_WAITING = 4
#: What is missing between two frames is silence, up to so much; what is longer begins anew.
_LONGEST_GAP = 2 * RATE
#: Two clocks that are further apart than this are none.
_FURTHEST = 300e-6
#: Once there is an echo to be learnt the far end stays where it is beside the microphone, unless
#: the stamps have it this many samples elsewhere for so many frames: 20 ms, for a second.
_ELSEWHERE = RATE // 50
_INSISTS = 50
#: The far end is so many samples ahead of the stamps, 5 ms: where they are off, an echo that came
#: before its sound could not be taken out.
_AHEAD = RATE // 200
#: A speaker that has not been heard of for so long is not waited for.
_GONE_NS = 200_000_000


@dataclass(frozen=True)
class Aligned:
    """A frame of the microphone, and what the speaker played while it was taken."""

    frame: messages.MicFrame
    far: NDArray[np.float32]  # as many samples, full scale 1
    anew: bool  # with it the two clocks stand in another relation than before
    unknown: bool = False  # the speaker played something before it, of which nobody told
    missing: bool = False  # it never came: its payload is silence


class Relation(msgspec.Struct, frozen=True):
    """How the samples of two devices stand to each other, as long as neither is opened anew."""

    near: int  # the microphone's stream
    far: int  # the speaker's
    near_at: int  # a sample of the one …
    far_at: float  # … and where it is among the other's
    step: float  # from there on, of the speaker's samples to one of the microphone's


class Aligner:
    """Brings the frames of two devices together by the times they were at the converters."""

    def __init__(self) -> None:
        self._near, self._away = Clock(), Clock()
        self._far = FarEnd()
        self._waiting: deque[messages.MicFrame] = deque()
        self._rest: messages.MicFrame | None = None  # less than a frame, to be added to
        self._stream = -1
        self._next = 0  # position at which the microphone goes on
        self._anew = False
        self._heard_ns = -_GONE_NS
        # where in the far end a sample of the microphone is, and how fast that moves
        self._near_at, self._far_at, self._step = 0, 0.0, 1.0
        self._met = self._sounded = False  # brought together; and something was played since then
        self._elsewhere = 0  # frames in a row for which the stamps would have it elsewhere
        self.resumed = False  # both devices are the ones that another process knew
        self._before: Relation | None = None  # of the process before, until it is known to hold
        self._same: set[int] = set()  # which of its streams have been seen

    def relation(self) -> Relation | None:
        """Give how the two stand to each other; None where nothing was played yet."""
        if not (self._met and self._sounded):
            return None
        return Relation(self._stream, self._far.stream, self._near_at, self._far_at, self._step)

    def resume(self, before: Relation) -> None:
        """Go on as another process did, if both streams are still the same. Before all else."""
        self._before = before

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None:
        """Take what the speaker was given."""
        self._heard_ns = now_ns
        anew = self._away.add(frame.stream, frame.position, frame.played_ns)
        if anew and not self._resumes(frame.stream):
            self._meet_anew()
        samples = to_array(frame.payload)
        self._sounded |= self._far.put(frame.stream, frame.position, samples)

    def microphone(self, frame: messages.MicFrame) -> None:
        """Take what the microphone heard; it need not come in frames of 20 ms."""
        if self._is_over(frame):
            return
        anew = self._near.add(frame.stream, frame.position, frame.captured_ns)
        if anew and not self._resumes(frame.stream):
            self._meet_anew()
        self._follow(frame.position)
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
            unknown = present and place < self._far.first
            far = self._far.read(place, step, count)
            yield Aligned(frame, far, self._take_anew(), unknown)

    def turn(self, by: float) -> None:
        """Let the far end run so much faster beside the microphone, as its echo tells."""
        place, step = self._place(self._next)
        self._near_at, self._far_at = self._next, place
        self._step = min(1 + _FURTHEST, max(1 - _FURTHEST, step + by))

    def _place(self, position: int) -> tuple[float, float]:
        """Give where in the far end a sample of the microphone is, and how far apart they lie."""
        return self._far_at + (position - self._near_at) * self._step, self._step

    def _meet_anew(self) -> None:
        self._anew, self._met, self._step = True, False, 1.0

    def _resumes(self, stream: int) -> bool:
        """Say whether a stream that begins here is one that the process before knew."""
        before = self._before
        if before is None:
            return False
        if stream not in (before.near, before.far):
            self._before = None
            return False
        self._same.add(stream)
        if len(self._same) == 2:
            self._near_at, self._far_at = before.near_at, before.far_at
            self._step, self._met, self._sounded = before.step, True, True
            self._before, self.resumed = None, True
        return True

    def _follow(self, position: int) -> None:
        """Bring the two together by their stamps, until there is an echo to be learnt."""
        place = self._away.position(self._near.ns(position)) + _AHEAD
        off = abs(place - self._place(position)[0]) > _ELSEWHERE
        self._elsewhere = self._elsewhere + 1 if off else 0
        if self._met and self._sounded:
            if self._elsewhere < _INSISTS:
                return
            self._anew = True
        self._met, self._sounded, self._elsewhere = True, False, 0
        self._near_at, self._far_at = position, place

    def _is_over(self, frame: messages.MicFrame) -> bool:
        """Say whether a frame was given before; what is far behind begins anew instead."""
        behind = self._next - frame.position
        return frame.stream == self._stream and 0 < behind <= _LONGEST_GAP

    def _cut(self, frame: messages.MicFrame) -> None:
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

    def _silence(self, frame: messages.MicFrame) -> Iterator[Aligned]:
        """Give silence for the frames that are missing before this one."""
        if frame.stream != self._stream or abs(frame.position - self._next) > _LONGEST_GAP:
            return
        while frame.position - self._next >= FRAME:
            place, step = self._place(self._next)
            silent = messages.MicFrame(
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
