# ruff: noqa: PLC0415 - the libraries that read a file are imported when a file is read
"""Files in the place of a microphone and of a speaker."""

from __future__ import annotations

import io
import os
import stat
import struct
from pathlib import Path
from typing import Any

from shared.audio import channels, pcm
from shared.audio.device import DeviceError
from shared.audio.paced import INPUT_BLOCK, OUTPUT_BLOCK, PacedInput, PacedOutput

#: Samples are written to the file every 0.1 s, in bytes, and the header every tenth time. After a
#: kill -9 the file lacks at most the last second.
_WRITE_BYTES = pcm.RATE * pcm.SAMPLE_BYTES // 10
_HEADER_BYTES = 10 * _WRITE_BYTES
#: Bytes of samples whose length fits into a WAV header: 24 hours.
_LONGEST = 0xFFFFFFFF - 36


def file_input(name: str, channel: int = 0) -> PacedInput:
    """Return a microphone that hears a file. Raises DeviceError if the file holds no sound.

    ``channel`` is the number of the channel that is heard, counted from 1; 0 is the mix.
    """
    source = FileSource(name, channel)
    count = f"{source.channels} channel" + "s" * (source.channels > 1)
    heard = f"channel {channel} of {source.channels}" if channel else count
    return PacedInput(source, f"file {name!r}, {source.rate} Hz, {heard}")


def file_output(name: str) -> PacedOutput:
    """Return a speaker that writes a WAV file. Raises DeviceError if it cannot be written."""
    return PacedOutput(WavFile(name), f"file {name!r}, {pcm.RATE} Hz, 1 channel")


class FileSource:
    """A source that reads any sound file that libsndfile knows, and returns zeros after its end.

    The file is resampled to 24 kHz. ``channel`` is the number of the channel that is read, counted
    from 1; 0 is the mix of the first two. Raises DeviceError if the file cannot be read as sound.
    """

    def __init__(self, name: str, channel: int = 0) -> None:
        path = Path(name).expanduser()
        self._name = str(path)
        try:
            # To open a pipe would block until somebody writes to it.
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
            channels.check_channel(channel, self.channels, f"file {self._name!r}")
            self._channel, self._phase = channel, channels.Phase()
            self._resampler: Any = None
            if self.rate != pcm.RATE:
                import soxr

                self._resampler = soxr.ResampleStream(self.rate, pcm.RATE, 1, dtype="float32")
            self._step = max(1, self.rate // 50)  # samples that are read at a time: 20 ms
            self._ended = False
            self._fill(INPUT_BLOCK * pcm.SAMPLE_BYTES)
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            # soundfile raises TypeError for a file without a header.
            self.close()
            raise DeviceError(
                f"cannot read {self._name!r} as sound: {_reason(error)};"
                " give a WAV, FLAC, OGG or MP3 file"
            ) from None

    def read(self, samples: int) -> bytes:
        """Return exactly ``samples`` samples, s16le. Raises RuntimeError if the file is damaged."""
        wanted = samples * pcm.SAMPLE_BYTES
        self._fill(wanted)
        block = bytes(self._ready[:wanted])
        del self._ready[:wanted]
        return block if len(block) == wanted else block + bytes(wanted - len(block))

    def close(self) -> None:
        """Close the file; calling it twice is harmless."""
        if self._file is not None:
            self._file.close()

    def fault(self) -> str | None:
        """Return in one line what is wrong with the file's channels; None if nothing is known."""
        return channels.OPPOSITE if self._phase.opposite else None

    def _fill(self, wanted: int) -> None:
        import numpy as np

        while len(self._ready) < wanted and not self._ended:
            # Read floats: as integers, libsndfile rounds a float file's samples to -1, 0 and 1.
            block = self._file.read(self._step, dtype="float32", always_2d=True)
            self._ended = len(block) == 0
            # A float file may hold any value, and one NaN would stay in the resampler.
            block = np.nan_to_num(block, posinf=1, neginf=-1).clip(-1, 1)
            if self._channel or self.channels == 1:
                mono = block[:, max(0, self._channel - 1)]
            else:
                mono = block[:, :2].mean(axis=1)
                left, right = (block[:: channels.THINNED, at] * 32768 for at in (0, 1))
                self._phase.add(left.tolist(), right.tolist())
            if self._resampler is not None:
                # soxr compensates its own delay: the first sample out is the first one in.
                mono = self._resampler.resample_chunk(np.ascontiguousarray(mono), self._ended)
            scaled = np.rint(mono * 32768).clip(-32768, 32767)
            self._ready += pcm.from_array(scaled.astype(np.int16))


class WavFile:
    """A sink that writes a WAV file which can be read at any time, even after a kill -9.

    Raises DeviceError if the file cannot be opened. If it cannot be written later, ``warning`` says
    so once, and the rest is discarded.
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
        """Append samples, s16le."""
        if self._file is None:
            return
        self._waiting += block
        if len(self._waiting) >= _WRITE_BYTES:
            self._flush()

    def skip(self, samples: int) -> None:
        """Append ``samples`` samples of silence."""
        blocks, rest = divmod(samples, OUTPUT_BLOCK)
        for _ in range(blocks):
            self.write(bytes(OUTPUT_BLOCK * pcm.SAMPLE_BYTES))
        self.write(bytes(rest * pcm.SAMPLE_BYTES))

    def close(self) -> None:
        """Write the waiting samples and the last header; calling it twice is harmless."""
        if self._file is not None:
            self._flush(last=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    def warning(self) -> str | None:
        """Return once why the file ends early; else None."""
        line, self._warning = self._warning, None
        return line

    def _flush(self, last: bool = False) -> None:
        assert self._file is not None
        before = self._written
        try:
            if before + len(self._waiting) > _LONGEST:
                raise OSError(0, "a WAV file can be no longer")
            if not before:
                self._write_header(self._file)
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
                self._write_header(self._file)
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
            # A full disk takes the header: it replaces one that is there already.
            self._write_header(file)
        except OSError:
            pass  # the file keeps its last header
        try:
            file.close()
        except OSError:
            pass  # the warning says why

    def _write_header(self, file: io.FileIO) -> None:
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


def _check_replaceable(path: Path) -> None:
    """Raise OSError unless ``path`` is new, our own WAV file, empty, or a character device."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISCHR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise OSError(0, "not a regular file")
    if found.st_uid != os.getuid():
        raise OSError(0, f"it belongs to user {found.st_uid}, who could listen")
    with path.open("rb") as file:
        if file.read(4) not in (b"", b"RIFF"):
            raise OSError(0, "it exists and is not a WAV file, and is not replaced")


def _reason(error: Exception) -> str:
    """Return an error's text in one line, without the path, which the caller names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = text.removeprefix("Error opening ").split(": ", 1)[-1]
    text = " ".join(text.split()).rstrip(".") or type(error).__name__
    return text[0].lower() + text[1:]
