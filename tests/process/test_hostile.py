"""A stage survives bytes that are not a message, and messages whose values are impossible."""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import msgspec
import pytest
from msgspec import inspect

from commands.check import malformed as kit
from shared import codec, messages, registry
from tests.support.forger import forging
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.process

LARGEST = 2**63 - 1


def made(kind: Any, number: int, text: str, length: int, pick: int) -> Any:
    """Return a value of a type, with the given integers, texts, lengths and choice."""
    match kind:
        case inspect.IntType():
            return number
        case inspect.StrType():
            return text[: kind.max_length]
        case inspect.BoolType():
            return bool(number)
        case inspect.BytesType():
            return b""
        case inspect.LiteralType():
            return kind.values[pick % len(kind.values)]
        case inspect.ListType():
            return [made(kind.item_type, number, text, 1, pick) for _ in range(length)]
        case inspect.DictType():
            return {f"{text}{n}": number for n in range(length)}
        case inspect.StructType():
            fields = {f.encode_name: f.type for f in kind.fields}
            values = {k: made(t, number, text, length, pick) for k, t in fields.items()}
            return kind.cls(**values)
    raise AssertionError(f"no value for {kind}")


def minimal(kind: type[messages.Message]) -> messages.Message:
    """Return a message of a type with every field at its minimum."""
    message = made(inspect.type_info(kind), 0, "", 0, 0)
    assert isinstance(message, kind)
    return message


def untrue(kind: type[messages.Message]) -> Iterator[messages.Message]:
    """Return messages that are well formed but cannot be true."""
    described = inspect.type_info(kind)
    unit = kind.payload_unit
    payloads = [p for p in (b"", b"\x7f" * unit, b"\x80" * 960) if len(p) <= kind.payload_limit]
    for number, length, pick, payload in itertools.product(
        (0, 1, 10**15, LARGEST), (0, 2), range(4), payloads
    ):
        message = made(described, number, "\0é🙂" * length, length, pick)
        yield msgspec.structs.replace(message, payload=payload)
    # Each number alone as well, also in messages whose times are right.
    least = minimal(kind)
    names = [f.name for f in msgspec.structs.fields(kind) if type(getattr(least, f.name)) is int]
    now = dict.fromkeys({"captured_ns", "played_ns"} & set(names), time.monotonic_ns())
    for right, name, number in itertools.product(({}, now), names, (10**15, LARGEST)):
        values = {**right, name: number}
        yield msgspec.structs.replace(least, **values, payload=payloads[-1])


def malformed(kind: type[messages.Message]) -> list[tuple[bytes, ...]]:
    """Return frames that are not a message of a type: those of the kit, and more."""
    header, payload = codec.encode(minimal(kind), messages.Stamp(seq=0, epoch=1, t=0))
    fields = msgpack.unpackb(header)
    return [
        *kit.malformed(kind),
        (header + b"\x00", payload),
        (msgpack.packb({**fields, "v": 1}), payload),
        (msgpack.packb({k: v for k, v in fields.items() if k != "epoch"}), payload),
        (b"\x82" + b"\xa1v\x02" * 2, payload),
        (msgpack.packb({**fields, "pad": "x" * codec.MAX_HEADER}), payload),
    ]


def readable(message: messages.Message) -> bool:
    """Return whether a number of a message is within the limits of the number's field."""
    try:
        codec.decode(type(message), *codec.encode(message, messages.Stamp(seq=0, epoch=1, t=0)))
    except codec.BadMessage:
        return False
    return True


@pytest.mark.parametrize(
    "stage",
    ["echo", "vad", "uplink", "link", "downlink", "playback", "recorder", "tools", "monitor"],
)
def test_a_stage_survives_malformed_messages_and_impossible_values(
    pipeline: Pipeline, stage: str
) -> None:
    pipeline.settings["recorder.directory"] = pipeline.directory
    child = pipeline.up(stage)
    read = re.findall(r"([\w.]+)\((\w+)\)", child.wait_line("listens for"))
    counted: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        for publisher in {publisher for _, publisher in read}:
            names = [name for name, of in read if of == publisher]
            forger = stack.enter_context(forging(publisher, pipeline, *names))
            for name in names:
                kind = registry.BY_NAME[name].type
                refused = len(malformed(kind))
                for message in untrue(kind):
                    forger.publish(message, name)
                    refused += not readable(message)
                for frames in malformed(kind):
                    forger.send(name, *frames)
                counted[f"refused.{name}"] = refused
        # The malformed messages came last, so their counters show that the stage has read all.
        health = pipeline.bus.health(stage, lambda h: counted.items() <= h.counters.items())
    assert health.counters["refused"] == sum(counted.values())
    assert child.running
    assert child.end() == 0
    [line] = child.matching("message refused: ")
    assert " W " in line
    assert child.matching(" E |Traceback") == []


@pytest.mark.parametrize("generation", [messages.LAST_GENERATION + 1, LARGEST])
def test_a_generation_that_cannot_be_is_not_followed(pipeline: Pipeline, generation: int) -> None:
    """Downlink ignores a generation with no successor: after it, playback would stay silent."""
    downlink = pipeline.up("downlink")
    with forging("monitor", pipeline, "control") as person:
        person.publish(messages.Control(command="interrupt"))
        before = pipeline.bus.wait_for(messages.Flush).message.generation
        with forging("playback", pipeline, "heard") as forger:
            forger.publish(
                messages.Heard(generation=generation, session=1, playing=False, items=[])
            )
            # This malformed message follows the first one. Its counter shows that both were read.
            forger.send("heard")
            pipeline.bus.health("downlink", lambda h: h.counters.get("refused.heard"))
        now = pipeline.bus.now
        person.publish(messages.Control(command="interrupt"))
        assert pipeline.bus.wait_for(messages.Flush, since=now).message.generation == before + 1
    assert downlink.end() == 0
    playback = pipeline.up("playback")
    least = minimal(messages.Flush)
    flush = msgspec.structs.replace(least, generation=generation)
    with forging("downlink", pipeline, "flush") as forger:
        forger.publish(flush)
        forger.publish(msgspec.structs.replace(flush, generation=before + 2))
        flush_report = pipeline.bus.wait_for(messages.FlushReport).message
    assert flush_report.generation == before + 2
    assert playback.end() == 0
