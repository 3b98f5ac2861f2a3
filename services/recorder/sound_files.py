"""The recording's sound: WAV files of limited length, each of which any program can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from shared.audio import pcm
from shared.private import open_own

CHANNELS = 2
#: A WAV file holds at most 4 GiB, because its header has 32 bits for the length. Half a day in
#: samples is 4.15 GB.
MOST_SAMPLES = 12 * 3600 * pcm.RATE


class SoundFiles:
    """Writes ``conversation.wav``; when it is full, goes on in ``conversation-2.wav``, and so on.

    Only the owner can read the files. Raises OSError or soundfile.SoundFileError if one cannot be
    written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: The files so far. The last one is open.
        self.paths: list[Path] = []
        self._begin()

    def write(self, samples: NDArray[np.int16]) -> bool:
        """Append samples; return whether a new file was begun."""
        begun = False
        while len(samples) > (room := MOST_SAMPLES - self._written):
            self._append(samples[:room])
            samples = samples[room:]
            self._file.close()
            self._begin()
            begun = True
        # libsndfile hands the samples to the kernel at once, so they survive the end of this
        # process. Its flush would be an fsync, which waits for the disk.
        self._append(samples)
        return begun

    def close(self) -> None:
        """Close the last file."""
        self._file.close()

    def _begin(self) -> None:
        number = len(self.paths) + 1
        path = self._directory / f"conversation{'' if number == 1 else f'-{number}'}.wav"
        self._written = 0  # samples in this file
        self._file = soundfile.SoundFile(
            open_own(path), "w", pcm.RATE, CHANNELS, "PCM_16", format="WAV"
        )
        self.paths.append(path)

    def _append(self, samples: NDArray[np.int16]) -> None:
        self._file.write(samples)
        self._written += len(samples)
