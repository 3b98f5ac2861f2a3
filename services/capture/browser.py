"""A page's microphone."""

from __future__ import annotations

import time
from collections.abc import Callable

from shared.audio import pcm
from shared.audio.browser import wire
from shared.audio.browser.device import PageDevice
from shared.audio.browser.pages import Pages
from shared.audio.device import InputDevice, OnBlock
from shared.door import Admission
from shared.stage import Stage


class BrowserInput(PageDevice):
    """The microphone of the page that is connected. Raises NoPage if there is none."""

    silent_ns = 2_000_000_000
    silent = ("sends no sound", "no sound came")

    def __init__(self, pages: Pages) -> None:
        super().__init__(pages)
        self._next = -1  # the position of the next block; -1: no block has come

    def start(self, on_block: OnBlock) -> None:
        """Start calling ``on_block`` on the server's thread."""
        self._on_block = on_block
        self._begin()

    def fault(self) -> str | None:
        """Return in one line what is wrong with the sound; None if nothing is."""
        return "the browser has muted the microphone" if self._page.about.muted else None

    # on the server's thread

    def _take(self, message: bytes) -> None:
        block = wire.block(message)
        now_ns = self._came_ns = time.monotonic_ns()
        samples = len(block.pcm) // pcm.SAMPLE_BYTES
        # The page sends a block when its last sample is there.
        self._clock.add(block.clock_s + samples / pcm.RATE, now_ns)
        lost = self._next not in (-1, block.position)
        self._next = block.position + samples
        adc_ns = self._clock.ns(block.clock_s) - self._page_latency_ns()
        if samples:
            try:
                self._on_block(block.pcm, adc_ns, lost)
            except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
                self._fail(error)


def serve(stage: Stage) -> Callable[[], InputDevice]:
    """Return a function that opens the page that is there. The server ends with the stage."""
    pages = Pages(Admission(stage.directory, "capture"), "microphone")
    stage.on_close(pages.close)
    return lambda: BrowserInput(pages)
