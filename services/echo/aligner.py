"""Finds what the speaker played during each frame of the microphone. Pure.

A microphone and a speaker count samples by two clocks, and stamp them with the machine's. The
stamps bring the two streams together once. From then on samples are counted, because stamps scatter
by milliseconds and wander by more, and each correction would look like an echo that moves. The echo
itself says how much faster one clock is than the other, and far more exactly
(``Canceller.speed_change``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from services.echo.clock import StreamClock
from services.echo.farend import TAPS, FarEnd
from shared import messages
from shared.audio.pcm import FRAME, FRAME_BYTES, RATE, SAMPLE_BYTES, samples_to_ns, to_array

#: When this many microphone frames wait for the far end, the oldest goes on without it: it has then
#: waited 60 ms. Each frame that waits delays the person's voice.
MAX_WAITING = 4
#: A gap between two microphone frames is filled with silence up to 2 s, so that the server's clock
#: goes on as the microphone's does. After a longer gap the stream is taken as a new one.
_LONGEST_GAP = 2 * RATE
#: The clocks of two sound devices differ by at most this: 500 ppm. Crystals are within 100 ppm.
#: More would move the far end by more than a quarter of a sample within a frame, see
#: ``FarEnd.read``.
MAX_DRIFT = 500e-6
#: Once something was played, the two streams stay where they are unless the stamps of 50 frames in
#: a row, 1 s, put the far end more than 480 samples, 20 ms, elsewhere.
_ELSEWHERE = RATE // 50
_ELSEWHERE_FRAMES = 50
#: The far end is read this many samples, 5 ms, ahead of where the stamps put it. If the stamps are
#: off by less than that, the echo still comes after its sound: no filter can remove an echo that
#: comes before its sound.
AHEAD = RATE // 200
#: A speaker that has published nothing for 200 ms is gone: no microphone frame waits for it.
_GONE_NS = 200_000_000
#: In its first second, a process without frames of the speaker cannot tell whether there is a
#: speaker: the frames can arrive that late on a busy machine.
_NO_SPEAKER_NS = 1_000_000_000


@dataclass(frozen=True)
class Aligned:
    """A frame of the microphone, and what the speaker played while the frame was captured."""

    frame: messages.MicFrame
    far: NDArray[np.float32]  # as many samples as the frame has, full scale 1
    realigned: bool  # the alignment of the two streams is new from this frame on
    far_unknown: bool = False  # the speaker may have played something that was never received
    lost: bool = False  # the frame never arrived: its payload is silence


class Aligner:
    """Pairs the frames of a microphone and of a speaker by the times at their converters."""

    def __init__(self) -> None:
        self._mic_clock, self._speaker_clock = StreamClock(), StreamClock()
        self._far = FarEnd()
        self._waiting: deque[messages.MicFrame] = deque()
        self._partial: messages.MicFrame | None = None  # less than 20 ms: waits for the rest
        self._stream = -1  # the microphone's; -1: no frame yet
        self._next = 0  # position of the next microphone sample
        self._began_ns: int | None = None  # when the first microphone frame was taken
        self._speaker_ns: int | None = None  # when the speaker's last frame came
        # sample ``_anchor`` of the microphone stands beside sample ``_far_anchor`` of the far end,
        # and from there on ``_step`` samples of the far end pass for one of the microphone
        self._anchor, self._far_anchor, self._step = 0, 0.0, 1.0
        self._together = False  # the stamps have brought the two streams together
        self._sounded = False  # something was played since then
        self._elsewhere = 0  # frames in a row whose stamps put the far end elsewhere
        self._realigned = False  # the next frame is the first one of a new alignment

    @property
    def step(self) -> float:
        """How many samples of the far end pass while the microphone takes one."""
        return self._step

    def speaker(self, frame: messages.SpeakerFrame, now_ns: int) -> None:
        """Add a frame that the speaker was given. ``now_ns`` is the current monotonic time."""
        self._speaker_ns = now_ns
        if self._speaker_clock.add(frame.stream, frame.position, frame.played_ns):
            self._lose_alignment()
        samples = to_array(frame.payload)
        self._sounded |= self._far.write(frame.stream, frame.position, samples)

    def microphone(self, frame: messages.MicFrame) -> None:
        """Add a frame of the microphone, of any length. Ignore a frame that was taken already."""
        if self._is_taken(frame):
            return
        if self._mic_clock.add(frame.stream, frame.position, frame.captured_ns):
            self._lose_alignment()
        self._follow_stamps(frame.position)
        if self._partial is None and len(frame.payload) == FRAME_BYTES:
            self._waiting.append(frame)
        else:
            self._cut(frame)

    def take(self, now_ns: int) -> Iterator[Aligned]:
        """Yield the frames whose far end has arrived, or has been waited for long enough.

        Yield a frame of silence for each frame that is missing between two others.
        """
        if self._began_ns is None and self._waiting:
            self._began_ns = now_ns
        present = self._speaker_ns is not None and now_ns - self._speaker_ns < _GONE_NS
        while self._waiting:
            frame = self._waiting[0]
            place, step = self._place(frame.position)
            count = len(frame.payload) // 2
            ends = place + step * count + TAPS
            if present and len(self._waiting) < MAX_WAITING and ends > self._far.end:
                return
            self._waiting.popleft()
            if self._is_taken(frame):
                continue
            yield from self._silence_before(frame)
            self._stream, self._next = frame.stream, frame.position + count
            far_unknown = place < self._far.first if present else self._is_young(now_ns)
            far = self._far.read(place, step, count)
            yield Aligned(frame, far, self._take_realigned(), far_unknown)

    def speed_up(self, by: float) -> None:
        """Let the far end run faster by a further fraction (1e-6 is 1 ppm)."""
        place, step = self._place(self._next)
        self._anchor, self._far_anchor = self._next, place
        self._step = min(1 + MAX_DRIFT, max(1 - MAX_DRIFT, step + by))

    def _place(self, position: int) -> tuple[float, float]:
        """Return where in the far end a microphone sample stands, and the far end's step."""
        return self._far_anchor + (position - self._anchor) * self._step, self._step

    def _is_young(self, now_ns: int) -> bool:
        """Return whether a speaker may be playing although no frame of it has arrived yet."""
        began_ns = now_ns if self._began_ns is None else self._began_ns
        return self._speaker_ns is None and now_ns - began_ns < _NO_SPEAKER_NS

    def _lose_alignment(self) -> None:
        self._realigned, self._together, self._step = True, False, 1.0

    def _follow_stamps(self, position: int) -> None:
        """Bring the two streams together by their stamps, until something is played."""
        place = self._speaker_clock.position(self._mic_clock.ns(position)) + AHEAD
        elsewhere = abs(place - self._place(position)[0]) > _ELSEWHERE
        self._elsewhere = self._elsewhere + 1 if elsewhere else 0
        if self._together and self._sounded:
            if self._elsewhere < _ELSEWHERE_FRAMES:
                return
            self._realigned = True
        self._together, self._sounded, self._elsewhere = True, False, 0
        self._anchor, self._far_anchor = position, place

    def _is_taken(self, frame: messages.MicFrame) -> bool:
        """Return whether a frame was taken already.

        A frame that lies more than _LONGEST_GAP back is not: there the stream restarts.
        """
        behind = self._next - frame.position
        return frame.stream == self._stream and 0 < behind <= _LONGEST_GAP

    def _cut(self, frame: messages.MicFrame) -> None:
        """Turn frames of any length into frames of 20 ms."""
        partial, self._partial = self._partial, None
        if partial is not None and (
            partial.stream == frame.stream
            and partial.position + len(partial.payload) // SAMPLE_BYTES == frame.position
        ):
            frame = msgspec.structs.replace(
                frame,
                position=partial.position,
                captured_ns=partial.captured_ns,
                payload=partial.payload + frame.payload,
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
                self._partial = piece

    def _silence_before(self, frame: messages.MicFrame) -> Iterator[Aligned]:
        """Yield a frame of silence for each frame that is missing before ``frame``."""
        if frame.stream != self._stream or abs(frame.position - self._next) > _LONGEST_GAP:
            return
        while frame.position - self._next >= FRAME:
            place, step = self._place(self._next)
            silent = messages.MicFrame(
                stream=frame.stream,
                position=self._next,
                captured_ns=max(0, round(self._mic_clock.ns(self._next))),
                overflows=frame.overflows,
                payload=bytes(FRAME_BYTES),
            )
            self._next += FRAME
            far = self._far.read(place, step, FRAME)
            yield Aligned(silent, far, self._take_realigned(), lost=True)

    def _take_realigned(self) -> bool:
        realigned, self._realigned = self._realigned, False
        return realigned
