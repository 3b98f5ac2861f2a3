"""The input audio buffer, and turn detection: where the person begins and ends to speak.

The only clock is the audio: a position is the number of samples, at 24 kHz, that the client
appended since the session began. The voice activity detector is an argument: a function that takes
512 samples at 16 kHz (1024 bytes, 32 ms) and returns the probability that they contain speech.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

RATE: Final = 24000
#: The bytes in one window for the detector: 32 ms at 16 kHz.
_WINDOW_BYTES: Final = 1024
#: The samples in one window at 24 kHz: the same 32 ms.
WINDOW: Final = 768
#: Speech begins when the probability is above the threshold in this many windows in a row. A click
#: fills only one window.
_ONSET_WINDOWS: Final = 2
#: Silence begins when the probability is this far below the threshold, as in Silero's own code.
_HYSTERESIS: Final = 0.15
#: While turn detection is on and nobody speaks, the buffer drops audio older than this: a minute,
#: in samples.
_LONGEST_SILENCE: Final = 60 * RATE

Probability = Callable[[bytes], float]


@dataclass(frozen=True)
class Detection:
    """The settings that decide what is speech, and when a turn ends."""

    #: The probability above which a window is speech, 0 to 1.
    threshold: float
    #: How much audio before the onset belongs to the turn, ms.
    prefix_padding_ms: int
    #: How much silence ends the turn, ms.
    silence_duration_ms: int


@dataclass(frozen=True)
class Started:
    """The person began to speak."""

    #: Where the turn begins, with its padding, samples.

    start: int


@dataclass(frozen=True)
class Stopped:
    """The person was silent for long enough to end the turn."""

    #: Where the turn ends, samples.
    end: int
    #: The audio of the turn, PCM at 24 kHz.
    audio: bytes


#: How much silence ends a turn under semantic_vad, by eagerness, ms.
_EAGERNESS: Final = {"low": 1600, "medium": 800, "auto": 800, "high": 400}


def detection(settings: dict[str, Any] | None) -> Detection | None:
    """Return the detection that a session's ``turn_detection`` asks for.

    Return None if turn detection is off, so that the client says when a turn ends. The service's
    ``semantic_vad`` decides by the words whether a person has finished. The emulator has no model
    for that: it treats ``semantic_vad`` as ``server_vad`` with a silence that depends on the
    eagerness: 1600 ms for low, 800 ms for medium and auto, 400 ms for high.
    """
    if settings is None:
        return None
    if settings["type"] == "semantic_vad":
        return Detection(0.5, 300, _EAGERNESS[settings["eagerness"]])
    return Detection(
        settings["threshold"], settings["prefix_padding_ms"], settings["silence_duration_ms"]
    )


class Ears:
    """The input audio buffer and the detector that finds the turns in it."""

    def __init__(self, probability: Probability) -> None:
        self._probability = probability
        self._detection: Detection | None = None
        #: Audio that was appended and not heard yet. Audio before ``_waiting_from`` was heard.
        self._waiting = bytearray()
        self._waiting_from = 0
        #: Audio that a commit would take, and its position.
        self._buffer = bytearray()
        self._buffer_start = 0
        self._clock = 0
        #: Where the turn began, with its padding; None while nobody speaks.
        self._start: int | None = None
        #: Where the silence in the turn began; None while the person speaks.
        self._quiet_from: int | None = None
        #: Windows in a row above the threshold, before a turn.
        self._loud = 0
        #: Audio at 16 kHz that does not fill a window yet, and the position of the next window.
        self._resampled = bytearray()
        self._detected = 0
        self._restart_detector()

    @property
    def clock(self) -> int:
        """The number of samples heard so far."""
        return self._clock

    @property
    def speaking(self) -> bool:
        """Whether a turn has begun and has not ended."""
        return self._start is not None

    @property
    def turn(self) -> int:
        """The number of samples of the turn that goes on, 0 if there is none.

        Without turn detection, the turn is what a commit would take.
        """
        if self._detection is None:
            return self.buffered
        return 0 if self._start is None else self._clock - self._start

    @property
    def waiting(self) -> bool:
        """Whether there is appended audio that ``hear`` has not processed."""
        return len(self._waiting) > self._waiting_from

    @property
    def buffered(self) -> int:
        """The number of samples that a commit would take."""
        return self._clock - self._buffer_start

    def configure(self, detection: Detection | None) -> None:
        """Set the turn detection for the audio that is heard from now on."""
        if (detection is None) != (self._detection is None):
            self._forget_speech()
            self._restart_detector()
        self._detection = detection

    def append(self, pcm: bytes) -> None:
        """Add audio, which ``hear`` then processes."""
        self._waiting += pcm

    def hear(self, windows: int) -> list[Started | Stopped]:
        """Process at most ``windows`` windows of appended audio, and return the turns found.

        A window is 32 ms of audio and takes about 2 ms to process.
        """
        found: list[Started | Stopped] = []
        for _ in range(windows):
            if not self.waiting:
                break
            # Take one window's length, so that the resampler returns about one window.
            piece = bytes(self._waiting[self._waiting_from : self._waiting_from + 2 * WINDOW])
            self._waiting_from += len(piece)
            self._buffer += piece
            self._clock += len(piece) // 2
            if self._detection is not None:
                self._listen(piece, self._detection, found)
        if not self.waiting:
            self._waiting.clear()
            self._waiting_from = 0
        self._trim()
        return found

    def commit(self) -> bytes:
        """Return the audio of the buffer and empty it. A turn that had begun ends."""
        audio = bytes(self._buffer)
        self.clear()
        return audio

    def clear(self) -> None:
        """Empty the buffer. A turn that had begun is forgotten."""
        self._buffer.clear()
        self._buffer_start = self._clock
        self._forget_speech()

    def _listen(self, pcm: bytes, detection: Detection, found: list[Started | Stopped]) -> None:
        for window in self._windows(pcm):
            begin, self._detected = self._detected, self._detected + WINDOW
            probability = self._probability(window)
            if self._start is None:
                self._await_speech(probability, begin, detection, found)
            else:
                self._await_silence(probability, begin, detection, found)

    def _await_speech(
        self, probability: float, begin: int, detection: Detection, found: list[Started | Stopped]
    ) -> None:
        self._loud = self._loud + 1 if probability >= detection.threshold else 0
        if self._loud < _ONSET_WINDOWS:
            return
        onset = begin - (_ONSET_WINDOWS - 1) * WINDOW
        padding = detection.prefix_padding_ms * RATE // 1000
        # The padding must not overlap the turn before, which is committed already.
        self._start = max(onset - padding, self._buffer_start)
        self._quiet_from = None
        found.append(Started(self._start))

    def _await_silence(
        self, probability: float, begin: int, detection: Detection, found: list[Started | Stopped]
    ) -> None:
        assert self._start is not None
        if probability >= detection.threshold:
            self._quiet_from = None
        elif self._quiet_from is None and probability < max(
            detection.threshold - _HYSTERESIS, 0.01
        ):
            self._quiet_from = begin
        silence = detection.silence_duration_ms * RATE // 1000
        if self._quiet_from is None or self._detected - self._quiet_from < silence:
            return
        end = min(self._quiet_from + silence, self._clock)
        first, last = self._start - self._buffer_start, end - self._buffer_start
        audio = self._buffer[2 * first : 2 * last]
        del self._buffer[: 2 * last]
        self._buffer_start = end
        self._forget_speech()
        found.append(Stopped(end, bytes(audio)))

    def _windows(self, pcm: bytes) -> list[bytes]:
        self._resampled += self._resampler.resample(pcm)
        whole = len(self._resampled) // _WINDOW_BYTES * _WINDOW_BYTES
        windows = [
            bytes(self._resampled[at : at + _WINDOW_BYTES]) for at in range(0, whole, _WINDOW_BYTES)
        ]
        del self._resampled[:whole]
        return windows

    def _forget_speech(self) -> None:
        self._start = None
        self._loud = 0
        self._quiet_from = None

    def _restart_detector(self) -> None:
        from services.emulator import sound  # noqa: PLC0415 (slow to load, so not at the start)

        self._resampler = sound.Resampler(RATE, 16000)
        self._resampled.clear()
        self._detected = self._clock

    def _trim(self) -> None:
        if self._detection is None or self.speaking:
            return
        excess = self.buffered - _LONGEST_SILENCE
        # Drop a second at a time: a deletion moves the whole buffer in memory.
        if excess > RATE:
            del self._buffer[: 2 * excess]
            self._buffer_start += excess
