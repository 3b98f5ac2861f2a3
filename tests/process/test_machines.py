"""A conversation over two machines, which nobody else can hear.

If the system allows it, the second machine is a network of its own (Linux namespaces, iproute2)
with a clock of its own; elsewhere it is another address of this one.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import zmq

from harness import recordings
from shared import bus, messages, network, registry
from shared.audio import pcm
from tests.support.pipeline import PATIENCE_S, UNHELD, Child, Keeper, Pipeline

pytestmark = pytest.mark.process

#: The other machine was started this much earlier than ours, s.
AHEAD_S = 1_000_000


@dataclass
class Machines:
    """The addresses of two machines, and the command prefix that runs a program on the person's."""

    desk: str
    server: str
    on_desk: list[str] = field(default_factory=list)


def _can(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def one_machine() -> Machines:
    """Use another address of this machine as the second machine."""
    return Machines("127.0.0.2" if sys.platform == "linux" else "127.0.0.1", "127.0.0.1")


def two_machines(pipeline: Pipeline) -> Machines:
    """Make a second machine that exists as long as the pipeline."""
    if not (_can("ip", "-V") and _can("unshare", "-n", "true")):
        return one_machine()
    holder = pipeline.run("unshare", "-n", "sh", "-c", "echo up; exec sleep 600")
    holder.codes = {-15}
    holder.wait_line("up")
    # 198.18.0.0/15 is reserved for benchmarks (RFC 2544) and never routed
    number = os.getpid() % 16384 * 4
    base = f"198.{18 + number // 65536}.{number // 256 % 256}"
    ours, theirs = f"{base}.{number % 256 + 1}", f"{base}.{number % 256 + 2}"
    inside = ["nsenter", "-t", str(holder.pid), "-n"]
    cable = f"bargein{os.getpid()}"[:15]
    for command in (
        ["ip", "link", "add", cable, "type", "veth", "peer", "desk", "netns", str(holder.pid)],
        ["ip", "addr", "add", f"{ours}/30", "dev", cable],
        ["ip", "link", "set", cable, "up"],
        [*inside, "ip", "addr", "add", f"{theirs}/30", "dev", "desk"],
        [*inside, "ip", "link", "set", "desk", "up"],
        [*inside, "ip", "link", "set", "lo", "up"],
    ):
        if not _can(*command):
            return one_machine()
    clock = ["unshare", "-T", "--monotonic", str(AHEAD_S)]
    read = "import time; print(time.monotonic())"
    # Linux before 6.6 applies the offset only to the children of that process.
    ahead = _can(*clock, "true") and (
        float(subprocess.check_output([*clock, sys.executable, "-c", read])) > AHEAD_S
    )
    return Machines(theirs, ours, [*inside, *(clock if ahead else [])])


@dataclass
class Held:
    """A conversation over two machines up to its first interruption."""

    pipeline: Pipeline
    machines: Machines
    key: bytes
    stages: dict[str, Child]
    flush_report: messages.FlushReport
    record: messages.Interruption


@pytest.fixture(name="held", scope="module")
def _held(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    directory = tmp_path_factory.mktemp("machines")
    with Pipeline(kept) as host:
        machines = two_machines(host)
        lines = [
            f"tcp://{machines.desk}:27300 capture echo vad playback",
            f"tcp://{machines.server}:27310 uplink link downlink",
        ]
        here, there = directory / "here.key", directory / "there.key"
        network.make_key(here)
        shutil.copy(here, there)
        net = network.Network(network.parse(lines), network.read_key(here))
        with Pipeline(kept, UNHELD, net) as pipeline:
            pipeline.settings |= {
                "bus.machines": lines,
                "bus.key_file": here,
                # The person speaks before echo could learn the room.
                "echo.enabled": False,
                "session.greeting": "Greet the person.",
                "session.turn_detection.silence_duration_ms": 300,
                "capture.device": recordings.microphone(
                    directory / "person.wav", [(0.3, recordings.QUESTION)], 4
                ),
                "playback.device": f"file:{directory / 'speaker.wav'}",
            }

            def desk(stage: str) -> Child:
                settings = {"bus.directory": host.bus_directory, "bus.key_file": there}
                python = [sys.executable, "-u", "-m", f"services.{stage}"]
                return pipeline.run(*machines.on_desk, *python, *pipeline.options(settings))

            pipeline.emulator("--pace", "8")
            stages = pipeline.all_up("uplink", "downlink")
            for stage in ("playback", "echo", "vad"):
                stages[stage] = desk(stage)
                pipeline.bus.health(stage)
            stages["link"] = pipeline.stage("link")
            pipeline.meet()
            pipeline.bus.wait_for(
                messages.Heard, lambda h: h.items and h.items[-1].heard > pcm.RATE // 2
            )
            stages["capture"] = desk("capture")
            flush_report = pipeline.bus.wait_for(messages.FlushReport, lambda s: s.items).message
            record = pipeline.bus.wait_for(messages.Interruption).message
            yield Held(pipeline, machines, net.key, stages, flush_report, record)


def test_the_server_is_told_of_an_interruption_as_on_one_machine(held: Held) -> None:
    [report] = held.record.reports
    assert report.action == "truncate"
    assert report.audio_end_ms == report.heard_ms > 500
    uplink = held.pipeline.bus.health("uplink", lambda h: h.counters.get("frames_sent"))
    assert not uplink.counters.get("frames_late")
    assert not uplink.counters.get("unanswered_flushes")


def test_times_of_the_other_machine_are_times_here(held: Held) -> None:
    record, now = held.record, time.monotonic_ns()
    # The order is right to within the time that a message takes.
    hops = [record.event_ns, record.flush_ns, record.received_ns, record.silent_ns, now]
    assert all(later - earlier > -50_000_000 for earlier, later in itertools.pairwise(hops))
    assert now - record.event_ns < PATIENCE_S * 1e9
    speaker = held.pipeline.bus.all(messages.SpeakerFrame)[-1]
    assert abs(speaker.played_ns - now) < PATIENCE_S * 1e9


def test_nobody_else_hears_any_of_it(held: Held) -> None:
    public, secret = zmq.curve_keypair()
    ours = zmq.curve_public(held.key)
    address = network.parse([f"tcp://{held.machines.server}:27310 uplink link downlink"])["link"]
    begun = held.pipeline.bus.now
    strangers: list[zmq.Socket[bytes]] = []
    # a peer without a key, one with a key of its own, and one that knows the bus's public key
    for keys in ((), (public, secret, public), (public, secret, ours)):
        stranger: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.setsockopt(zmq.SUBSCRIBE, b"")
        if keys:
            stranger.setsockopt(zmq.CURVE_PUBLICKEY, keys[0])
            stranger.setsockopt(zmq.CURVE_SECRETKEY, keys[1])
            stranger.setsockopt(zmq.CURVE_SERVERKEY, keys[2])
        stranger.connect(address)
        strangers.append(stranger)
    friend = bus.Subscriber(
        [registry.health("link")],
        held.pipeline.bus_directory,
        network.Network({"link": address}, held.key),
    )
    try:
        # Each was refused and reported: three heartbeats later it has received nothing.
        held.pipeline.bus.health("link", lambda h: h.counters.get("strangers"), since=begun)
        for _ in range(3):
            assert friend.sockets[0].poll(round(PATIENCE_S * 1000))
            assert friend.receive() is not None
        assert [stranger.poll(0) for stranger in strangers] == [0, 0, 0]
    finally:
        friend.close()
        for stranger in strangers:
            stranger.close()
    held.stages["link"].wait_line("a peer with another key tried to connect and was refused")


def test_they_are_looked_at_from_either(held: Held) -> None:
    options = held.pipeline.options({})
    looks = [
        held.pipeline.run(*place, sys.executable, "-m", "commands.tap", "health", *options)
        for place in (held.machines.on_desk, [])
    ]
    for look in looks:
        assert look.wait() == 0, look.output
        assert len(look.matching(r"^\w+ +ok ")) == len(registry.STAGES)


def test_without_the_key_nothing_starts(held: Held) -> None:
    lines = [f"tcp://{held.machines.server}:27320 capture"]
    settings = {"bus.machines": lines, "bus.directory": held.pipeline.directory / "third"}
    missing = held.pipeline.directory / "none.key"
    bare = held.pipeline.stage("capture", settings={**settings, "bus.key_file": ""})
    without = held.pipeline.stage("capture", settings={**settings, "bus.key_file": missing})
    opened = held.pipeline.directory / "open.key"
    network.make_key(opened)
    opened.chmod(0o640)
    shown = held.pipeline.stage("capture", settings={**settings, "bus.key_file": opened})
    told = {
        # The name is not shown: it could be the key itself.
        without: "bus.key_file: there is no such file: make one with 'bargein keys'",
        shown: f"bus.key_file {opened}: others can read it (mode 0640): run 'chmod 600 {opened}'",
    }
    if held.machines.on_desk:
        told[bare] = "would let anyone on the network listen in: make a key with"
    else:
        bare.wait_line("publishes on tcp://")
        bare.end()
    for child, line in told.items():
        assert child.wait() == 2
        assert len(child.lines) == 1
        assert line in child.lines[0]
