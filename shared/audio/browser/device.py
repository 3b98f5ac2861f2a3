"""The common part of a page's microphone and its speaker."""

from __future__ import annotations

import threading
import time

from shared.audio import pcm
from shared.audio.browser import wire
from shared.audio.browser.clock import PageClock
from shared.audio.browser.pages import Pages

#: How long ``stop`` waits for the server's thread, s.
_STOP_S = 0.3


class PageDevice:
    """The page that is connected, as a device. Raises NoPage if there is none.

    A subclass takes the page's messages in ``_take``, on the server's thread. ``held_ns``: how much
    audio the page holds on the way to its converter.
    """

    rate = pcm.RATE
    #: The time without a message, ns, after which a page is no longer a device: its tab sleeps.
    silent_ns: int
    #: The fault of a page that sleeps: in words for a person, and as the reason sent to the page.
    silent: tuple[str, str]

    def __init__(self, pages: Pages, held_ns: int = 0) -> None:
        self._page = pages.page()
        self._clock = PageClock()
        self._came_ns = time.monotonic_ns()
        self._failure: str | None = None
        self._stopped = False
        about = self._page.about
        self.latency_ns = self._page_latency_ns() + held_ns
        self.description = (
            f"browser{f' {about.label!r}' if about.label else ''} at {self.rate} Hz,"
            f" latency {self.latency_ns / 1e6:.0f} ms"
        )

    def stop(self) -> None:
        """Let the page go on without a device; another one can be opened on it."""
        if self._stopped:
            return
        self._stopped = True
        detached = threading.Event()

        def detach() -> None:
            self._detach()
            detached.set()

        self._page.call(detach)
        detached.wait(_STOP_S)

    def failure(self) -> str | None:
        """Return in one line why the device does not work; None while it does."""
        if self._stopped:
            return None
        if self._failure is None:
            if self._page.gone is not None:
                self._failure = self._page.gone
            elif time.monotonic_ns() - self._came_ns > self.silent_ns:
                lacks, reason = self.silent
                self._failure = f"the page {lacks}: does its tab sleep?"
                self._page.call(lambda: self._page.end(reason, wire.SILENT))
        return self._failure

    def _begin(self) -> None:
        """Take the page's messages from now on."""
        self._came_ns = time.monotonic_ns()
        self._page.call(self._attach)

    def _page_latency_ns(self) -> int:
        return round(self._page.about.latency_ms * 1e6)

    # on the server's thread

    def _attach(self) -> None:
        self._page.take = self._take

    def _detach(self) -> None:
        if self._page.take == self._take:
            self._page.take = None

    def _take(self, message: bytes) -> None:
        """Process a message of the page."""
        raise NotImplementedError

    def _fail(self, error: Exception) -> None:
        """Let ``failure`` report what the callback has raised, and take no more messages."""
        self._failure = f"{type(error).__name__}: {error}".replace("\n", " ")
        self._page.take = None
