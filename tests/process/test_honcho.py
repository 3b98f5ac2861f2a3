"""The Procfile under honcho: which stages have the key, the tap, and a replaced stage."""

from __future__ import annotations

import json
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness import recordings
from shared import messages, registry
from shared.audio import pcm
from tests.support import servers
from tests.support.pipeline import PATIENCE_S, Child, Keeper, Pipeline, environment_of
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process

KEY = "sk-test-SECRET0123456789abcdef"


def honcho(pipeline: Pipeline, *stages: str, **env: str) -> Child:
    """Start all stages of the Procfile, or only those named."""
    child = pipeline.run(
        *(sys.executable, "-u", "-m", "honcho.command", "start"),
        # no .env: a person may have one in the checkout
        *("-e", "/dev/null", "-f", "Procfile", *stages),
        env={**pipeline.environment({}), **env},
    )
    child.codes = {128 + signal.SIGTERM}
    return child


def stopped(child: Child) -> dict[str, int]:
    """Return the exit codes that honcho has reported, by stage."""
    found = re.findall(r"(\w+)\.1 stopped \(rc=(-?\d+)\)", child.output)
    return {stage: int(code) for stage, code in found}


# The key.


def echo_key(connection: Connection, met: threading.Event) -> None:
    """Send the key back in every text that a server can send, as soon as downlink reads."""
    servers.begin(connection)
    met.wait(PATIENCE_S)
    error = {"type": "invalid_request_error", "message": f"Incorrect API key provided: {KEY}."}
    connection.send("error", error={**error, "code": KEY, "param": KEY, "event_id": KEY})
    connection.send("error", error={**error, "code": "server_error", "param": None})
    connection.send(KEY)
    connection.send("response.output_text.done", item_id="i", response_id="r", text=KEY)
    response = {"id": "r", "status": "failed", "status_details": {"type": "failed", "error": error}}
    connection.send("response.done", response=response)
    connection.frame(servers.TEXT, f'{{"type": "{KEY}", '.encode())
    connection.frame(servers.BINARY, KEY.encode())
    connection.close(1011, f"no more of {KEY}")


@dataclass
class Started:
    """The stages of the Procfile, with a key, and a server that has sent the key back."""

    pipeline: Pipeline
    honcho: Child
    server: Server


@pytest.fixture(scope="module")
def started(kept: Keeper) -> Iterator[Started]:
    """Start the Procfile; wait until the server sent the key back and every stage is well again."""
    met = threading.Event()
    scripts = [
        servers.refuse("503 Busy", body=f"not now, {KEY}"),
        lambda connection: echo_key(connection, met),
        servers.serve,
    ]
    with Server(scripts) as server, Pipeline(kept) as pipeline:
        pipeline.settings["link.url"] = server.url
        child = honcho(pipeline, OPENAI_API_KEY=KEY)
        pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session)
        met.set()
        server.wait(3)
        for stage in registry.STAGES:
            pipeline.bus.health(stage, lambda h: h.ok, since=pipeline.bus.now)
        yield Started(pipeline, child, server)


def test_only_link_has_the_key_in_its_environment(started: Started) -> None:
    assert started.server.connections[0].headers["authorization"] == f"Bearer {KEY}"
    for stage in (*registry.STAGES, *registry.OPTIONAL):
        environment = environment_of(started.pipeline.bus.health(stage).pid)
        assert "BARGEIN_LINK__URL=" in environment
        assert (KEY in environment) == (stage == "link")


def test_nothing_that_is_logged_or_said_on_the_bus_shows_the_key(started: Started) -> None:
    # The rest of each text is shown.
    started.honcho.wait_line("the server says .*Incorrect API key provided: ")
    started.honcho.wait_line(r"closed by the server \(1011 no more of \*\*\*\*\)")
    assert [t.text for t in started.pipeline.bus.all(messages.Transcript)] == ["****"]
    assert len(started.pipeline.bus.all(messages.ServerEvent)) >= 7
    for delivery in started.pipeline.bus.heard:
        assert KEY not in repr(delivery)
    for line in started.honcho.lines:
        assert KEY not in line


# The tap.


def look(started: Started, *arguments: str) -> Child:
    """Run ``bargein tap`` on the bus."""
    directory = f"--set=bus.directory={started.pipeline.bus_directory}"
    return started.pipeline.python("commands", "tap", *arguments, directory)


def test_the_looks_at_a_running_bus_disturb_nothing(started: Started) -> None:
    listener = started.pipeline.bus
    now = listener.now
    seconds = ("--seconds", "1.2")
    looks = {
        name: look(started, *name.split(), *seconds)
        for name in ("list", "hz", "bw", "delay", "health", "echo mic.frame link.state")
    }
    for name, child in looks.items():
        assert child.wait() == 0, (name, child.output)
    rows = {line.split()[0]: line.split() for line in looks["list"].lines[1:]}
    assert list(rows) == [topic.name for topic in registry.TOPICS]
    assert rows["control"][-1] == "-"
    rates = {line.split()[0]: float(line.split()[1]) for line in looks["hz"].lines}
    for topic in ("mic.frame", "client.event", "speaker.frame"):
        assert 0.8 < rates[topic] / registry.BY_NAME[topic].rate_hz < 1.2
        assert rows[topic][-1] == "Hz"
    bandwidth = {line.split()[0]: float(line.split()[1]) for line in looks["bw"].lines}
    assert bandwidth["mic.frame"] == pytest.approx(pcm.RATE * pcm.SAMPLE_BYTES / 1000, rel=0.2)
    delays = [re.findall(r"([\d.]+) ms", line) for line in looks["delay"].lines]
    assert all(float(middle) <= float(worst) for middle, worst in delays)
    for stage in registry.STAGES:
        pid = listener.health(stage).pid
        assert looks["health"].matching(rf"^{stage} +ok +pid {pid} ")
    assert looks["health"].matching("^recorder +not running")
    for topic in ("mic.frame", "mic.clean", "speaker.frame", "client.event"):
        assert looks["health"].matching(rf"^ +reads {topic} +\d+(\.\d Hz| messages)")
    assert looks["health"].matching("SILENT") == []
    echoed = [json.loads(line) for line in looks["echo mic.frame link.state"].lines]
    assert {message["topic"] for message in echoed} == {"mic.frame", "link.state"}
    frame = next(message for message in echoed if message["topic"] == "mic.frame")
    assert (frame["audio_ms"], frame["dbfs"]) == (20, -100)
    # The tap had no effect on the conversation.
    frames = [d for d in listener.heard[now:] if isinstance(d.message, messages.MicFrame)]
    assert frames[-1].stamp.seq - frames[0].stamp.seq == len(frames) - 1
    for stage in registry.STAGES:
        assert not listener.health(stage, since=now).counters.get("lost_messages")
    assert len({s.session for s in listener.all(messages.LinkState, since=now)}) == 1


def test_a_look_ends_with_ctrl_c(started: Started) -> None:
    child = look(started, "echo", "mic.frame")
    child.wait_line("mic.frame")
    assert child.end(signal.SIGINT) == 0
    assert all(line.startswith("{") for line in child.lines)


def test_tap_says_what_is_missing(started: Started) -> None:
    unknown, where = look(started, "echo", "mic.frames"), look(started, "echo")
    empty = started.pipeline.python("commands", "tap", "hz", "--set=bus.directory=/nowhere/bus")
    for child, code, told in (
        (unknown, 2, "no topic mic.frames; the topics are mic.frame "),
        (where, 2, "echo needs a topic; the topics are "),
        (empty, 1, "nothing has run on /nowhere/bus yet"),
    ):
        assert child.wait() == code
        [line] = child.lines
        assert told in line


# This test ends the stages that the tests above share.
def test_ctrl_c_ends_them_all_with_zero(started: Started) -> None:
    assert started.honcho.end(signal.SIGINT) == 128 + signal.SIGINT
    assert stopped(started.honcho) == dict.fromkeys((*registry.STAGES, *registry.OPTIONAL), 0)


def test_a_missing_key_is_one_line_and_ends_all(pipeline: Pipeline) -> None:
    child = honcho(pipeline, BARGEIN_LINK__URL="wss://api.openai.com/v1/realtime")
    assert child.wait() == 1
    assert len(child.matching("no API key: set OPENAI_API_KEY, or link.key_file")) == 1
    codes = stopped(child)
    assert codes.pop("link") == 1
    # A stage that had not yet set its signal handler was ended by SIGTERM itself.
    assert set(codes.values()) <= {0, -signal.SIGTERM}
    assert child.matching("Traceback") == []


# A stage is replaced by another program.

DROP_IN = """
    # A microphone that uses ZeroMQ and msgpack only, and no code of Bargein.
    import sys, time
    import msgpack, zmq

    socket = zmq.Context().socket(zmq.PUB)
    socket.bind(f"ipc://{sys.argv[1]}/capture.ipc")
    epoch = time.time_ns() // 1000
    seq = 0

    def publish(topic, payload=b"", **fields):
        header = {"v": 3, "seq": seq, "epoch": epoch, "t": time.monotonic_ns(), **fields}
        socket.send_multipart([topic, msgpack.packb(header), payload])

    while True:
        now = time.monotonic_ns()
        frame = {"stream": epoch, "position": seq * 480, "captured_ns": now, "overflows": 0}
        publish(b"mic.frame", (7).to_bytes(2, "little") * 480, **frame)
        publish(b"capture.health", pid=4242, ok=True, state="a drop-in", counters={})
        seq += 1
        time.sleep(0.02)  # the length of a frame
"""


def test_a_stage_of_ones_own_takes_the_place_of_another(pipeline: Pipeline) -> None:
    with Server(servers.serve) as server:
        pipeline.settings["link.url"] = server.url
        # Its sound is a constant, which the canceller would remove as hum.
        pipeline.settings["echo.enabled"] = False
        others = [stage for stage in registry.STAGES if stage != "capture"]
        child = honcho(pipeline, *others)
        connection = server.wait()
        own = pipeline.run(
            sys.executable, "-c", textwrap.dedent(DROP_IN), str(pipeline.bus_directory)
        )
        first = connection.wait("input_audio_buffer.append")
        assert recordings.appended(first.event) == [7] * pcm.FRAME
        assert pipeline.bus.health("capture", lambda h: h.pid == 4242).state == "a drop-in"
        # Bargein's own capture takes its place again.
        own.process.kill()
        own.wait()
        pipeline.up("capture")
        heard = len(connection.of("input_audio_buffer.append"))
        later = connection.wait("input_audio_buffer.append", heard + 3)
        assert recordings.appended(later.event) == [0] * pcm.FRAME
        assert child.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert stopped(child) == dict.fromkeys(others, 0)
