"""The programs that play into a sound server, and that record what it plays."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.processes import end_process, spawn
from harness.waves import Samples, spans

EAR_LATENCY_MS = 5
"""The length of a chunk that the sound server renders and delivers to an ear, ms."""

MOUTH_LATENCY_MS = 100
"""How far a mouth sends ahead, ms, so that a busy machine makes no gaps in its speech."""

START_TIMEOUT = 10.0
"""How long a sound server or a recording may take to be ready, s."""


class SoundServerError(Exception):
    """Raised when the sound server, or a program that plays or records, fails."""


class Mouth:
    """A program that plays samples into a sink."""

    def __init__(
        self, env: dict[str, str], raw: Path, rate: int, sink: str, seconds: float
    ) -> None:
        """Begin to play ``raw``, mono 16-bit samples without a header, which lasts ``seconds``."""
        self.seconds = seconds
        self._process = spawn(
            [
                *("pacat", "--raw", f"--device={sink}", f"--latency-msec={MOUTH_LATENCY_MS}"),
                *("--format=s16le", f"--rate={rate}", "--channels=1", str(raw)),
            ],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    @property
    def speaking(self) -> bool:
        """Whether the program still plays."""
        return self._process.poll() is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until everything was played. Raises SoundServerError if it was not."""
        try:
            _, errors = self._process.communicate(timeout=timeout or self.seconds + START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.stop()
            raise SoundServerError(f"{self.seconds:.1f} s of sound have not ended") from None
        if self._process.returncode:
            raise SoundServerError(f"pacat: {errors.decode(errors='replace').strip()}")

    def stop(self) -> None:
        """Stop at once, even in the middle of a word."""
        end_process(self._process)
        if self._process.stderr is not None:
            self._process.stderr.close()


class Ear:
    """A recording that can be read while it grows: mono samples without gaps."""

    def __init__(self, env: dict[str, str], source: str, rate: int) -> None:
        """Begin to record ``source`` at ``rate`` samples per second."""
        self.rate = rate
        self._samples = np.zeros(rate * 60, np.int16)
        self._count = 0
        self._started_at = float("inf")
        self._ended = False
        self._errors = ""
        self._changed = threading.Condition()
        self._process = spawn(
            [
                *("parec", "--raw", f"--device={source}", f"--latency-msec={EAR_LATENCY_MS}"),
                *("--format=s16le", f"--rate={rate}", "--channels=1"),
            ],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._listen, name=f"ear on {source}", daemon=True)
        self._thread.start()

    @property
    def audio(self) -> Samples:
        """All samples recorded so far."""
        with self._changed:
            return self._samples[: self._count]

    @property
    def started_at(self) -> float:
        """When the first sample was played, on the clock of ``time.monotonic()``.

        The server delivers a chunk of ``EAR_LATENCY_MS`` when the sink begins to play it. A chunk
        may arrive late, but never early, so the earliest arrival counts. The value is exact to
        about 1 ms after the recording has run for a while.
        """
        with self._changed:
            return self._started_at

    def time_of(self, sample: int) -> float:
        """Return when a sample was played, on the clock of ``time.monotonic()``."""
        return self.started_at + sample / self.rate

    def sample_at(self, moment: float) -> int:
        """Return the sample that was played at a moment of ``time.monotonic()``."""
        return round((moment - self.started_at) * self.rate)

    def wait_for(
        self, condition: Callable[[Samples], bool], timeout: float = 10.0, what: str = "it"
    ) -> Samples:
        """Wait until ``condition`` holds for all samples so far; return them."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                seen, ended = self._count, self._ended
                heard = self._samples[:seen]
            if condition(heard):
                return heard
            if ended:
                raise SoundServerError(
                    f"the recording ended before {what} was heard: {self._errors or 'parec ended'}"
                )
            if time.monotonic() > deadline:
                raise self._not_heard(what, timeout)
            # Look after every 20 ms of sound: often enough, and cheap for a long recording.
            enough = seen + self.rate // 50 if seen else 1
            with self._changed:
                self._changed.wait_for(
                    functools.partial(self._has, enough), deadline - time.monotonic()
                )

    def wait_for_sound(self, after: int = 0, timeout: float = 10.0) -> int:
        """Return the first sample of sound, not before ``after``."""
        heard = self.wait_for(
            lambda heard: bool(spans(heard[after:], self.rate)), timeout, "a sound"
        )
        return after + spans(heard[after:], self.rate)[0][0]

    def wait_for_silence(self, seconds: float, after: int = 0) -> int:
        """Return the first sample of ``seconds`` without sound, not before ``after``."""
        length = round(seconds * self.rate)

        def quiet_from(heard: Samples) -> int | None:
            """Return the start of the first silence that lasts long enough."""
            begin = after
            for first, last in spans(heard[after:], self.rate):
                if after + first - begin >= length:
                    return begin
                begin = after + last
            return begin if len(heard) - begin >= length else None

        heard = self.wait_for(
            lambda heard: quiet_from(heard) is not None, what=f"{seconds:g} s of silence"
        )
        begin = quiet_from(heard)
        assert begin is not None
        return begin

    def stop(self) -> None:
        """End the recording; keep its samples."""
        end_process(self._process)
        self._thread.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout as pipe, self._process.stderr as errors:
            rest = b""
            while chunk := rest + os.read(pipe.fileno(), 1 << 16):
                now = time.monotonic()
                whole = len(chunk) & ~1
                if not whole:  # The stream ended within a sample.
                    break
                rest = chunk[whole:]
                with self._changed:
                    self._append(np.frombuffer(chunk[:whole], "<i2"), now)
            said = errors.read().decode(errors="replace").strip()
        with self._changed:
            self._errors = said
            self._ended = True
            self._changed.notify_all()

    def _append(self, samples: Samples, now: float) -> None:
        end = self._count + len(samples)
        if end > len(self._samples):
            # Views of the old array stay valid.
            self._samples = np.concatenate((self._samples, np.zeros_like(self._samples)))
        self._samples[self._count : end] = samples
        self._started_at = min(self._started_at, now - self._count / self.rate)
        self._count = end
        self._changed.notify_all()

    def _has(self, count: int) -> bool:
        return self._ended or self._count >= count

    def _not_heard(self, what: str, timeout: float) -> SoundServerError:
        heard = self.audio
        peak = int(np.abs(heard.astype(np.int32)).max(initial=0))
        when = [f"{a / self.rate:.2f}–{b / self.rate:.2f} s" for a, b in spans(heard, self.rate)]
        return SoundServerError(
            f"not heard within {timeout:g} s: {what}; recorded {len(heard) / self.rate:.2f} s,"
            f" peak {peak}, with sound at {', '.join(when) or 'no time'}"
        )
