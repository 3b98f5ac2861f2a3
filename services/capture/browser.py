"""A page's microphone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shared.audio import pcm
from shared.audio.browser import wire
from shared.audio.browser.clock import PageClock
from shared.audio.browser.pages import Pages
from shared.audio.device import InputDevice, OnBlock
from shared.door import Door
from shared.stage import Stage

#: A page that has sent no sound for 2 s is no microphone any more: its tab sleeps.
SILENT_NS = 2_000_000_000
#: s that ``stop`` waits for the server's thread.
_STOP_S = 0.3


class BrowserInput:
    """The microphone of the page that is connected. Raises NoPage if there is none."""

    rate = pcm.RATE

    def __init__(self, pages: Pages) -> None:
        self._page = pages.page()
        self._clock = PageClock()
        self._next = -1  # the position of the next block; -1: no block has come
        self._came_ns = time.monotonic_ns()
        self._failure: str | None = None
        self._stopped = False
        about = self._page.about
        self.latency_ns = round(about.latency_ms * 1e6)
        self.description = (
            f"browser{f' {about.label!r}' if about.label else ''} at {self.rate} Hz,"
            f" latency {about.latency_ms:.0f} ms"
        )

    def start(self, on_block: OnBlock) -> None:
        """Start calling ``on_block`` on the server's thread."""
        self._on_block = on_block
        self._came_ns = time.monotonic_ns()
        self._page.call(self._attach)

    def stop(self) -> None:
        """Let the page go on without a device; another one can be opened on it."""
        if self._stopped:
            return
        self._stopped = True
        detached = threading.Event()
        self._page.call(lambda: self._detach(detached))
        detached.wait(_STOP_S)

    def failure(self) -> str | None:
        """Return why no sound comes, in one line; None while it comes."""
        if self._stopped:
            return None
        if self._failure is None:
            if self._page.gone is not None:
                self._failure = self._page.gone
            elif time.monotonic_ns() - self._came_ns > SILENT_NS:
                self._failure = "the page sends no sound: does its tab sleep?"
                self._page.call(lambda: self._page.end("no sound came", wire.SILENT))
        return self._failure

    def fault(self) -> str | None:
        """Return what is wrong with the sound; None if nothing is."""
        return "the browser has muted the microphone" if self._page.about.muted else None

    # on the server's thread

    def _attach(self) -> None:
        self._page.take = self._take

    def _detach(self, detached: threading.Event) -> None:
        if self._page.take == self._take:
            self._page.take = None
        detached.set()

    def _take(self, message: bytes) -> None:
        block = wire.heard(message)
        now_ns = self._came_ns = time.monotonic_ns()
        samples = len(block.pcm) // pcm.SAMPLE_BYTES
        # The page sends a block when its last sample is there.
        self._clock.add(block.clock_s + samples / pcm.RATE, now_ns)
        lost = self._next not in (-1, block.position)
        self._next = block.position + samples
        latency_ns = round(self._page.about.latency_ms * 1e6)
        adc_ns = self._clock.ns(block.clock_s) - latency_ns
        if samples:
            try:
                self._on_block(block.pcm, adc_ns, lost)
            except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
                self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")
                self._page.take = None


def serve(stage: Stage) -> Callable[[], InputDevice]:
    """Return a function that opens the page that is there. The server ends with the stage."""
    pages = Pages(Door(stage.directory, "capture"), "microphone")
    stage.on_close(pages.close)
    return lambda: BrowserInput(pages)
