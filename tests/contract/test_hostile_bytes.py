"""Arbitrary bytes from the bus and from the server: each is read, or refused in one line."""

from __future__ import annotations

import itertools
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.downlink import event_reader, events
from shared import bus, codec, messages, registry
from tests.support.headers import KINDS, every_kind, header
from tests.support.wires import Wires

pytestmark = pytest.mark.contract

kinds = st.sampled_from(KINDS)

# Every type of msgpack, and keys that are no text.
leaves: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
    | st.just(msgpack.Timestamp(1, 2))
)
fields = {name for kind in KINDS for name in kind.__struct_fields__}
names = st.sampled_from(["v", "seq", "epoch", "t", *sorted(fields)])
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.text() | st.binary() | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
payloads = st.binary(max_size=8) | st.sampled_from([bytes(960), bytes(messages.MAX_AUDIO + 2)])


def attempt(kind: type[messages.Message], packed: bytes, payload: bytes) -> messages.Message | None:
    """Return the message that bytes are, or None if they are refused in one printable line."""
    try:
        message, stamp = codec.decode(kind, packed, payload)
    except codec.BadMessage as error:
        said = str(error)
    else:
        # The message can be sent again.
        assert codec.decode(kind, *codec.encode(message, stamp)) == (message, stamp)
        return message
    assert said.isprintable()
    assert len(said) <= 200
    return None


@every_kind
def test_the_good_ones_here_are_good(kind: type[messages.Message]) -> None:
    assert attempt(kind, msgpack.packb(header(kind)), b"") is not None


@given(kinds, st.binary(max_size=200), payloads)
@example(messages.Control, b"\x81\xa1v" + b"\x91" * 1000 + b"\x01", b"")
@example(messages.Control, struct.pack(">BI", 0xDF, 2**32 - 1), b"")
def test_any_bytes(kind: type[messages.Message], packed: bytes, payload: bytes) -> None:
    attempt(kind, packed, payload)


@given(kinds, anything, payloads)
def test_any_msgpack(kind: type[messages.Message], said: Any, payload: bytes) -> None:
    attempt(kind, msgpack.packb(said), payload)


@given(kinds, st.dictionaries(names, anything, max_size=4), st.sets(names, max_size=2), payloads)
def test_any_field_changed(
    kind: type[messages.Message], changed: dict[str, Any], without: set[str], payload: bytes
) -> None:
    made = {k: v for k, v in (header(kind) | changed).items() if k not in without}
    attempt(kind, msgpack.packb(made), payload)


@given(kinds, st.data())
def test_any_byte_changed(kind: type[messages.Message], data: st.DataObject) -> None:
    packed = bytearray(msgpack.packb(header(kind)))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    attempt(kind, bytes(packed), b"")


@given(kinds, st.data())
def test_any_part_of_it(kind: type[messages.Message], data: st.DataObject) -> None:
    packed = msgpack.packb(header(kind))
    cut = data.draw(st.integers(0, len(packed) - 1))
    assert attempt(kind, packed[:cut], b"") is None
    assert attempt(kind, packed[cut:] + packed[:cut], b"") is None or cut == 0
    assert attempt(kind, packed + data.draw(st.binary(min_size=1, max_size=9)), b"") is None


# on the wire


@dataclass
class Wire:
    """A foreign publisher, and its reader."""

    sender: zmq.Socket[bytes]
    reader: bus.Subscriber
    epochs: Iterator[int] = field(default_factory=lambda: itertools.count(2**62))


@pytest.fixture(name="wire")
def _wire(wires: Wires) -> Wire:
    topic = registry.of(messages.ReplyState)
    reader = wires.subscriber(topic)
    return Wire(wires.foreign(topic.endpoint, topic.name), reader)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_reader_lives_on(wires: Wires, wire: Wire, data: st.DataObject) -> None:
    topic, reader, sender = registry.of(messages.ReplyState), wire.reader, wire.sender
    before = sum(reader.losses.refused.values())
    name = topic.name.encode()
    message = messages.ReplyState(generation=1, session=1, active=[], items=[])
    changes = st.dictionaries(names, anything, max_size=3)
    packed = st.binary(max_size=60) | st.builds(
        lambda changed: msgpack.packb(header(messages.ReplyState) | changed), changes
    )
    frame = packed | payloads
    foreign = data.draw(
        st.lists(
            st.lists(frame, max_size=4).map(lambda rest: [name, *rest])
            | st.tuples(packed).map(lambda one: [name, *one, b""])
            | st.binary(max_size=5).map(lambda more: [name + more, b"", b""]),
            max_size=8,
        )
    )
    for frames in foreign:
        sender.send_multipart(frames)
    stamp = messages.Stamp(seq=0, epoch=next(wire.epochs), t=time.monotonic_ns())
    sender.send_multipart([name, *codec.encode(message, stamp)])
    arrived = 0
    while (found := wires.next(reader)).stamp != stamp:
        assert isinstance(found.message, messages.ReplyState)
        arrived += 1
    asked_for = sum(frames[0] == name for frames in foreign)
    assert arrived + sum(reader.losses.refused.values()) - before == asked_for
    assert reader.losses.last.isprintable()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(60),
        bytes(1000),
        bytes(range(256)) * 200,
    ],
    ids=["nothing", "HTTP", "half a greeting", "zeros", "all bytes"],
)
def test_the_publisher_lives_on(wires: Wires, said: bytes) -> None:
    publisher = wires.publisher("link")
    path = Path(publisher.addresses[0].removeprefix("ipc://"))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(20)
        stranger.connect(str(path))
        try:
            stranger.sendall(said)
            stranger.shutdown(socket.SHUT_WR)
            while stranger.recv(4096):
                pass  # it reads until the other side closes the connection
        except OSError:
            pass  # the other side closed the connection before all was sent
        reader = wires.subscriber(messages.LinkState)
        wires.join(publisher, "link.state")
        publisher.publish(messages.LinkState(state="open"))
        assert wires.next(reader).message == messages.LinkState(state="open")


# from the server


@given(st.binary(max_size=200))
def test_any_bytes_of_the_server(text: bytes) -> None:
    try:
        found: object = event_reader.read(text)
    except event_reader.BadEvent as error:
        found = str(error)
    assert isinstance(found, events.Event) or (isinstance(found, str) and len(found) < 300)


def test_the_limits_of_the_wire_are_above_those_of_messages() -> None:
    assert max(codec.MAX_HEADER, messages.MAX_AUDIO, messages.MAX_TEXT) < bus.MAX_FRAME
