"""A page in a browser as microphone and speaker: the page is a stand-in, the stages are real."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from harness import recordings
from shared import messages
from shared.audio import pcm
from shared.audio.browser import wire
from tests.support.page import StandInPage, connecting, rendered
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

STAGES = ("capture", "echo", "vad", "uplink", "downlink", "playback")
#: The truncation may differ from what the page rendered by so many ms.
EXACT_MS = 10
CLIP = pcm.to_array(recordings.clip("long"))


@pytest.fixture(scope="module")
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Yield a conversation in which a page is to be the microphone and the speaker."""
    with Pipeline(kept, UNHELD) as made:
        made.settings |= {
            "capture.device": "browser",
            "playback.device": "browser",
            "interruption.duck": "off",
        }
        made.emulator("--reply", "clip:long", "--burst")
        made.all_up(*STAGES)
        made.up("link")
        made.meet()
        yield made


class Person:
    """A recording in which each sentence is put when it is to be said."""

    def __init__(self) -> None:
        self._recording = np.zeros(300 * pcm.RATE, np.int16)
        self._position = self._until = 0

    def quiet(self) -> bool:
        """Return whether the last sentence ended more than a second ago."""
        return self._position > self._until + pcm.RATE

    def say(self, utterance: int) -> None:
        """Say a sentence from now on."""
        speech = recordings.spoken(utterance)
        begin = self._position + pcm.RATE // 10
        self._until = begin + len(speech)
        self._recording[begin : self._until] = speech

    def __call__(self, begin: int, end: int) -> bytes:
        self._position = end
        return pcm.from_array(self._recording[begin:end])


def test_a_page_is_the_device(pipeline: Pipeline) -> None:
    bus = pipeline.bus
    state = bus.health("playback", lambda h: not h.ok).state
    assert state == "no speaker: no page in a browser is the speaker"
    for token, origin in (("wrong", ""), ("", "https://evil.example")):
        for stage in ("capture", "playback"):
            with (
                pytest.raises(InvalidStatus) as refused,
                connecting(pipeline.bus_directory, stage, token, origin),
            ):
                pass
            assert refused.value.response.status_code == 403

    # A newer page takes over, and the older one is told.
    older = StandInPage(pipeline.bus_directory, "playback")
    bus.health("playback", lambda h: h.ok)
    page = StandInPage(pipeline.bus_directory, "playback", latency_ms=20)
    deadline = time.monotonic() + PATIENCE_S
    while older.code != wire.TAKEN:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    person = Person()
    microphone = StandInPage(pipeline.bus_directory, "capture", person)
    speaking = bus.now
    bus.wait_for(messages.MicFrame)
    person.say(recordings.QUESTION)
    bus.wait_for(messages.Heard, lambda h: h.items and h.items[0].heard > pcm.RATE)
    person.say(recordings.WAIT)
    record = bus.wait_for(messages.Interruption).message
    [cut] = record.reports
    truth_ms = rendered(page.player.sound(), CLIP) / pcm.RATE * 1000
    assert cut.action == "truncate"
    assert cut.audio_end_ms == pytest.approx(truth_ms, abs=EXACT_MS)
    assert record.silent_ns - record.received_ns < 100_000_000

    # The page is reloaded in the middle of the next reply.
    after = bus.now
    first = bus.wait_for(
        messages.Heard,
        lambda h: person.quiet() and h.playing and h.items[-1].heard > pcm.RATE,
        since=after,
    ).message
    item_id = first.items[-1].item_id
    page.close()
    lost = bus.health("playback", lambda h: not h.ok, since=bus.now)
    assert "no page" in lost.state
    [known] = [i for i in bus.all(messages.Heard)[-1].items if i.item_id == item_id]
    played = rendered(page.player.sound(), CLIP)
    assert played - 3 * pcm.FRAME < known.heard <= played, "never more than the page has played"

    again = StandInPage(pipeline.bus_directory, "playback")
    bus.wait_for(
        messages.Heard,
        lambda h: any(i.item_id == item_id and i.heard > known.heard + pcm.RATE for i in h.items),
        since=after,
    )
    person.say(recordings.WAIT)
    second = bus.wait_for(
        messages.Interruption, lambda m: any(r.item_id == item_id for r in m.reports)
    ).message
    [cut] = second.reports
    truth = known.heard + rendered(again.player.sound(), CLIP[known.heard :])
    assert cut.audio_end_ms == pytest.approx(truth / pcm.RATE * 1000, abs=EXACT_MS)
    frames = bus.all(messages.MicFrame, since=speaking)
    assert [f.position for f in frames] == [pcm.FRAME * n for n in range(len(frames))]
    assert bus.health("playback", lambda h: h.ok).counters["underruns"] == 0
    again.close()
    microphone.close()
