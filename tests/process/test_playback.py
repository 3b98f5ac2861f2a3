"""Playback as a process: a reply of three and a half minutes in one burst, and the two tones."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Literal

import pytest

from harness import recordings
from services.playback import cues
from shared import bus, messages
from shared.audio import pcm
from shared.poller import Poller
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

PLAYED_S = 2


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Yield a bus on which the tests only observe, so that a stage that starts misses nothing."""
    with Pipeline(kept, UNHELD) as made:
        yield made


def test_a_long_reply_in_one_burst_is_kept_whole_and_played_in_time(pipeline: Pipeline) -> None:
    pipeline.settings["session.greeting"] = "Tell a long story."
    pipeline.emulator("--reply", "clip:long", "--burst")
    children = pipeline.all_up("uplink", "downlink", "playback")
    # playback does not run while the reply comes
    children["playback"].send(signal.SIGSTOP)
    pipeline.up("link")
    pipeline.bus.wait_for(messages.ReplyState, lambda state: state.items and state.items[0].done)
    children["playback"].send(signal.SIGCONT)
    said = recordings.INDEX["clips"]["long"]["samples"]
    assert said > 200 * pcm.RATE

    def all_there(heard: messages.Heard) -> bool:
        return any(item.done for item in heard.items)

    first = pipeline.bus.wait_for(messages.Heard, all_there)
    [item] = first.message.items
    assert item.received == said
    later = pipeline.bus.wait_for(
        messages.Heard, lambda h: h.items and h.items[0].heard > item.heard + PLAYED_S * pcm.RATE
    )
    played = later.message.items[0]
    assert (played.received, played.done, later.message.playing) == (said, True, True)
    # heard grows as fast as time, and the beginning of the reply is played without a gap
    took_s = (later.stamp.t - first.stamp.t) / 1e9
    assert (played.heard - item.heard) / pcm.RATE == pytest.approx(took_s, rel=0.1)
    speaker = recordings.stream(pipeline.bus.all(messages.SpeakerFrame))
    recordings.place(recordings.clip("long", PLAYED_S), speaker)
    counters = pipeline.bus.health("playback", since=pipeline.bus.now).counters
    assert [counters[n] for n in ("underruns", "stale_samples", "gap_samples")] == [0, 0, 0]
    for name in ("downlink", "playback"):
        assert not children[name].matching("lost")


def test_two_tones_announce_a_lost_connection_and_two_its_return(pipeline: Pipeline) -> None:
    with contextlib.closing(bus.Publisher("link", pipeline.bus_directory)) as publisher:
        lose_and_regain_the_connection(pipeline, publisher)
    assert not any(heard.items or heard.playing for heard in pipeline.bus.all(messages.Heard))


def lose_and_regain_the_connection(pipeline: Pipeline, publisher: bus.Publisher) -> None:
    """Publish as link that the connection is lost, then open again. Look for the tones."""
    poller = Poller()
    for each in publisher.sockets:
        poller.watch(each)
    pipeline.up("playback", {"playback.cues": True})
    # two subscribers: playback, and the test's own reader
    wanted = 2
    while wanted:
        assert poller.wait(PATIENCE_S), "playback does not listen to link"
        wanted -= publisher.welcome().count("link.state")

    def told(state: Literal["open", "waiting"], tone: bytes, since: int) -> None:
        """Publish link's state, and wait until the device was given the tone."""
        publisher.publish(messages.LinkState(state=state, session=1))
        pipeline.bus.wait_for(messages.SpeakerFrame, lambda f: any(f.payload), since=since)
        loud = pipeline.bus.now
        pipeline.bus.wait_for(messages.SpeakerFrame, lambda f: not any(f.payload), since=loud)
        frames = pipeline.bus.all(messages.SpeakerFrame, since=since)
        # a tone begins and ends with samples of zero, which cannot be told from silence
        recordings.place(tone.strip(b"\0"), recordings.stream(frames))

    publisher.publish(messages.LinkState(state="open", session=1))
    told("waiting", cues.LOST, pipeline.bus.now)
    told("open", cues.BACK, pipeline.bus.now)
