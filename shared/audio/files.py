# ruff: noqa: PLC0415 - what only files need is not imported for silence
"""Devices without a sound card: files, silence, and nothing at all.

Their thread keeps real time by an absolute schedule: it never drifts, and after a stall of the
machine it catches up. What it cannot catch up with in a second it gives up, as a sound card
would: the microphone's samples are lost and reported as an overflow, the speaker's file gets
silence and an underflow is counted.
"""

from __future__ import annotations

import io
import stat
import struct
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from shared.audio import pcm
from shared.audio.device import DeviceError, OnBlock, Render

INPUT_BLOCK = pcm.FRAME
OUTPUT_BLOCK = 240  # samples: 10 ms
STALL_NS = 1_000_000_000  # what is later than this is given up

#: How long ``stop`` waits for the device's thread: a callback may be in the middle of something.
_JOIN_S = 0.4
#: Data goes to the file this often, and the header every tenth time: what a kill -9 can cost.
_WRITE_BYTES = pcm.RATE * pcm.SAMPLE_BYTES // 10
_HEADER_BYTES = 10 * _WRITE_BYTES
_LONGEST = 0xFFFFFFFF - 36  # bytes of samples whose length a WAV header can hold


class Schedule:
    """When each block begins: block k at ``start_ns`` plus k blocks, to the ns, for ever."""

    def __init__(self, start_ns: int, samples: int) -> None:
        self.start_ns = start_ns
        self.samples = samples  # in a block

    def at(self, block: int) -> int:
        """Give the monotonic ns at which ``block`` begins."""
        return self.start_ns + pcm.samples_to_ns(block * self.samples)

    def given_up(self, block: int, now_ns: int) -> int:
        """Give how many blocks, from ``block`` on, are too late to be made up for."""
        late = now_ns - self.at(block)
        return late // pcm.samples_to_ns(self.samples) if late > STALL_NS else 0


class Source(Protocol):
    """Where a stand-in microphone takes its samples."""

    def read(self, samples: int) -> bytes:
        """Give exactly that many samples."""

    def close(self) -> None:
        """Let go of the file."""


class Sink(Protocol):
    """Where a stand-in speaker leaves its samples."""

    def write(self, block: bytes) -> None:
        """Append samples."""

    def skip(self, samples: int) -> None:
        """Append silence."""

    def close(self) -> None:
        """Finish the file."""

    def warning(self) -> str | None:
        """Give, once, what went wrong; else None."""


def file_input(name: str) -> PacedInput:
    """Open a file as a microphone; DeviceError if it holds no sound."""
    recording = Recording(name)
    channels = f"{recording.channels} channel" + "s" * (recording.channels > 1)
    return PacedInput(recording, f"file {name!r}, {recording.rate} Hz, {channels}")


def file_output(name: str) -> PacedOutput:
    """Open a file as a speaker; DeviceError if it cannot be written."""
    return PacedOutput(WavFile(name), f"file {name!r}, {pcm.RATE} Hz, 1 channel")


def null_input() -> PacedInput:
    """Open a microphone that hears nothing."""
    return PacedInput(Silence(), "null: silence")


def null_output() -> PacedOutput:
    """Open a speaker that nobody hears."""
    return PacedOutput(Discard(), "null: nothing is heard")


class Silence:
    """A source of zeros."""

    def read(self, samples: int) -> bytes:
        """Give zeros."""
        return bytes(samples * pcm.SAMPLE_BYTES)

    def close(self) -> None:
        """Nothing is held."""


class Recording:
    """A source: any file libsndfile reads, at any rate, its channels mixed; after its end, zeros.

    DeviceError if it is no such file.
    """

    def __init__(self, name: str) -> None:
        path = Path(name).expanduser()
        self._name = str(path)
        try:
            # A pipe would block until someone writes to it.
            if not stat.S_ISREG(path.stat().st_mode):
                raise DeviceError(f"cannot read {self._name!r}: not a regular file")
        except OSError as error:
            raise DeviceError(f"cannot read {self._name!r}: {_reason(error)}") from None
        import soundfile

        self._file: Any = None
        self._ready = bytearray()
        try:
            self._file = soundfile.SoundFile(self._name)
            self.rate = int(self._file.samplerate)
            self.channels = int(self._file.channels)
            self._resampler: Any = None
            if self.rate != pcm.RATE:
                import soxr

                self._resampler = soxr.ResampleStream(self.rate, pcm.RATE, 1, dtype="float32")
            self._step = max(1, self.rate // 50)
            self._ended = False
            self._fill(INPUT_BLOCK * pcm.SAMPLE_BYTES)
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            # TypeError is what soundfile says to a headerless file.
            self.close()
            raise DeviceError(
                f"cannot read {self._name!r} as sound: {_reason(error)};"
                " give a WAV, FLAC, OGG or MP3 file"
            ) from None

    def read(self, samples: int) -> bytes:
        """Give exactly that many samples; RuntimeError where the file is damaged."""
        wanted = samples * pcm.SAMPLE_BYTES
        self._fill(wanted)
        block = bytes(self._ready[:wanted])
        del self._ready[:wanted]
        return block if len(block) == wanted else block + bytes(wanted - len(block))

    def close(self) -> None:
        """Close the file; twice is harmless."""
        if self._file is not None:
            self._file.close()

    def _fill(self, wanted: int) -> None:
        import numpy as np

        while len(self._ready) < wanted and not self._ended:
            # As floats: libsndfile would round a float file's samples to -1, 0 and 1.
            block = self._file.read(self._step, dtype="float32", always_2d=True)
            self._ended = len(block) == 0
            # A float file may hold anything, and one NaN would stay in a resampler.
            block = np.nan_to_num(block, posinf=1, neginf=-1).clip(-1, 1)
            mono = block[:, 0] if self.channels == 1 else block.mean(axis=1)
            if self._resampler is not None:
                # soxr takes its own delay away: the first sample out is the first in.
                mono = self._resampler.resample_chunk(np.ascontiguousarray(mono), self._ended)
            scaled = np.rint(mono * 32768).clip(-32768, 32767)
            self._ready += pcm.from_array(scaled.astype(np.int16))


class Discard:
    """A sink for what nobody needs."""

    def write(self, block: bytes) -> None:
        """Forget it."""

    def skip(self, samples: int) -> None:
        """Forget that too."""

    def close(self) -> None:
        """Nothing is held."""

    def warning(self) -> str | None:
        """Give None: nothing goes wrong."""
        return None


class WavFile:
    """A sink: a WAV file that can be read at any time, even after a kill -9.

    DeviceError if it cannot be opened. If it cannot be written later, ``warning`` says so once,
    and the rest is forgotten.
    """

    def __init__(self, name: str) -> None:
        path = Path(name).expanduser()
        self._name = str(path)
        self._waiting = bytearray()
        self._written = 0  # bytes of samples
        self._warning: str | None = None
        self._file: io.FileIO | None
        try:
            _check_replaceable(path)
            self._file = io.FileIO(path, "w")
        except OSError as error:
            raise DeviceError(f"cannot write {self._name!r}: {_reason(error)}") from None
        self._flush()

    def write(self, block: bytes) -> None:
        """Append samples."""
        if self._file is None:
            return
        self._waiting += block
        if len(self._waiting) >= _WRITE_BYTES:
            self._flush()

    def skip(self, samples: int) -> None:
        """Append silence."""
        blocks, rest = divmod(samples, OUTPUT_BLOCK)
        for _ in range(blocks):
            self.write(bytes(OUTPUT_BLOCK * pcm.SAMPLE_BYTES))
        self.write(bytes(rest * pcm.SAMPLE_BYTES))

    def close(self) -> None:
        """Write what is waiting and the last header; twice is harmless."""
        if self._file is not None:
            self._flush(last=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    def warning(self) -> str | None:
        """Give, once, why the file ends early."""
        line, self._warning = self._warning, None
        return line

    def _flush(self, last: bool = False) -> None:
        assert self._file is not None
        before = self._written
        try:
            if before + len(self._waiting) > _LONGEST:
                raise OSError(0, "a WAV file can be no longer")
            if not before:
                self._header()
            view = memoryview(self._waiting)
            try:
                done = 0
                while done < len(view):
                    done += self._file.write(view[done:]) or 0
                    self._written = before + done
            finally:
                view.release()
            self._waiting.clear()
            if last or before // _HEADER_BYTES != self._written // _HEADER_BYTES:
                self._header()
        except OSError as error:
            seconds = self._written / pcm.SAMPLE_BYTES / pcm.RATE
            self._warning = (
                f"cannot write {self._name!r} any further than {seconds:.1f} s: {_reason(error)};"
                " the sound goes on without it"
            )
            self._give_up()

    def _give_up(self) -> None:
        file, self._file = self._file, None
        self._waiting.clear()
        assert file is not None
        try:
            # The header is there already: this needs no space on the disk.
            self._put_header(file)
        except OSError:
            pass
        try:
            file.close()
        except OSError:
            pass

    def _header(self) -> None:
        assert self._file is not None
        self._put_header(self._file)

    def _put_header(self, file: io.FileIO) -> None:
        size = self._written - self._written % pcm.SAMPLE_BYTES
        file.seek(0)
        file.write(
            struct.pack(
                "<4sI4s4sIHHIIHH4sI",
                b"RIFF",
                36 + size,
                b"WAVE",
                b"fmt ",
                16,
                1,  # PCM
                1,  # channel
                pcm.RATE,
                pcm.RATE * pcm.SAMPLE_BYTES,
                pcm.SAMPLE_BYTES,
                8 * pcm.SAMPLE_BYTES,
                b"data",
                size,
            )
        )
        file.seek(0, io.SEEK_END)


class _Paced:
    """A thread that does one block's work whenever its time has come."""

    rate = pcm.RATE
    latency_ns = 0

    def __init__(self, block: int) -> None:
        self._block = block
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: str | None = None

    def failure(self) -> str | None:
        """Give None while all is well; else one line."""
        return self._failure

    def stop(self) -> None:
        """End at once: the thread waits for nothing else."""
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
                due = schedule.at(block + self._lead) - time.monotonic_ns()
                if self._ending.wait(max(0, due) / 1e9):
                    return
                skipped = schedule.given_up(block + self._lead, time.monotonic_ns())
                block += skipped
                self._work(schedule.at(block), skipped)
                block += 1
        except Exception as error:  # noqa: BLE001 - whatever the callback raises, failure() tells
            self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")
        finally:
            self._close()

    #: A block of sound can be given when it has ended, and is wanted when it begins.
    _lead = 0

    def _work(self, begins_ns: int, skipped: int) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class PacedInput(_Paced):
    """A microphone that hears what a source gives it."""

    _lead = 1

    def __init__(self, source: Source, description: str) -> None:
        super().__init__(INPUT_BLOCK)
        self._source = source
        self.description = f"{description}, latency {self.latency_ns // 1_000_000} ms"

    def start(self, on_block: OnBlock) -> None:
        """Begin giving a block every 20 ms, 20 ms after its first sample."""
        self._on_block = on_block
        self._begin()

    def _work(self, begins_ns: int, skipped: int) -> None:
        for _ in range(skipped):
            self._source.read(self._block)
        self._on_block(self._source.read(self._block), begins_ns, skipped > 0)

    def _close(self) -> None:
        self._source.close()


class PacedOutput(_Paced):
    """A speaker whose sound goes to a sink; there, sample n is heard n / 24000 s after the
    first.
    """

    latency_ns = pcm.samples_to_ns(OUTPUT_BLOCK)

    def __init__(self, sink: Sink, description: str) -> None:
        super().__init__(OUTPUT_BLOCK)
        self._sink = sink
        self.description = f"{description}, latency {self.latency_ns // 1_000_000} ms"
        self.underflows = 0

    def start(self, render: Render) -> None:
        """Begin asking for 10 ms every 10 ms, 10 ms before they are heard."""
        self._render = render
        self._begin()

    def warning(self) -> str | None:
        """Give, once, why the file ends early."""
        return self._sink.warning()

    def _work(self, begins_ns: int, skipped: int) -> None:
        if skipped:
            # The file keeps to the clock: what was not rendered in time is a gap, as on a sound
            # card.
            self.underflows += 1
            self._sink.skip(skipped * self._block)
        block = self._render(self._block, begins_ns + self.latency_ns)
        if len(block) != self._block * pcm.SAMPLE_BYTES:
            raise ValueError(f"render gave {len(block)} bytes for {self._block} samples")
        self._sink.write(block)

    def _close(self) -> None:
        self._sink.close()


def _check_replaceable(path: Path) -> None:
    """Raise OSError unless ``path`` is new, a WAV file, empty, or a character device."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISCHR(mode):
        return
    if not stat.S_ISREG(mode):
        raise OSError(0, "not a regular file")
    with path.open("rb") as file:
        if file.read(4) not in (b"", b"RIFF"):
            raise OSError(0, "it exists and is not a WAV file, and is not replaced")


def _reason(error: Exception) -> str:
    """Give an error's own words in one line, without the path that is named already."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.removeprefix("Error opening ").split(": ", 1)[-1]
    text = " ".join(text.split()).rstrip(".") or type(error).__name__
    return text[0].lower() + text[1:]
