"""Malformed inputs and the functions that read them: see benchmarks/fuzz.py."""

from __future__ import annotations

import base64
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import msgspec
from msgspec import inspect

from harness.downlink import Reader
from services.downlink import event_reader
from services.downlink.audio_item import BadAudio
from services.downlink.replies import Replies
from shared import codec, config, messages, network

KINDS = messages.kinds()
STAMP = messages.Stamp(seq=1, epoch=2, t=3)
#: Bytes that cause faults more often than others.
TOKENS = [
    b"", b"\x00", b"\xff", b"\x7f", b"\x80", b"-1", b"0", b"1e999", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"9" * 400, b"null", b"true", b"NaN", b'""',
    b'"\\ud800"', b"[]", b"{}", b"[" * 2000, b'{"a":' * 2000, b"\xc0", b"\xc1",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf8" + bytes(6), b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 1500, b"\xd4\x01x", b"=", b"\n", b"\r\n", b'"""', b"[link]", b"'", b"....", b"__",
]  # fmt: skip


# The targets: each takes any bytes and returns whether they were accepted.


def read_bus(data: bytes) -> bool:
    """Read a bus message: the first byte selects its type, the second the payload's length."""
    kind = KINDS[data[0] % len(KINDS)] if data else messages.Control
    cut = len(data) - (data[1] if len(data) > 1 else 0)
    header, payload = data[2:cut], data[max(2, cut) :]
    try:
        found = codec.decode(kind, header, payload)
    except codec.BadMessage as error:
        _told(error, 200)
        return False
    if codec.decode(kind, *codec.encode(*found)) != found:
        raise AssertionError("the message that was read is not the message that would be sent")
    return True


def read_server(data: bytes) -> bool:
    """Read a server event per line, and encode everything that downlink makes of the events."""
    reader, accepted = Reader(Replies(generation=1, session=1)), True
    for line in data.split(b"\n"):
        try:
            out = reader.read(event_reader.read(line), 7)
        except (event_reader.BadEvent, BadAudio) as error:
            _told(error, 400)
            accepted = False
            continue
        for message in (*out, reader.replies.state()):
            if codec.decode(type(message), *codec.encode(message, STAMP)) != (message, STAMP):
                raise AssertionError(f"{type(message).__name__} is not what was sent")
    return accepted


def read_config(data: bytes) -> bool:
    """Read settings from a file, from environment variables or from a command line."""
    text = data[1:].decode("utf-8", "surrogateescape")
    file, environment, settings = Path(os.devnull), {}, []
    if data[:1] < b"\x55":
        file = _scratch()
        file.write_bytes(data[1:])
    elif data[:1] < b"\xaa":
        for line in text.split("\n"):
            name, _, value = line.partition("=")
            environment[f"BARGEIN_{name.upper().replace('.', '__')}"] = value
    else:
        settings = text.split("\n")
    try:
        found = config.resolve(file, environment, settings)
    except config.ConfigError as error:
        for told in error.errors:
            if "\n" in told or not told:
                raise AssertionError(f"an error is not one line: {told!r}") from None
        return False
    network.parse(found.config.bus.machines)
    for key in found.sources:
        knob: Any = found.config
        for part in key.split("."):
            knob = getattr(knob, part)
        config.masked(knob)
    return True


def _told(error: Exception, longest: int) -> None:
    if not 0 < len(str(error)) <= longest:
        raise AssertionError(f"no reason, or a long one: {error!r}")


FILES: list[Path] = []


def _scratch() -> Path:
    if not FILES:
        # one per process
        shared_memory = Path("/dev/shm")
        place = shared_memory if shared_memory.is_dir() else Path(tempfile.gettempdir())
        descriptor, name = tempfile.mkstemp(prefix="bargein-fuzz-", suffix=".toml", dir=place)
        os.close(descriptor)
        FILES.append(Path(name))
    return FILES[0]


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "bus": read_bus,
    "server": read_server,
    "config": read_config,
}


# Valid inputs.


def _made(kind: Any) -> Any:
    """Return a valid value of a type."""
    match kind:
        case inspect.IntType():
            return 7
        case inspect.StrType():
            return "text"
        case inspect.BoolType():
            return True
        case inspect.BytesType():
            return b""
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.ListType():
            return [_made(kind.item_type)]
        case inspect.DictType():
            value = 7 if isinstance(kind.value_type, inspect.AnyType) else _made(kind.value_type)
            return {"name": value}
        case inspect.UnionType():
            return _made(kind.types[0])
        case inspect.StructType():
            fields = {f.encode_name: _made(f.type) for f in kind.fields}
            return list(fields.values()) if kind.array_like else fields
    return None


def corpus(target: str) -> list[bytes]:
    """Return valid inputs of a target, from which malformed ones are made."""
    if target == "bus":
        headers = [_made(inspect.type_info(kind)) for kind in KINDS]
        for header in headers:
            header.pop("payload")
            header.update(v=codec.VERSION, seq=1, epoch=2, t=3)
        return [bytes([n, 0]) + msgpack.packb(h) for n, h in enumerate(headers)]
    if target == "server":
        good = []
        for name, kind in event_reader.TYPES.items():
            fields = {**_made(inspect.type_info(kind)), "type": name}
            if "delta" in fields:
                fields["delta"] = base64.b64encode(b"abcd").decode()
            good.append(msgspec.json.encode(fields))
        return [*good, b"\n".join(good), b"\n".join(good[::-1])]
    knobs = [(key, default) for key, _, default in [*config.keys()]]
    # only a file quotes text
    lines = [f"{k}={v if isinstance(v, str) else _toml(v)}".encode() for k, v in knobs]
    written = "\n".join(f"{key} = {_toml(default)}" for key, default in knobs).encode()
    return [
        *(b"\x60" + line for line in lines),
        b"\x60" + b"\n".join(lines),
        b"\xff" + b"\n".join(lines),
        b"\x00" + written,
        b"\x00" + config.FILE.read_bytes(),
    ]


def _toml(value: Any) -> str:
    value = msgspec.to_builtins(value)
    if isinstance(value, dict):
        inner = (f"{_toml(key)} = {_toml(each)}" for key, each in value.items())
        return "{" + ", ".join(inner) + "}"
    return msgspec.json.encode(value).decode()


def bent(good: list[bytes], chance: random.Random) -> bytes:
    """Return a valid input with changes in a few places."""
    data = bytearray(chance.choice(good))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 4, 8))):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((0, 1, 1, 2, 4, 16, 200)))
        match chance.randrange(5):
            case 0:
                data[at:end] = chance.choice(TOKENS)
            case 1:
                data[at:end] = chance.randbytes(end - at)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * chance.choice((1, 1, 2, 30))
            case 4:
                other = chance.choice(good)
                data[at:end] = other[at % (len(other) + 1) :][:50]
    return bytes(data)


def fuzz(target: str, inputs: int, seed: int) -> Counter[str]:
    """Try inputs; return how many were accepted and refused. Raises whatever a fault raises."""
    good, chance, read = corpus(target), random.Random(seed), TARGETS[target]
    counted: Counter[str] = Counter()
    for _ in range(inputs):
        data = bent(good, chance)
        try:
            counted["accepted" if read(data) else "refused"] += 1
        except BaseException:
            failed = Path(f"fuzz-{target}-{seed}-{counted.total()}.bin")
            failed.write_bytes(data)
            print(f"{target}: {failed} does what it should not", file=sys.stderr)
            raise
    return counted
