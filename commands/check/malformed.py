"""The smallest valid message of each type, and malformed ones."""

from __future__ import annotations

import random

import msgpack
import msgspec
from msgspec import inspect

from shared import codec, messages


def minimal(kind: type[messages.Message]) -> messages.Message:
    """Return a valid message of a type: each number 0, each text and each list empty."""

    def least(described: inspect.Type) -> object:
        match described:
            case inspect.IntType():
                return 0
            case inspect.StrType():
                return ""
            case inspect.BoolType():
                return False
            case inspect.LiteralType(values=values):
                return values[0]
            case inspect.DictType() | inspect.StructType():
                return {}
            case _:
                return []

    fields = {
        field.name: least(field.type)
        for field in inspect.type_info(kind).fields  # type: ignore[attr-defined]
        if field.name != "payload"
    }
    return msgspec.convert(fields, kind)


def malformed(kind: type[messages.Message]) -> list[tuple[bytes, ...]]:
    """Return malformed messages of a type, each as the frames that follow the topic's name."""
    header, payload = codec.encode(minimal(kind), messages.Stamp(seq=0, epoch=1, t=0))
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
        (msgpack.packb({**fields, "v": codec.VERSION + 1}), payload),
        (msgpack.packb({**fields, "v": True}), payload),
        (msgpack.packb({**fields, "seq": -1}), payload),
        (msgpack.packb({**fields, "t": float("nan")}), payload),
        (msgpack.packb({k: [v] for k, v in fields.items()}), payload),
        (msgpack.packb([fields]), payload),
        (header, b"x" * (kind.payload_limit + 1)),
    ]
