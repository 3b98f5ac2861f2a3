"""Turn detection on the audio that was appended: when someone begins and ends to speak.

The only clock is the audio itself: a position is the number of samples appended in the session,
at 24 kHz. The voice activity detector is an argument: a function from 512 samples at 16 kHz (1024
bytes) to the probability of speech, called once for every 32 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

RATE: Final = 24000
#: Bytes of a window as the detector takes it: 32 ms at 16 kHz.
_WINDOW_BYTES: Final = 1024
#: The same 32 ms in samples of the clock.
WINDOW: Final = 768
#: Speech begins with so many windows in a row above the threshold: a click is one.
_ONSET_WINDOWS: Final = 2
#: Speech goes on until the probability is this far below the threshold, as Silero's code has it.
_HYSTERESIS: Final = 0.15
#: While nobody speaks and the server finds the turns, audio older than this is forgotten.
_KEEP: Final = 60 * RATE

Probability = Callable[[bytes], float]


@dataclass(frozen=True)
class Detection:
    """What counts as speech, and when it is over."""

    #: Probability of speech, 0 to 1.
    threshold: float
    #: Audio before the onset that belongs to the turn, ms.
    prefix_padding_ms: int
    #: Silence that ends the turn, ms.
    silence_duration_ms: int


@dataclass(frozen=True)
class Started:
    """Someone began to speak; ``start``, in samples, includes the prefix padding."""

    start: int


@dataclass(frozen=True)
class Stopped:
    """Someone was silent for long enough; the turn's audio, and its end in samples."""

    end: int
    audio: bytes


#: How long a pause ends a turn under semantic_vad, ms.
_EAGERNESS: Final = {"low": 1600, "medium": 800, "auto": 800, "high": 400}


def detection(settings: dict[str, Any] | None) -> Detection | None:
    """Read a session's ``turn_detection``; None where the client says itself when a turn ends.

    The service's ``semantic_vad`` judges by the words whether someone has finished; there is no
    such model here. It is heard as server_vad with a silence that follows the eagerness: 1600 ms
    for low, 800 for medium and auto, 400 for high.
    """
    if settings is None:
        return None
    if settings["type"] == "semantic_vad":
        return Detection(0.5, 300, _EAGERNESS[settings["eagerness"]])
    return Detection(
        settings["threshold"], settings["prefix_padding_ms"], settings["silence_duration_ms"]
    )


class Ears:
    """The input audio buffer, and the turns in it."""

    def __init__(self, probability: Probability) -> None:
        self._probability = probability
        self._detection: Detection | None = None
        self._waiting = bytearray()
        self._waiting_from = 0
        self._buffer = bytearray()
        self._buffer_start = 0
        self._clock = 0
        #: Where the turn began, where its silence did, and the loud windows in a row before it.
        self._start: int | None = None
        self._quiet_from: int | None = None
        self._loud = 0
        #: Audio at 16 kHz that makes no window yet, and where the next window begins.
        self._resampled = bytearray()
        self._detected = 0
        self._restart_detector()

    @property
    def clock(self) -> int:
        """The samples heard so far."""
        return self._clock

    @property
    def speaking(self) -> bool:
        """Whether a turn has begun and not ended."""
        return self._start is not None

    @property
    def waiting(self) -> bool:
        """Whether audio was appended that is not heard yet."""
        return len(self._waiting) > self._waiting_from

    @property
    def buffered(self) -> int:
        """The samples that a commit would take."""
        return self._clock - self._buffer_start

    def configure(self, detection: Detection | None) -> None:
        """Change what counts as a turn, from here on."""
        if (detection is None) != (self._detection is None):
            self._forget_speech()
            self._restart_detector()
        self._detection = detection

    def append(self, pcm: bytes) -> None:
        """Take audio in, to be heard by ``hear``."""
        self._waiting += pcm

    def hear(self, windows: int) -> list[Started | Stopped]:
        """Hear at most so many windows (32 ms each, about 2 ms of work) of what was appended."""
        found: list[Started | Stopped] = []
        for _ in range(windows):
            if not self.waiting:
                break
            # A window's length at a time, so that the resampler gives about one window.
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
        """Take the buffer's audio; a turn that had begun is over with it."""
        audio = bytes(self._buffer)
        self.clear()
        return audio

    def clear(self) -> None:
        """Empty the buffer; a turn that had begun is forgotten."""
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
        # The padding reaches back to what was committed before, and not into it.
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
        from services.emulator import sound  # noqa: PLC0415 (slow to load, the start waits for it)

        self._resampler = sound.Resampler(RATE, 16000)
        self._resampled.clear()
        self._detected = self._clock

    def _trim(self) -> None:
        if self._detection is None or self.speaking:
            return
        excess = self.buffered - _KEEP
        # By the second, so that the buffer is not moved with every frame.
        if excess > RATE:
            del self._buffer[: 2 * excess]
            self._buffer_start += excess
