"""A neighbour that has stopped, or that floods, costs a stage neither time nor much memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import bus, messages, registry
from tests.support.pipeline import PATIENCE_S, ROOT, UNHELD, Child, Keeper, Pipeline
from tests.support.readers import attend, join

pytestmark = pytest.mark.process

AUDIO = messages.ReplyAudio(
    generation=1,
    session=1,
    response_id="r",
    item_id="i",
    content_index=0,
    start=0,
    payload=bytes(messages.MAX_AUDIO),
)


def resident() -> int:
    """Return the resident memory of this process, bytes."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    ps = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    return int(subprocess.check_output(ps)) * 1024


@pytest.fixture
def pipeline(kept: Keeper) -> Iterator[Pipeline]:
    """Return a bus on which the tests' own listener reads no audio."""
    with Pipeline(kept, UNHELD) as made:
        yield made


TAKER = """
import sys
from pathlib import Path
from shared import bus, registry
from shared.poller import Poller
poller = Poller()
reader = bus.Subscriber([registry.BY_NAME["reply.audio"]], Path(sys.argv[1]))
for socket in reader.sockets:
    poller.watch(socket)
while True:
    poller.wait(1)
    while reader.receive() is not None:
        pass
"""


@pytest.fixture(name="reader")
def _reader(pipeline: Pipeline) -> Child:
    """Return a process that reads all the audio."""
    child = pipeline.run(sys.executable, "-c", TAKER, str(pipeline.bus_directory))
    child.codes = {-signal.SIGTERM}
    return child


def test_a_reader_that_stops_costs_its_publisher_no_time_and_a_bounded_memory(
    pipeline: Pipeline, reader: Child
) -> None:
    publisher = bus.Publisher("downlink", pipeline.bus_directory)
    try:
        join(publisher, "reply.audio")
        reader.send(signal.SIGSTOP)
        before = resident()
        took: list[float] = []
        room = registry.Queue.LOSSLESS.value
        for _ in range(4):
            begun = time.monotonic()
            for _ in range(room // 2):
                publisher.publish(AUDIO)
            took.append(time.monotonic() - begun)
        grown = resident() - before
        # The queue holds what the registry and the limit of a message allow, not everything.
        most = room * (messages.MAX_AUDIO + 2048)
        assert grown < most < 2 * room * messages.MAX_AUDIO * 0.9
        # Publishing to a full queue costs less than filling it.
        assert min(took[2:]) < 3 * max(took[:2])
        # Once the process is gone, the kernel reports it, and libzmq frees the queue.
        reader.process.kill()
        gone = "a reader that is gone is still waited for"
        attend(publisher, lambda: "reply.audio" not in publisher.subscribed, gone)
        reader.codes = {-signal.SIGKILL}
    finally:
        publisher.close()


READER = """
import sys
from pathlib import Path
from shared import bus, registry
from shared.poller import Poller
poller = Poller()
reader = bus.Subscriber([registry.BY_NAME["reply.audio"]], Path(sys.argv[1]))
for socket in reader.sockets:
    poller.watch(socket)
while reader.receive(poller.wait(1)) is None:
    pass
print("reading", flush=True)
sys.stdin.readline()
while reader.receive() is not None:
    pass
print("still here", flush=True)
"""


def test_a_reader_that_does_not_read_outlives_its_publisher(pipeline: Pipeline) -> None:
    publisher = bus.Publisher("downlink", pipeline.bus_directory)
    command = [sys.executable, "-c", READER, str(pipeline.bus_directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        try:
            join(publisher, "reply.audio")
            # More than the reader buffers itself, so that it stops reading from the socket as well.
            for _ in range(4 * bus.AHEAD):
                publisher.publish(AUDIO)
            assert reader.stdout.readline() == "reading\n"
        finally:
            publisher.close()
        # A heartbeat of ZeroMQ, which used to end the reader, would be due now.
        with pytest.raises(subprocess.TimeoutExpired):
            reader.wait(1)
        reader.stdin.write("\n")
        reader.stdin.close()
        assert reader.stdout.readline() == "still here\n"
        assert reader.wait(PATIENCE_S) == 0
