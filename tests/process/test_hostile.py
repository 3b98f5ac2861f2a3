"""What a stage does with what is no message, or one that cannot be true: it lives on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import msgpack
import msgspec
import pytest

from shared import bus, topics
from shared import messages as m
from shared.audio import pcm
from tests.process.pipeline import PATIENCE_S, Pipeline

pytestmark = pytest.mark.process

LARGEST = 2**63 - 1


class Forger:
    """Takes the place of a stage that is not running, and publishes what it likes."""

    def __init__(self, stage: str, pipeline: Pipeline) -> None:
        self._publisher = bus.Publisher(stage, pipeline.bus_directory)
        self._sequence = count()

    def wait_for_readers(self, *wanted: str) -> None:
        """Wait until topics are read by the stage under test, and by the tests' listener."""
        poller = bus.Poller()
        for each in self._publisher.sockets:
            poller.watch(each)
        missing = [*wanted, *wanted]
        while missing:
            assert poller.wait(PATIENCE_S), f"nobody reads {missing}"
            for topic in self._publisher.welcome():
                if topic in missing:
                    missing.remove(topic)

    def send(self, topic: str, *frames: bytes) -> None:
        """Send frames as they are, under the name of a topic."""
        endpoint = topics.BY_NAME[topic].endpoint
        self._publisher._sockets[endpoint].send_multipart([topic.encode(), *frames])

    def publish(self, message: m.Message, topic: str = "") -> None:
        """Send a message, valid in form."""
        row = topics.BY_NAME[topic] if topic else topics.of(type(message))
        stamp = m.Stamp(seq=next(self._sequence), epoch=1, t=0)
        self.send(row.name, *m.encode(message, stamp))

    def close(self) -> None:
        """Give the place back."""
        self._publisher.close()


@contextmanager
def forging(stage: str, pipeline: Pipeline, *wanted: str) -> Iterator[Forger]:
    """Take a stage's place for the length of a ``with``."""
    forger = Forger(stage, pipeline)
    try:
        forger.wait_for_readers(*wanted)
        yield forger
    finally:
        forger.close()


def minimal(kind: type[m.Message]) -> m.Message:
    """Make a message of a type, every field at its least."""
    values = {"int": 0, "str": "", "bool": False, "list": [], "dict": {}}
    fields = {}
    for field in msgspec.structs.fields(kind):
        if field.required:
            options = msgspec.json.schema(field.type)
            if "enum" in options:
                fields[field.name] = options["enum"][0]
            else:
                names = {"integer": "int", "string": "str", "boolean": "bool", "array": "list"}
                fields[field.name] = values[names.get(options["type"], "dict")]
    return kind(**fields)


def malformed(kind: type[m.Message]) -> list[tuple[bytes, ...]]:
    """Make frames that are no message of a type."""
    header, payload = m.encode(minimal(kind), m.Stamp(seq=0, epoch=1, t=0))
    fields = msgpack.unpackb(header)
    chance = random.Random(1)
    return [
        (),
        (header,),
        (header, payload, b"more"),
        (b"", payload),
        (chance.randbytes(200), payload),
        (b"\xc1" * 50, payload),
        (b"\xdd\xff\xff\xff\xff", payload),
        (header + b"\x00", payload),
        (msgpack.packb({**fields, "v": 2}), payload),
        (msgpack.packb({**fields, "v": True}), payload),
        (msgpack.packb({**fields, "seq": -1}), payload),
        (msgpack.packb({**fields, "t": float("nan")}), payload),
        (msgpack.packb({k: v for k, v in fields.items() if k != "epoch"}), payload),
        (msgpack.packb({k: [v] for k, v in fields.items()}), payload),
        (msgpack.packb([fields]), payload),
        (b"\x82" + b"\xa1v\x01" * 2, payload),
        (header, b"x" * (kind.payload_limit + 1)),
        (msgpack.packb({**fields, "pad": "x" * m.MAX_HEADER}), payload),
    ]


#: For each stage what it reads, by the stage that publishes it.
READS = {
    "uplink": {
        "capture": ["mic.frame"],
        "link": ["link.state"],
        "downlink": ["flush", "reply.state", "transcript"],
        "playback": ["silenced", "heard"],
    },
    "link": {"uplink": ["client.event"]},
    "downlink": {"link": ["server.event", "link.state"], "playback": ["heard"]},
    "playback": {"downlink": ["reply.audio", "flush"]},
    "recorder": {
        "capture": ["mic.frame"],
        "playback": ["speaker.frame"],
        "uplink": ["interruption"],
        "downlink": ["transcript"],
    },
}


@pytest.mark.parametrize("stage", READS)
def test_what_is_no_message_is_refused_counted_and_said_once(
    pipeline: Pipeline, stage: str
) -> None:
    pipeline.settings["recorder.directory"] = pipeline.directory
    child = pipeline.up(stage)
    sent = 0
    for publisher, names in READS[stage].items():
        with forging(publisher, pipeline, *names) as forger:
            for name in names:
                for frames in malformed(topics.BY_NAME[name].type):
                    forger.send(name, *frames)
                    sent += 1
    health = pipeline.bus.health(stage, lambda h: h.counters.get("refused", 0) >= sent)
    assert health.counters["refused"] == sent
    for names in READS[stage].values():
        for name in names:
            assert health.counters[f"refused.{name}"] == sent // sum(
                map(len, READS[stage].values())
            )
    assert len(child.matching("message refused: ")) == 1
    assert child.running


def everything_at_its_most(kind: type[m.Message]) -> Iterator[m.Message]:
    """Make messages that are valid in form and cannot be true."""
    least = minimal(kind)
    numbers = [
        f.name for f in msgspec.structs.fields(kind) if isinstance(getattr(least, f.name), int)
    ]
    numbers = [name for name in numbers if not isinstance(getattr(least, name), bool)]
    for payload in (b"", b"\x01", b"\xff" * 3, b"\x7f" * pcm.FRAME_BYTES):
        if len(payload) > kind.payload_limit:
            continue
        for name in numbers:
            yield msgspec.structs.replace(least, **{name: LARGEST}, payload=payload)
        yield msgspec.structs.replace(least, **dict.fromkeys(numbers, LARGEST), payload=payload)
        yield msgspec.structs.replace(
            least, **dict.fromkeys(numbers, LARGEST // 2), payload=payload
        )
        yield msgspec.structs.replace(least, payload=payload)


@pytest.mark.parametrize("stage", READS)
def test_what_cannot_be_true_ends_no_stage(pipeline: Pipeline, stage: str) -> None:
    pipeline.settings["recorder.directory"] = pipeline.directory
    child = pipeline.up(stage)
    for publisher, names in READS[stage].items():
        with forging(publisher, pipeline, *names) as forger:
            for name in names:
                for message in everything_at_its_most(topics.BY_NAME[name].type):
                    forger.publish(message, name)
            # the last one has been read when this one, which is refused, has been counted
            forger.send(names[-1], b"the end")
        pipeline.bus.health(stage, lambda h: h.counters.get(f"refused.{names[-1]}"))
    assert child.running
    assert child.end() == 0
    assert child.matching(r" E |Traceback") == []
