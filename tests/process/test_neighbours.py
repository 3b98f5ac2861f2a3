"""A neighbour that has stopped, or floods: it costs a stage neither its time nor its memory."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import bus, topics
from shared import messages as m
from tests.process.pipeline import PATIENCE_S, UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

AUDIO = m.ReplyAudio(
    generation=1,
    session=1,
    response_id="r",
    item_id="i",
    content_index=0,
    start=0,
    payload=bytes(m.MAX_AUDIO),
)


def resident() -> int:
    """Give how much memory this process has, bytes."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    ps = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    return int(subprocess.check_output(ps)) * 1024


def join(publisher: bus.Publisher, topic: str) -> None:
    """Wait for a reader of a topic."""
    poller = bus.Poller()
    for socket in publisher.sockets:
        poller.watch(socket)
    end = time.monotonic() + PATIENCE_S
    while topic not in publisher.read:
        assert time.monotonic() < end, f"nobody reads {topic}"
        publisher.welcome()
        poller.wait(0.1)


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Give a bus on which the tests' own listener reads no audio."""
    with Pipeline(kept, UNHELD) as made:
        yield made


@pytest.fixture(name="reader")
def _reader(pipeline: Pipeline) -> Child:
    """Give a reader of all the audio."""
    line = ("hz", "reply.audio", "--seconds", "60", *pipeline.options({}))
    child = pipeline.python("shared.tap", *line)
    child.codes = {-signal.SIGTERM}
    return child


def test_a_reader_that_stops_costs_its_publisher_no_time_and_a_bounded_memory(
    pipeline: Pipeline, reader: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "BEAT_MS", 200)
    monkeypatch.setattr(bus, "GONE_MS", 2000)
    publisher = bus.Publisher("downlink", pipeline.bus_directory)
    try:
        join(publisher, "reply.audio")
        reader.send(signal.SIGSTOP)
        before = resident()
        took: list[float] = []
        room = topics.Queue.KEPT.value
        for _ in range(4):
            begun = time.monotonic()
            for _ in range(room // 2):
                publisher.publish(AUDIO)
            took.append(time.monotonic() - begun)
        grown = resident() - before
        # as much as the registry and the limit of a message say, and not all that was published
        most = room * (m.MAX_AUDIO + 2048)
        assert grown < most < 2 * room * m.MAX_AUDIO * 0.9
        # a queue that is full costs less than one that is filled
        assert min(took[2:]) < 3 * max(took[:2])
        # and before long it is given up, and its queue with it
        poller = bus.Poller()
        for socket in publisher.sockets:
            poller.watch(socket)
        end = time.monotonic() + PATIENCE_S
        while "reply.audio" in publisher.read:
            assert time.monotonic() < end, "a reader that is stopped is still waited for"
            poller.wait(0.1)
            publisher.welcome()
        # one that goes on is back by itself
        reader.send(signal.SIGCONT)
        join(publisher, "reply.audio")
    finally:
        publisher.close()
