"""The playback stage with a made-up device and bus: a speaker that is unplugged, or stopped."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import pytest

from services.playback.__main__ import Playback
from shared import messages
from shared.audio import devices, pcm
from shared.audio.device import DeviceError, Render
from shared.stage import Stage
from tests.support.standin import StageStandIn

pytestmark = pytest.mark.unit


class Speaker:
    """A device that asks for samples, and fails, when the test says so."""

    description, rate, latency_ns, underflows = "a speaker", pcm.RATE, 0, 0

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.stopped = False

    def start(self, render: Render) -> None:
        self._render = render

    def ask(self, samples: int) -> bytes:
        return self._render(samples, time.monotonic_ns())

    def stop(self) -> None:
        self.stopped = True

    def failure(self) -> str | None:
        return self.trouble

    def warning(self) -> str | None:
        return None


def speech(samples: int) -> bytes:
    wave = np.sin(np.arange(samples) / 9) * 9000
    return pcm.from_array(wave.astype(np.int16))


@pytest.fixture
def speakers(monkeypatch: pytest.MonkeyPatch) -> list[Speaker | None]:
    """The devices that were opened. A None in front: the next attempt finds no device."""
    opened: list[Speaker | None] = []

    def open_output(_spec: str, _page: object) -> Speaker:
        if opened and opened[0] is None:
            opened.pop(0)
            raise DeviceError("no speaker")
        opened.append(Speaker())
        return cast("Speaker", opened[-1])

    monkeypatch.setattr(devices, "open_output", open_output)
    return opened


def reply(payload: bytes) -> messages.ReplyAudio:
    """Return a whole reply in one chunk."""
    return messages.ReplyAudio(
        generation=7,
        session=1,
        response_id="resp",
        item_id="item",
        content_index=0,
        start=0,
        last=True,
        payload=payload,
    )


@pytest.mark.parametrize("missing", [False, True])
def test_heard_stays_exact_when_the_speaker_changes(
    speakers: list[Speaker | None], missing: bool
) -> None:
    bus = StageStandIn()
    Playback(cast("Stage", bus))
    first = speakers[0]
    assert first is not None
    said = speech(pcm.RATE // 5)
    bus.deliver(reply(said))
    heard = first.ask(1000)
    first.trouble = "unplugged"
    if missing:
        speakers.insert(0, None)
    bus.tick()
    assert first.stopped
    if missing:
        assert not bus.ok, "health must say that there is no speaker"
        bus.pass_time()
    second = speakers[-1]
    assert second is not None
    assert second is not first
    assert bus.ok
    heard += second.ask(1500)
    bus.deliver(
        messages.Flush(
            generation=8,
            session=1,
            cause="speech_started",
            event_ns=1,
            received=[],
            interrupted=["resp"],
            active=[],
        )
    )
    heard += second.ask(1000)
    bus.tick()
    (flush_report,) = (x for x in bus.published if isinstance(x, messages.FlushReport))
    fade = pcm.ms_to_samples(bus.config.playback.fade_ms)
    assert [(i.heard, i.received) for i in flush_report.items] == [(2500 + fade, pcm.RATE // 5)]
    assert heard[: 2500 * 2] == said[: 2500 * 2], (
        "the second speaker must go on at the sample where the first one stopped"
    )
    assert not any(heard[(2500 + fade) * 2 :])


def test_a_reply_that_comes_before_there_is_a_speaker_waits_for_one(
    speakers: list[Speaker | None],
) -> None:
    speakers.append(None)
    bus = StageStandIn()
    Playback(cast("Stage", bus))
    said = speech(1000)
    bus.deliver(reply(said))
    # otherwise downlink would take the reply for abandoned
    last = [each for each in bus.published if isinstance(each, messages.Heard)][-1]
    assert last.playing
    assert [(item.heard, item.received) for item in last.items] == [(0, 1000)]
    bus.pass_time()
    speaker = speakers[-1]
    assert speaker is not None
    assert speaker.ask(1000) == said


def test_audio_that_waits_for_a_stalled_speaker_counts_as_playing(
    speakers: list[Speaker | None],
) -> None:
    bus = StageStandIn()
    Playback(cast("Stage", bus))
    speaker = speakers[0]
    assert speaker is not None

    def heard() -> list[messages.Heard]:
        return [each for each in bus.published if isinstance(each, messages.Heard)]

    # a playback that starts publishes that the queue of the process before is gone
    assert heard() == [messages.Heard(generation=0, session=0, playing=False, items=[])]
    bus.deliver(reply(speech(1000)))
    bus.tick()
    assert [each.playing for each in heard()] == [False, True]
    speaker.ask(1000)
    speaker.ask(1000)
    bus.tick()
    assert not heard()[-1].playing
    assert heard()[-1].items[0].whole
