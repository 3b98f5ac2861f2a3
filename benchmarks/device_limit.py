"""The device's own limit: one process with PortAudio's callback and the device's buffer size.

The process plays the rising tone. A line ``cut`` on its standard input is the event, and the next
callback returns silence; ``play`` starts the tone again. The process prints the time of the event,
in ns of CLOCK_MONOTONIC. Nothing can be silent sooner on this device, so Bargein is compared with
it. A second argument is the number of samples in a buffer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import pyaudio

from services.emulator.tone import RATE, Tone


class Speaker:
    """Plays a tone from its beginning until it is cut."""

    def __init__(self, sound: bytes) -> None:
        self._sound = sound
        self._at = len(sound)
        self._cut = False

    def play(self) -> None:
        """Play from the beginning."""
        self._cut = False
        self._at = 0

    def cut(self) -> None:
        """Return silence from the next callback on."""
        self._cut = True

    def render(
        self, _data: bytes | None, frames: int, _times: Mapping[str, float], _status: int
    ) -> tuple[bytes, int]:
        """Return the next samples for the device."""
        length = 2 * frames
        block = b"" if self._cut else self._sound[self._at : self._at + length]
        self._at += length
        return block.ljust(length, b"\0"), pyaudio.paContinue


def main() -> int:
    """Obey the lines of standard input."""
    samples = round(float(sys.argv[1]) * RATE)
    speaker = Speaker(Tone(samples).read(0, samples))
    sys.setswitchinterval(0.0005)
    audio = pyaudio.PyAudio()
    stream = audio.open(
        rate=RATE,
        channels=1,
        format=pyaudio.paInt16,
        output=True,
        frames_per_buffer=int(sys.argv[2])
        if sys.argv[2:]
        else pyaudio.paFramesPerBufferUnspecified,
        stream_callback=speaker.render,
    )
    print("ready", flush=True)
    for line in sys.stdin:
        now = time.monotonic_ns()
        if line.strip() == "cut":
            speaker.cut()
            print(f"event {now}", flush=True)
        else:
            speaker.play()
    stream.close()
    audio.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
