"""The part that the checks of capture, echo and vad share: the microphone's frames."""

from __future__ import annotations

import json
import time
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from commands.check.bench import Arrival, Bench
from commands.check.common import EXACT, Check
from commands.check.rules import Broken
from shared import config, messages
from shared.audio.pcm import FRAME, RATE

Samples = npt.NDArray[np.int16]
FRAME_S = FRAME / RATE
FRAME_NS = 20_000_000
#: Frames may come this much faster or slower than real time over a second or more.
PACE = 0.2
#: A frame of the microphone is late when it leaves a stage this long after its capture, s.
LATE_S = 3.0
#: The stamps of a microphone may be wrong by this much on average, ms: see echo's rules.
WRONG_MS = 5
#: Where the emulator's voice and the recorded person are.
VOICE = config.ROOT / "services" / "emulator" / "voice"

F = TypeVar("F", messages.MicFrame, messages.MicClean)


def person(utterance: int) -> Samples:
    """Return one utterance of the recorded person."""
    said = json.loads((VOICE / "index.json").read_text("utf-8"))["person"]["utterances"][utterance]
    start, end = (said[name] * RATE // 1000 for name in ("start_ms", "end_ms"))
    samples, _ = soundfile.read(VOICE / "person.opus", start=start, stop=end, dtype="float32")
    return np.asarray(np.rint(samples * 32767), np.int16)


def noise(frames: int, level: int) -> Samples:
    """Return ``frames`` frames of noise."""
    return np.random.default_rng(1).integers(-level, level, frames * FRAME).astype(np.int16)


class Microphone(Check):
    """The parts that the three checks share: the frames that the kit sends and gets back."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench)
        #: When each frame was captured, by stream and position.
        self._sent: dict[tuple[int, int], int] = {}

    _stream = 0
    _position = 0
    _due_ns = 0
    _since: int | None = None
    _spoke_ns = _stopped_ns = 0

    def begin(self) -> None:
        """Begin another stream of the microphone, from now on."""
        self._stream = time.time_ns() // 1000
        self._position = 0
        self._due_ns = time.monotonic_ns()

    def skip(self, frames: int) -> None:
        """Lose frames: the microphone goes on, the kit does not send them."""
        self._position += frames * FRAME
        self._due_ns += frames * FRAME_NS

    def next_frame(self) -> dict[str, int]:
        """Wait until the next frame is due, and return the fields that say where it belongs."""
        self._due_ns += FRAME_NS
        while (left := (self._due_ns - time.monotonic_ns()) / 1e9) > 0:
            self.bench.pump(left)
        fields = {
            "stream": self._stream,
            "position": self._position,
            "captured_ns": self._due_ns - FRAME_NS,
            "overflows": 0,
        }
        self._position += FRAME
        self._sent[fields["stream"], fields["position"]] = fields["captured_ns"]
        return fields

    def stamped(self, arrivals: list[Arrival], *, contiguous: bool = True) -> str:
        """Check that frames are whole, follow each other and are on time. Return the count."""
        if len(arrivals) < 40:
            raise Broken(f"only {len(arrivals)} frames came in the whole check")
        before: messages.MicFrame | messages.MicClean | None = None
        for arrival in arrivals:
            frame = arrival.message
            assert isinstance(frame, messages.MicFrame | messages.MicClean)
            if frame.stream >= EXACT:
                raise Broken(f"stream {frame.stream} is not below 2^53")
            if len(frame.payload) != FRAME * 2:
                raise Broken(f"a frame has {len(frame.payload) // 2} samples, not {FRAME}")
            age_s = (arrival.stamp.t - frame.captured_ns) / 1e9
            if not (-0.05 < age_s < LATE_S or self._sent):
                raise Broken(f"captured_ns is {age_s:.2f} s before the frame was published")
            sent_ns = self._sent.get((frame.stream, frame.position), frame.captured_ns)
            if abs(sent_ns - frame.captured_ns) > 1_000_000:
                off_s = (sent_ns - frame.captured_ns) / 1e9
                raise Broken(f"captured_ns is {off_s:.3f} s from that of the mic.frame")
            if before is not None and before.stream == frame.stream:
                if contiguous and frame.position != before.position + FRAME:
                    raise Broken(f"position {frame.position} follows {before.position}")
                step_s = (frame.captured_ns - before.captured_ns) / 1e9
                if not 0 <= step_s < FRAME_S + LATE_S:
                    raise Broken(f"captured_ns moved by {step_s:.3f} s from one frame to the next")
            before = frame
        return f"{len(arrivals)} frames"
