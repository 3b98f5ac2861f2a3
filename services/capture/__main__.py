"""Publishes the microphone as ``mic.frame``: a message for each 20 ms, mono at 24 kHz.

The device's thread only hands over its blocks and wakes the loop. The loop cuts the blocks into
frames and publishes them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from services.capture.condition import Condition
from services.capture.levels import Levels
from shared import messages
from shared.audio import devices, pcm
from shared.audio.device import InputDevice
from shared.audio.framing import Framer
from shared.audio.reopening import ReopeningDevice
from shared.faults import Faults
from shared.run import run
from shared.stage import Stage

#: Seconds between two reports of the microphone's level and condition.
LEVELS_S = 1.0


class Capture:
    """One microphone, as a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._blocks: deque[tuple[bytes, int, bool]] = deque()  # from the device's thread
        self._framer = Framer()
        self._stream = 0  # when the device was opened, µs since 1970; 0: never
        self._overflows = 0
        self._pending = 0  # samples that have not woken the loop yet: less than one frame
        self._levels = Levels()
        self._condition = Condition()
        self._faults = Faults(stage)
        stage.on_wake(self._take_blocks)
        self._open_page: Callable[[], InputDevice] | None = None
        if stage.config.capture.device == "browser":
            from services.capture import browser  # noqa: PLC0415 - other devices need no server

            self._open_page = browser.serve(stage)
        self._reopening: ReopeningDevice[InputDevice] = ReopeningDevice(
            stage, "microphone", self._open, self._prepare
        )
        stage.every(LEVELS_S, self._report_levels)

    def _open(self) -> InputDevice:
        settings = self._stage.config.capture
        return devices.open_input(settings.device, settings.channel, self._open_page)

    def _prepare(self, device: InputDevice) -> Callable[[], None]:
        self._stream, self._overflows = self._stage.next_number(), 0
        self._condition = Condition()
        self._faults.forget()
        self._framer.restart()
        self._pending = 0
        return partial(device.start, self._on_block)

    def _on_block(self, block: bytes, captured_ns: int, overflowed: bool) -> None:
        # On the device's thread. Wake the loop once per frame, not once per block.
        self._blocks.append((block, captured_ns, overflowed))
        self._pending += len(block) // pcm.SAMPLE_BYTES
        if self._pending >= pcm.FRAME:
            self._pending %= pcm.FRAME
            self._stage.wake()

    def _take_blocks(self) -> None:
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
        self._levels.add(frame)
        self._stage.counters["frames"] += 1

    def _report_levels(self) -> None:
        device, level = self._reopening.device, self._levels.take()
        if device is None or level is None:
            return
        if level.clipped:
            self._stage.count("clipped_samples", level.clipped)
        fault = self._condition.judge(
            level,
            device.fault(),
            may_be_silent=device.description.startswith(("file", "null")),
        )
        self._faults.report(fault)
        self._stage.state = ", ".join(
            [*([fault.state] if fault else []), str(level), device.description]
        )


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
