"""The microphone: PortAudio's callback in, ``mic.frame`` out, 20 ms of 24 kHz mono a message.

The device's thread only hands its block over and wakes the loop; cutting it into frames and
publishing happens here.
"""

from __future__ import annotations

import time
from collections import deque

from services.capture.levels import Levels
from shared import messages
from shared.audio import devices, pcm
from shared.audio.device import InputDevice
from shared.audio.framing import Framer
from shared.audio.reopening import ReopeningDevice
from shared.stage import Stage, run

LEVELS_S = 1.0
#: A microphone that gives nothing but zeros for so long is not one: even a quiet room has noise.
DEAD_S = 3
DEAD = (
    "the microphone gives no sound at all: is it muted, or another one meant? See the system's"
    " sound and privacy settings, or --list-devices and capture.device"
)


class Capture:
    """One microphone, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._blocks: deque[tuple[bytes, int, bool]] = deque()
        self._framer = Framer()
        self._stream = 0
        self._overflows = 0
        self._untold = 0  # samples of the device that no frame was made of yet
        self._levels = Levels()
        stage.on_wake(self._take)
        self._reopening: ReopeningDevice[InputDevice] = ReopeningDevice(
            stage, "microphone", self._begin
        )
        stage.every(LEVELS_S, self._tell_levels)

    def _begin(self) -> InputDevice:
        device = devices.open_input(self._stage.config.capture.device)
        self._stream, self._overflows = time.time_ns() // 1000, 0
        self._framer.restart()
        self._untold = 0
        device.start(self._on_block)
        return device

    def _on_block(self, block: bytes, captured_ns: int, overflowed: bool) -> None:
        self._blocks.append((block, captured_ns, overflowed))
        self._untold += len(block) // pcm.SAMPLE_BYTES
        if self._untold >= pcm.FRAME:
            self._untold %= pcm.FRAME
            self._stage.wake()

    def _take(self) -> None:
        while self._blocks:
            block, captured_ns, overflowed = self._blocks.popleft()
            if overflowed:
                self._overflows += 1
                self._stage.count("overflows")
            for frame, position, at_ns in self._framer.cut(block, captured_ns):
                self._publish(frame, position, at_ns)

    def _publish(self, frame: bytes, position: int, at_ns: int) -> None:
        self._stage.publish(
            messages.MicFrame(
                stream=self._stream,
                position=position,
                captured_ns=at_ns,
                overflows=self._overflows,
                payload=frame,
            )
        )
        self._levels.put(frame)
        self._stage.counters["frames"] += 1

    def _tell_levels(self) -> None:
        device, levels = self._reopening.device, self._levels.take()
        if device is None or levels is None:
            return
        if levels.clipped:
            self._stage.count(
                "clipped_samples",
                levels.clipped,
                "the microphone is too loud, it clips: lower its level in the system's settings",
            )
        # a recording may be silent for as long as it likes
        dead = levels.silent_s >= DEAD_S and not device.description.startswith(("file", "null"))
        if dead:
            self._stage.count("dead_s", warning=DEAD)
        elif not self._stage.ok:
            self._stage.log.info("the microphone is heard again")
        self._stage.ok = not dead
        self._stage.state = (
            "no sound from the microphone, " if dead else f"{levels}, "
        ) + device.description


def main() -> int:
    """Run the stage."""
    return run(
        "capture",
        Capture,
        "Publishes the microphone as mic.frame.",
        list_devices=lambda: devices.list_devices("input"),
    )


if __name__ == "__main__":
    raise SystemExit(main())
