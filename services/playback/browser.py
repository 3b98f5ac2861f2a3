"""A page's speaker.

The network delays samples, so the page needs some in advance: playback gives the page samples until
the page holds ``ahead`` of them. The page reports how far it has rendered. At a flush, playback
recalls the samples that the page holds: the page fades out, drops the rest, and answers at which
sample it fell silent. Samples count as heard only when the page has reported that it rendered them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from services.playback.remote import RemoteCallback
from shared.audio import pcm
from shared.audio.browser import wire
from shared.audio.browser.device import PageDevice
from shared.audio.browser.pages import Pages
from shared.audio.device import OutputDevice, Render
from shared.door import Admission
from shared.stage import Stage

#: The fewest samples that one message has, about 5 ms. Fewer are not worth a message.
_LEAST_SENT = 128
#: If the page had nothing to play, the network or the browser stutters. From then on the page holds
#: 10 ms more, up to 0.25 s.
_AHEAD_STEP = pcm.RATE // 100
_MOST_AHEAD = pcm.RATE // 4


class BrowserOutput(PageDevice):
    """The speaker of the page that is connected. Raises NoPage if there is none.

    ``ahead``: how many samples the page holds at first. ``fade``: the length of the fade at a
    recall, in samples.
    """

    silent_ns = 1_000_000_000
    silent = ("reports nothing", "no report came")

    def __init__(self, pages: Pages, callback: RemoteCallback, ahead: int, fade: int) -> None:
        super().__init__(pages, pcm.samples_to_ns(ahead))
        self._callback = callback
        self._ahead, self._fade = ahead, fade
        self.underflows = 0
        # positions, and when the sample at ``_played`` is at the converter
        self._given = self._played = self._at_ns = 0
        self._base = -1  # the page's own position of our position 0; -1: it is not known yet
        self._silence = 0  # samples of silence that the page has reported
        self._plays = False  # the page has played something since the last recall
        self._recall = 0  # the number of the last recall
        self._recalling = False  # the page has not answered the last recall

    def start(self, render: Render) -> None:
        """Start calling ``render`` on the server's thread."""
        self._render = render
        self._begin()

    def warning(self) -> str | None:
        """Return None: `underflows` counts how often the page had nothing to play."""
        return None

    def check_recall_now(self) -> None:
        """Check at once whether the callback recalls audio. Any thread may call this."""
        self._page.call(self._go_on)

    # on the server's thread

    def _attach(self) -> None:
        self._page.take, self._page.on_gone = self._take, self._lost
        # The device before this one gave the page the audio that it still holds.
        self._send_recall()

    def _detach(self) -> None:
        if self._page.take == self._take:
            self._page.take = self._page.on_gone = None
        self._lost()  # takes back what was not played

    def _lost(self) -> None:
        """Take back all that the page did not report: nobody knows whether it was played."""
        if self._given > self._played:
            self._take_back(time.monotonic_ns())

    def _take(self, message: bytes) -> None:
        """Process a report of the page."""
        report = wire.report(message)
        now_ns = self._came_ns = time.monotonic_ns()
        self._clock.add(report.clock_s, now_ns)
        at_ns = self._clock.ns(report.clock_s) + self._page_latency_ns()
        try:
            self._follow(report, at_ns)
            self._go_on()
        except wire.BadPage:
            raise
        except Exception as error:  # noqa: BLE001 - failure() reports what the callback raises
            self._fail(error)

    def _follow(self, report: wire.PageReport, at_ns: int) -> None:
        """Move the playhead as a report says."""
        answers = self._recalling and report.recall == self._recall
        if self._base < 0:
            if not answers:
                return
            self._base, self._silence = report.position, report.silence
        position, silence = report.position - self._base, report.silence - self._silence
        if not self._played <= position <= self._given or silence < 0:
            raise wire.BadPage(
                f"it has played {position} samples, after {self._played} of {self._given}"
            )
        self._plays |= position > self._played
        if silence and self._plays:
            self.underflows += 1
            self._plays = False
            # A flush takes back what the page holds, so to hold more makes no flush later.
            self._ahead = max(self._ahead, min(self._ahead + _AHEAD_STEP, _MOST_AHEAD))
        self._played, self._silence, self._at_ns = position, report.silence, at_ns
        self._callback.played(position, at_ns, silence)
        if answers:
            self._recalling = self._plays = False
            self._take_back(at_ns)

    def _go_on(self) -> None:
        """Recall what the page holds, or give it more."""
        if self._page.gone is not None:
            if self._callback.must_recall:
                self._take_back(time.monotonic_ns())
            return
        if self._recalling:
            return
        if self._callback.must_recall:
            if self._given > self._played:
                self._send_recall()
                return
            self._take_back(self._at_ns)
        samples = self._played + self._ahead - self._given
        if samples >= _LEAST_SENT:
            at_ns = self._at_ns + pcm.samples_to_ns(self._given - self._played)
            sound = self._render(samples, at_ns)
            if len(sound) != samples * pcm.SAMPLE_BYTES:
                raise ValueError(f"render returned {len(sound)} bytes for {samples} samples")
            self._page.send(wire.audio(self._base + self._given, sound))
            self._given += samples

    def _send_recall(self) -> None:
        # Another device may have recalled from the same page before.
        self._page.recalls += 1
        self._recall, self._recalling = self._page.recalls, True
        recall = wire.Recall(self._recall, self._fade)
        self._page.send(msgspec.json.encode(recall).decode())

    def _take_back(self, at_ns: int) -> None:
        self._given = self._played
        self._callback.take_back(self._played, at_ns)


def serve(stage: Stage, callback: RemoteCallback) -> Callable[[], OutputDevice]:
    """Return a function that opens the page that is there. The server ends with the stage."""
    settings = stage.config.playback
    ahead, fade = pcm.ms_to_samples(settings.browser_ms), pcm.ms_to_samples(settings.fade_ms)
    pages = Pages(Admission(stage.directory, "playback"), "speaker")
    stage.on_close(pages.close)

    def page() -> OutputDevice:
        device = BrowserOutput(pages, callback, ahead, fade)
        callback.check_recall_now = device.check_recall_now
        return device

    return page
