"""Stand-ins for a microphone and a speaker that keep real time without a sound card.

Their thread follows an absolute schedule: it never drifts, and after a stall of the machine it
catches up. It gives up blocks that are more than a second late, as a sound card does: a microphone
loses the samples and reports an overflow, a speaker plays silence and counts an underflow.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from shared.audio import pcm
from shared.audio.device import OnBlock, Render

#: Samples in a block of the microphone: a frame, 20 ms.
INPUT_BLOCK = pcm.FRAME
#: Samples in a block of the speaker: 10 ms.
OUTPUT_BLOCK = 240
#: A block that is more than 1 s late is given up.
STALL_NS = 1_000_000_000
#: Seconds that ``stop`` waits for the device's thread, which may be in the middle of a callback: a
#: stage that was asked to stop is gone after 0.8 s.
_JOIN_S = 0.4


class Schedule:
    """When each block begins: ``block`` blocks of ``samples`` after ``start_ns``, to the ns."""

    def __init__(self, start_ns: int, samples: int) -> None:
        self.start_ns = start_ns
        self.samples = samples

    def at(self, block: int) -> int:
        """Return the monotonic time in ns at which ``block`` begins."""
        return self.start_ns + pcm.samples_to_ns(block * self.samples)

    def given_up(self, block: int, now_ns: int) -> int:
        """Return how many blocks, from ``block`` on, are too late to be made up for."""
        late = now_ns - self.at(block)
        return late // pcm.samples_to_ns(self.samples) if late > STALL_NS else 0


class Source(Protocol):
    """Where a stand-in microphone gets its samples from."""

    def read(self, samples: int) -> bytes:
        """Return exactly so many samples, s16le."""

    def fault(self) -> str | None:
        """Return in one line what is wrong with the sound; None if nothing is."""

    def close(self) -> None:
        """Close the source; calling it twice is harmless."""


class Sink(Protocol):
    """Where a stand-in speaker writes its samples to."""

    def write(self, block: bytes) -> None:
        """Append samples, s16le."""

    def skip(self, samples: int) -> None:
        """Append so many samples of silence."""

    def close(self) -> None:
        """Close the sink; calling it twice is harmless."""

    def warning(self) -> str | None:
        """Return once, in one line, what went wrong; else None."""


class Silence:
    """A source of zeros."""

    def read(self, samples: int) -> bytes:
        """Return zeros."""
        return bytes(samples * pcm.SAMPLE_BYTES)

    def fault(self) -> str | None:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""


class Discard:
    """A sink that discards everything."""

    def write(self, block: bytes) -> None:
        """Do nothing."""

    def skip(self, samples: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def warning(self) -> str | None:
        """Return None."""
        return None


def null_input() -> PacedInput:
    """Return a microphone that hears silence."""
    return PacedInput(Silence(), "null: silence")


def null_output() -> PacedOutput:
    """Return a speaker that nobody hears."""
    return PacedOutput(Discard(), "null: nothing is heard")


class _Paced:
    """A thread that processes each block at the block's time."""

    rate = pcm.RATE
    latency_ns = 0
    #: How many blocks after its beginning a block is processed: a microphone has a block's sound
    #: when the block ends, a speaker needs it when the block begins.
    _lead = 0

    def __init__(self, block: int) -> None:
        self._block = block  # samples
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None

    def failure(self) -> str | None:
        """Return what a callback raised, in one line; None while all is well."""
        return self._failure

    def stop(self) -> None:
        """Stop the thread, and wait at most 0.4 s for it."""
        self._ending.set()
        thread = self._thread
        if thread is None:
            self._close()
        elif thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _begin(self) -> None:
        if self._thread is not None or self._ending.is_set():
            raise RuntimeError("a device is started once: open another")
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        schedule = Schedule(time.monotonic_ns(), self._block)
        block = 0
        try:
            while True:
                due_ns = schedule.at(block + self._lead) - time.monotonic_ns()
                if self._ending.wait(max(0, due_ns) / 1e9):
                    return
                skipped = schedule.given_up(block + self._lead, time.monotonic_ns())
                block += skipped
                self._process(schedule.at(block), skipped)
                block += 1
        except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
            self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")
        finally:
            self._close()

    def _process(self, begins_ns: int, skipped: int) -> None:
        """Process the block that begins at ``begins_ns``; ``skipped`` blocks were given up."""
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class PacedInput(_Paced):
    """A microphone that hears the sound of a source."""

    _lead = 1

    def __init__(self, source: Source, description: str) -> None:
        super().__init__(INPUT_BLOCK)
        self._source = source
        self.description = f"{description}, latency {self.latency_ns // 1_000_000} ms"

    def start(self, on_block: OnBlock) -> None:
        """Start calling ``on_block`` every 20 ms, each block when its last sample was heard."""
        self._on_block = on_block
        self._begin()

    def fault(self) -> str | None:
        """Return in one line what is wrong with the source's sound; None if nothing is."""
        return self._source.fault()

    def _process(self, begins_ns: int, skipped: int) -> None:
        for _ in range(skipped):
            self._source.read(self._block)
        self._on_block(self._source.read(self._block), begins_ns, skipped > 0)

    def _close(self) -> None:
        self._source.close()


class PacedOutput(_Paced):
    """A speaker whose sound goes to a sink: there, sample n is n / 24000 s after the first one."""

    latency_ns = pcm.samples_to_ns(OUTPUT_BLOCK)

    def __init__(self, sink: Sink, description: str) -> None:
        super().__init__(OUTPUT_BLOCK)
        self._sink = sink
        self.description = f"{description}, latency {self.latency_ns // 1_000_000} ms"
        self.underflows = 0

    def start(self, render: Render) -> None:
        """Call ``render`` every 10 ms from now on, each time for the 10 ms heard 10 ms later."""
        self._render = render
        self._begin()

    def warning(self) -> str | None:
        """Return once why the sink took no more; else None."""
        return self._sink.warning()

    def _process(self, begins_ns: int, skipped: int) -> None:
        if skipped:
            # The sink keeps to the clock: sound that was not rendered in time is a gap.
            self.underflows += 1
            self._sink.skip(skipped * self._block)
        block = self._render(self._block, begins_ns + self.latency_ns)
        if len(block) != self._block * pcm.SAMPLE_BYTES:
            raise ValueError(f"render returned {len(block)} bytes for {self._block} samples")
        self._sink.write(block)

    def _close(self) -> None:
        self._sink.close()
