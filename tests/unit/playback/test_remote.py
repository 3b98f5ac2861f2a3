"""A device that holds audio ahead: heard is what it played, and nothing is played twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.playback.browser import BrowserOutput
from services.playback.duck import Duck
from services.playback.remote import RemoteCallback
from shared import messages
from shared.audio import pcm
from shared.audio.browser import wire
from shared.audio.browser.pages import Pages
from shared.config import Config, Playback
from tests.support.page import PagePlayer
from tests.support.playing import Samples, counting, frame

pytestmark = pytest.mark.unit

AHEAD = 960
FADE = 48


class Everybody:
    """Somebody subscribes to speaker.frame."""

    subscribed = frozenset({"speaker.frame"})


class Rig:
    """A callback, its device and the page, all on one thread and by one clock."""

    def __init__(self, fade: int = FADE, at: int = 0) -> None:
        config = Config(playback=Playback(fade_ms=fade // 24))
        self.callback = RemoteCallback(
            config, Duck(Config().interruption), Everybody(), lambda: 0, lambda: None
        )
        self.page: Any = SimpleNamespace(
            about=wire.About(latency_ms=0), recalls=0, gone=None, take=None, on_gone=None
        )
        self.page.call = lambda what: what()
        self.page.send = lambda message: self.sent.append(message)  # noqa: PLW0108 - `sent` is replaced
        self.sent: list[bytes | str] = []
        self.player = PagePlayer(at)
        self.fade = fade
        self.published: list[Samples] = []
        self.positions: list[int] = []
        self.open()

    def open(self) -> None:
        self.callback.restart()
        pages = cast("Pages", SimpleNamespace(page=lambda: self.page))
        self.device = BrowserOutput(pages, self.callback, AHEAD, self.fade)
        self.callback.check_recall_now = self.device.check_recall_now
        self.device.start(self.callback.render)

    def deliver(self) -> None:
        """Let the page read what was sent."""
        sent, self.sent = self.sent, []
        for message in sent:
            self.player.take(message)

    def run(self, quanta: int = 2) -> None:
        """Let the page read, render, and report."""
        self.deliver()
        self.render(quanta)

    def render(self, quanta: int) -> None:
        """Let the page render and report."""
        for _ in range(quanta):
            self.player.render()
        if self.page.take is not None:
            self.page.take(self.player.report(len(self.player.sound()) / pcm.RATE))
        while (block := self.callback.take_block()) is not None:
            self.published.append(pcm.to_array(block[0]))
            self.positions.append(block[2])

    def flush(self, generation: int) -> None:
        flush = messages.Flush(
            generation=generation,
            session=7,
            cause="speech_started",
            event_ns=0,
            received=[],
            interrupted=[],
            active=[],
        )
        self.callback.flush(flush, 0, 0)

    def reply(self, sound: Samples, generation: int = 1, **more: Any) -> None:
        """Hand in audio of an item that is named after its generation."""
        name = str(generation)
        self.callback.audio(
            frame(sound, f"item_{name}", generation=generation, response=f"resp_{name}", **more)
        )

    def heard(self, item: str = "item_1") -> int:
        return {i.item_id: i.heard for i in self.callback.player.items()}[item]

    def finish(self) -> None:
        """Run until all is played, and check what counts as heard."""
        for more in range(10_000):
            self.run()
            if more > 5 and not self.callback.player.playing:
                return
        pytest.fail("it plays for ever")

    def audible(self) -> Samples:
        """Return what the page has played, without silence."""
        sound = self.player.sound()
        audible: Samples = sound[sound != 0]
        return audible


def test_a_reply_is_played_whole_and_heard_only_as_the_page_reports_it() -> None:
    rig = Rig()
    sound = counting(6000)
    rig.reply(sound, last=True)
    for _ in range(30):
        rig.run()
        assert rig.heard() == len(rig.audible())
    assert np.array_equal(rig.audible(), sound)
    assert rig.callback.player.items()[0].whole
    assert rig.device.underflows == 0


@pytest.mark.parametrize("at", [0, 12345])
def test_a_flush_counts_what_the_page_rendered_with_its_fade(at: int) -> None:
    rig = Rig(at=at)
    rig.reply(counting(24000))
    for _ in range(20):
        rig.run()
    before = rig.heard()
    rig.flush(2)
    rig.deliver()
    assert rig.heard() == before
    assert rig.callback.take_report() is None, "the page has not answered"
    rig.run()
    report = rig.callback.take_report()
    assert report is not None
    [item] = report.items
    assert item.heard == before + FADE
    # The last sample of the fade is silent, or nearly.
    assert len(rig.audible()) in (item.heard, item.heard - 1)
    for _ in range(10):
        rig.run()
    assert len(rig.audible()) in (item.heard, item.heard - 1)
    assert not rig.callback.player.playing


def test_the_next_reply_begins_after_the_flush() -> None:
    rig = Rig(fade=0)
    rig.reply(counting(24000))
    for _ in range(20):
        rig.run()
    rig.flush(2)
    heard = rig.heard()
    rig.reply(counting(3000, 20000), generation=2, last=True)
    rig.finish()
    assert np.array_equal(rig.audible()[:heard], counting(heard))
    assert np.array_equal(rig.audible()[heard:], counting(3000, 20000))


def test_audio_whose_flush_was_lost_recalls_as_well() -> None:
    rig = Rig(fade=0)
    rig.reply(counting(24000))
    for _ in range(20):
        rig.run()
    heard = rig.heard()
    rig.reply(counting(3000, 20000), generation=2, last=True)
    for _ in range(3):
        rig.run()
    report = rig.callback.take_report()
    assert report is not None
    assert (report.cause, [item.heard for item in report.items]) == ("lost flush", [heard])
    assert rig.audible()[heard] == 20000 + 1


def test_a_flush_spares_what_is_out_of_band() -> None:
    rig = Rig(fade=0)
    sound = counting(6000)
    rig.reply(sound, last=True, out_of_band=True)
    for _ in range(8):
        rig.run()
    rig.flush(2)
    rig.finish()
    assert np.array_equal(rig.audible(), sound)
    assert rig.heard() == len(sound)


def test_a_page_that_goes_takes_along_only_what_it_reported() -> None:
    rig = Rig(fade=0)
    sound = counting(12000)
    rig.reply(sound, last=True)
    for _ in range(12):
        rig.run()
    heard = rig.heard()
    rig.deliver()
    rig.player.render()  # played, and never reported
    rig.page.gone = "the page is gone"
    rig.page.on_gone()
    assert rig.device.failure() == "the page is gone"
    assert rig.heard() == heard
    rig.device.stop()
    # A flush while there is no page is applied at once, by the loop.
    rig.page.gone = None
    rig.player = PagePlayer(777)
    rig.sent.clear()
    rig.open()
    rig.finish()
    assert np.array_equal(rig.audible(), sound[heard:])


def test_a_flush_that_comes_when_the_page_is_gone_is_answered_at_once() -> None:
    rig = Rig()
    rig.reply(counting(12000))
    for _ in range(12):
        rig.run()
    heard = rig.heard()
    rig.page.gone = "the page is gone"
    rig.page.on_gone()
    rig.flush(2)
    report = rig.callback.take_report()
    assert report is not None
    assert [item.heard for item in report.items] == [heard]


def test_a_network_that_stutters_is_silence_and_no_more_is_heard() -> None:
    rig = Rig(fade=0)
    sound = counting(12000)
    rig.reply(sound, last=True)
    for _ in range(10):
        rig.run()
    rig.render(30)
    for _ in range(60):
        rig.run()
        assert rig.heard() == len(rig.audible())
    assert np.array_equal(rig.audible(), sound)
    assert rig.device.underflows == 1
    # The published frames are the audio that was played, with the silence, and their positions have
    # no gap.
    published = np.concatenate(rig.published)
    assert np.array_equal(published, rig.player.sound()[-len(published) :])
    lengths = [len(block) for block in rig.published]
    assert rig.positions == [rig.positions[0] + sum(lengths[:n]) for n in range(len(lengths))]


@pytest.mark.parametrize(
    "change", [{"position": 10**6}, {"position": -5}, {"silence": -1}, {"position": float("nan")}]
)
def test_a_page_that_claims_the_impossible_is_no_device(change: dict[str, float]) -> None:
    rig = Rig()
    rig.run()
    rig.run()
    fields: dict[str, Any] = {"position": rig.player.position, "clock_s": 1.0, "silence": 0}
    with pytest.raises(wire.BadPage):
        rig.page.take(wire.encode_report(wire.PageReport(**{**fields, "recall": 1, **change})))


@given(st.lists(st.sampled_from("rrrrrafsn"), max_size=60), st.integers(0, 100))
def test_heard_is_always_the_audio_that_the_page_played(script: str, at: int) -> None:
    """Render, add audio, flush, stutter, or let a newer reply come, in any order."""
    rig = Rig(fade=0, at=at)
    generation, place, reported = 1, 0, {}
    for step in script:
        if step == "r":
            rig.run()
        elif step == "a":
            sound = np.full(700, generation, np.int16)
            rig.reply(sound, generation, start=place)
            place += 700
        elif step == "f":
            generation, place = generation + 1, 0
            rig.flush(generation)
        elif step == "n":
            generation, place = generation + 1, 0
        else:
            rig.deliver()
            rig.render(9)
        while (report := rig.callback.take_report()) is not None:
            reported.update({item.item_id: item.heard for item in report.items})
    for _ in range(6):
        rig.run()
    played = rig.player.sound()
    for item in rig.callback.player.items():
        number = int(item.item_id.removeprefix("item_"))
        count = int((played == number).sum())
        assert item.heard == count, (item, count)
        assert reported.get(item.item_id, item.heard) == item.heard
