"""Playback of a reply of three and a half minutes that the server sends in one burst."""

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
    """Give a bus on which the tests take nothing away from a stage that is starting."""
    with Pipeline(kept, UNHELD) as made:
        yield made


def test_a_long_reply_in_one_burst_is_kept_whole_and_played_in_time(pipeline: Pipeline) -> None:
    pipeline.settings["session.greeting"] = "Tell a long story."
    pipeline.emulator("--reply", "clip:long", "--burst")
    children = pipeline.all_up("uplink", "downlink", "playback")
    # playback is not there to read while it comes
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
    # heard grows as time does, and what is played is the beginning, gapless
    took_s = (later.stamp.t - first.stamp.t) / 1e9
    assert (played.heard - item.heard) / pcm.RATE == pytest.approx(took_s, rel=0.1)
    speaker = recordings.stream(pipeline.bus.all(messages.SpeakerFrame))
    recordings.place(recordings.clip("long", PLAYED_S), speaker)
    counters = pipeline.bus.health("playback", since=pipeline.bus.now).counters
    assert [counters[n] for n in ("underruns", "stale_samples", "gap_samples")] == [0, 0, 0]
    for name in ("downlink", "playback"):
        assert not children[name].matching("lost")


def test_a_lost_connection_is_told_by_two_tones_and_so_is_its_return(pipeline: Pipeline) -> None:
    with contextlib.closing(bus.Publisher("link", pipeline.bus_directory)) as publisher:
        tell_of_the_link(pipeline, publisher)
    assert not any(heard.items or heard.playing for heard in pipeline.bus.all(messages.Heard))


def tell_of_the_link(pipeline: Pipeline, publisher: bus.Publisher) -> None:
    """Say in link's name that the connection is lost and back, and listen for the tones."""
    poller = Poller()
    for each in publisher.sockets:
        poller.watch(each)
    pipeline.up("playback", {"playback.cues": True})
    # playback, and the tests' own listener
    wanted = 2
    while wanted:
        assert poller.wait(PATIENCE_S), "playback does not listen to link"
        wanted -= publisher.welcome().count("link.state")

    def told(state: Literal["open", "waiting"], tone: bytes, since: int) -> None:
        """Say what link says, and wait until the tone was given to the device."""
        publisher.publish(messages.LinkState(state=state, session=1))
        pipeline.bus.wait_for(messages.SpeakerFrame, lambda f: any(f.payload), since=since)
        loud = pipeline.bus.now
        pipeline.bus.wait_for(messages.SpeakerFrame, lambda f: not any(f.payload), since=loud)
        frames = pipeline.bus.all(messages.SpeakerFrame, since=since)
        # a tone begins and ends with nothing
        recordings.place(tone.strip(b"\0"), recordings.stream(frames))

    publisher.publish(messages.LinkState(state="open", session=1))
    told("waiting", cues.LOST, pipeline.bus.now)
    told("open", cues.BACK, pipeline.bus.now)
