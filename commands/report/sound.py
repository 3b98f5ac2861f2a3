"""The sound of a recording: one picture of its levels, and one file to play."""

from __future__ import annotations

import base64
import tempfile
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from shared import messages
from shared.audio import pcm
from shared.audio.timeline import Timeline
from shared.recording import Recorded

#: The channels: the person left, the assistant right.
PERSON, ASSISTANT = 0, 1
#: Samples that may still change when later frames come.
KEEP = pcm.RATE * 5
#: How much smaller than it could be, from 0 to 1: 40 kbit/s for both voices, 24 MB for the page of
#: an hour. Vorbis is made in a quarter of the time that Opus takes, and has no delay, as MP3 has.
SMALL = 0.95
#: The picture has a level for each 50 ms.
STEP = pcm.RATE // 20


class Sound:
    """Collects the frames of both voices."""

    def __init__(self) -> None:
        self._timeline = Timeline()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        self._writer: Any = soundfile.SoundFile(
            self._file, "w", pcm.RATE, 2, format="OGG", subtype="VORBIS", compression_level=SMALL
        )
        self._rest: NDArray[np.int16] = np.zeros((0, 2), np.int16)
        #: The largest sample of each STEP, by channel, as a part of full scale.
        self.levels: tuple[list[float], list[float]] = ([], [])
        #: When the sound begins, ns; 0: there is none.
        self.begun_ns = 0
        self._frames = 0

    def take(self, recorded: Recorded) -> None:
        """Take a message; only frames count."""
        match recorded.message:
            case messages.MicClean() as frame:
                self._put(PERSON, frame, frame.captured_ns)
            case messages.SpeakerFrame() as frame:
                self._put(ASSISTANT, frame, frame.played_ns)

    def finish(self) -> str:
        """Return the sound as a data URL; "" if there is none."""
        self._write(0)
        self._writer.close()
        self._file.seek(0)
        data = self._file.read()
        self._file.close()
        if not self.begun_ns:
            return ""
        return f"data:audio/ogg;base64,{base64.b64encode(data).decode()}"

    def _put(
        self, channel: int, frame: messages.MicClean | messages.SpeakerFrame, at_ns: int
    ) -> None:
        self.begun_ns = self.begun_ns or at_ns
        self._timeline.put(channel, frame.stream, frame.position, at_ns, frame.payload)
        self._frames += 1
        if self._frames % 500 == 0:
            self._write(KEEP)

    def _write(self, keep: int) -> None:
        samples = self._timeline.take(keep)
        self._writer.write(samples)
        whole = np.concatenate([self._rest, samples])
        steps = len(whole) // STEP
        self._rest = whole[steps * STEP :]
        peaks = np.abs(whole[: steps * STEP].astype(np.int32)).reshape(steps, STEP, 2).max(axis=1)
        for channel in (PERSON, ASSISTANT):
            self.levels[channel].extend((peaks[:, channel] / 32768).tolist())
