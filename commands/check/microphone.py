"""The rules of the stages along the microphone's way: capture, echo and vad."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import soundfile

from commands.check.bench import Arrival, Bench
from commands.check.common import EXACT, Check
from commands.check.rules import Broken, Doubtful, NotTried, Rule, needed
from shared import config, messages
from shared.audio.pcm import FRAME, RATE

Samples = npt.NDArray[np.int16]
FRAME_S = FRAME / RATE
FRAME_NS = 20_000_000
#: Frames may come this much faster or slower than real time over a second or more.
PACE = 0.2
#: A frame of the microphone is late when it leaves a stage so long after its capture, s.
LATE_S = 3.0
#: The stamps of a microphone may be wrong by this much on average, ms: see echo's rules.
WRONG_MS = 5
#: Few microphones are slower than this, ms. Stamps that are so early are probably wrong.
MUCH_MS = 200
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
    """Return so many frames of noise."""
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


class Capture(Microphone):
    """The check of a capture. Its microphone may be silent, but has to run in real time."""

    stage = "capture"

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of capture."""
        return [
            Rule("rate", "publishes 50 frames a second", self._rate),
            Rule("frames", "numbers and times its frames of 480 samples", self._frames),
            Rule("captured_ns", "states when the first sample was captured", self._captured),
        ]

    def _captured(self) -> str:
        ages_ms = [
            (arrival.stamp.t - arrival.message.captured_ns) / 1e6
            for arrival in self.bench.arrivals("mic.frame")
            if isinstance(arrival.message, messages.MicFrame)
        ]
        if not ages_ms:
            raise NotTried("no frame came")
        mean_ms = sum(ages_ms) / len(ages_ms)
        said = f"captured_ns is {mean_ms:.0f} ms before t on average"
        if mean_ms < FRAME_S * 1000 - WRONG_MS:
            raise Broken(
                f"{said}: a frame's first sample is captured {FRAME_S * 1000:.0f} ms before its"
                " last one"
            )
        if mean_ms > MUCH_MS:
            raise Doubtful(f"{said}: is the delay that long, or are the stamps early?")
        return f"{mean_ms:.0f} ms before t on average"

    def _rate(self) -> str:
        since = self.bench.now
        self.bench.rest(2.0)
        frames = self.bench.arrivals("mic.frame", since)
        if len(frames) < 2:
            raise Broken(f"{len(frames)} frames came in 2 s")
        took = (frames[-1].stamp.t - frames[0].stamp.t) / 1e9
        rate = (len(frames) - 1) / took
        if not 50 * (1 - PACE) < rate < 50 * (1 + PACE):
            raise Broken(f"{rate:.1f} frames came in a second")
        return f"{rate:.1f} in a second"

    def _frames(self) -> str:
        frames = self.bench.arrivals("mic.frame")
        told = self.stamped(frames)
        first = frames[0].message
        assert isinstance(first, messages.MicFrame)
        # the kit may have connected a moment after the first frame
        if first.position > 5 * RATE:
            raise Broken(f"the first frame has position {first.position}: positions begin at 0")
        return told


class Echo(Microphone):
    """The check of an echo. The kit is its capture and its playback."""

    stage = "echo"
    neighbours = ("capture", "playback")
    reads = ("mic.frame", "speaker.frame")

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of echo."""
        return [
            Rule("one for one", "publishes one mic.clean for each mic.frame", self._one_for_one),
            Rule("person", "lets the person through while nothing plays", self._person),
            Rule("lost frames", "puts silence in the place of lost frames", self._lost_frames),
            Rule("frames", "keeps position, time and length of each frame", self._frames),
        ]

    def probe(self) -> str:
        """Send half a second of microphone, and expect it back."""
        self.begin()
        since = self.bench.now
        self._pass(noise(25, 3000))
        self._all_back(since, 25)
        return "frames go through"

    def _pass(self, pcm: Samples) -> None:
        for frame in pcm.reshape(-1, FRAME):
            fields = self.next_frame()
            self.bench.publish(messages.MicFrame(**fields, payload=frame.tobytes()))
            played = {"stream": fields["stream"], "position": fields["position"]}
            self.bench.publish(
                messages.SpeakerFrame(
                    **played, played_ns=fields["captured_ns"], payload=bytes(FRAME * 2)
                )
            )

    def _all_back(self, since: int, count: int) -> list[messages.MicClean]:
        """Wait for so many frames. The last few may wait for their far end until more come."""

        def back() -> list[messages.MicClean]:
            return [f for f in self.bench.all(messages.MicClean, since) if f.stream == self._stream]

        if not self.bench.until(lambda: len(back()) >= count - 5):
            self.bench.alive()
            raise Broken(f"{len(back())} frames came back of {count}")
        return back()

    def _one_for_one(self) -> str:
        self.begin()
        since = self.bench.now
        self._pass(noise(60, 3000))
        back = self._all_back(since, 60)
        positions = [frame.position for frame in back]
        if positions != [n * FRAME for n in range(len(positions))]:
            raise Broken(f"of 60 frames these came back, by position: {positions}"[:200])
        return f"{len(back)} of 60, the rest waits for the speaker's frames"

    def _person(self) -> str:
        self.begin()
        since = self.bench.now
        said = person(0)
        said = said[: len(said) // FRAME * FRAME]
        self._pass(said)
        back = self._all_back(since, len(said) // FRAME)
        heard = np.frombuffer(b"".join(f.payload for f in back), np.int16)
        lost_db = 10 * np.log10(power(said[: len(heard)]) / power(heard))
        if abs(lost_db) > 6:
            raise Broken(f"the person came back {lost_db:.0f} dB quieter")
        return f"{lost_db:.1f} dB quieter"

    def _lost_frames(self) -> str:
        self.begin()
        since = self.bench.now
        self._pass(noise(20, 3000))
        self.skip(3)
        self._pass(noise(30, 3000))
        back = self._all_back(since, 53)
        lost = [f for f in back if 20 * FRAME <= f.position < 23 * FRAME]
        if len(lost) != 3:
            raise Broken(f"{len(lost)} frames came in the place of 3 lost ones")
        loud = max(power(np.frombuffer(frame.payload, np.int16)) for frame in lost[1:])
        if loud > 0.01 * power(noise(1, 3000)):
            raise Broken("the frames in the place of lost ones are not silent")
        return "3 of 3"

    def _frames(self) -> str:
        return self.stamped(self.bench.arrivals("mic.clean"), contiguous=False)


def power(samples: Samples) -> float:
    """Return the mean power of samples, never 0."""
    return float(np.mean(np.square(samples.astype(np.float64)))) + 1e-9


class Vad(Microphone):
    """The check of a vad. The kit is its echo."""

    stage = "vad"
    neighbours = ("echo",)
    reads = ("mic.clean",)
    #: An onset or an end must be told this long after it at the latest, s.
    told_s = 2.5
    #: An onset may be placed this far from the first loud sample, s.
    placed_s = 0.5

    def own_rules(self) -> Iterable[Rule]:
        """Return the rules of vad."""
        return [
            Rule("silence", "hears nobody in silence", self._silence),
            Rule("onset", "tells when someone begins to speak", self._onset),
            Rule("goes on", "tells that the speech goes on", self._goes_on),
            Rule("end", "tells when the speech has ended", self._end),
        ]

    def probe(self) -> str:
        """Speak, and expect an onset and an end."""
        self.begin()
        since = self.bench.now
        # as long as a state takes to come again: it says how many onsets there were before
        self._pass(np.zeros(60 * FRAME, np.int16))
        self._speak()
        self._pass(np.zeros(60 * FRAME, np.int16))

        def again() -> bool:
            told = [speech.onsets for speech in self.bench.all(messages.Speech, since)]
            return bool(told) and told[-1] != told[0]

        if not self.bench.until(again, self.told_s):
            self.bench.alive()
            raise Broken("it told no onset of a person who spoke")
        return "it hears the next speech"

    def _pass(self, pcm: Samples) -> None:
        for frame in pcm.reshape(-1, FRAME):
            fields: Any = self.next_frame()
            self.bench.publish(messages.MicClean(**fields, payload=frame.tobytes()))

    def _speak(self) -> None:
        said = person(0)
        self._spoke_ns = self._due_ns
        self._pass(said[: len(said) // FRAME * FRAME])
        self._stopped_ns = self._due_ns

    def _silence(self) -> str:
        self.begin()
        self._pass(np.zeros(50 * FRAME, np.int16))
        if any(speech.speaking for speech in self.bench.all(messages.Speech)):
            raise Broken("it heard someone in a second of zeros")
        return "1 s of it"

    def _onset(self) -> str:
        since = self.bench.now
        self._speak()
        self._since = since
        self._pass(np.zeros(60 * FRAME, np.int16))

        def found() -> list[Arrival]:
            return [a for a in self.bench.arrivals("mic.speech", since) if _speaking(a)]

        self.bench.until(found, self.told_s)
        onsets = found()
        if not onsets:
            raise Broken("it told no onset of a person who spoke")
        first = onsets[0].message
        assert isinstance(first, messages.Speech)
        off_s = (first.at_ns - self._spoke_ns) / 1e9
        if abs(off_s) > self.placed_s:
            raise Broken(f"at_ns is {off_s:.2f} s from where the speech began")
        told_s = (onsets[0].at_ns - self._spoke_ns) / 1e9
        if told_s > self.told_s:
            raise Broken(f"it told the onset {told_s:.1f} s after the speech began")
        return f"told {told_s:.2f} s after it began"

    def _goes_on(self) -> str:
        told = [s for s in self.bench.all(messages.Speech, needed(self._since)) if s.speaking]
        if len(told) < 3:
            raise Broken(f"{len(told)} messages came while someone spoke for 1.2 s")
        if not told[-1].until_ns > told[0].until_ns >= told[0].at_ns:
            raise Broken("until_ns does not grow while someone speaks")
        return f"{len(told)} times"

    def _end(self) -> str:
        since = needed(self._since)

        def found() -> list[Arrival]:
            told = self.bench.arrivals("mic.speech", since)
            return [a for a in told if not _speaking(a) and a.at_ns > self._spoke_ns + 500_000_000]

        self.bench.until(found, self.told_s)
        ends = found()
        if not ends:
            raise Broken("it told no end of the speech")
        told_s = (ends[0].at_ns - self._stopped_ns) / 1e9
        if told_s > self.told_s:
            raise Broken(f"it told the end {told_s:.1f} s after the speech ended")
        return f"told {told_s:.2f} s after it ended"


def _speaking(arrival: Arrival) -> bool:
    return isinstance(arrival.message, messages.Speech) and arrival.message.speaking
