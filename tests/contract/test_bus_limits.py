"""The bus refuses bytes that are no message, and readers that take too much."""

from __future__ import annotations

import time
from typing import Any

import pytest
import zmq

from shared import bus, codec, messages, registry
from shared.poller import Poller
from tests.support.bus_messages import interrupt, link
from tests.support.frames import audio, frames
from tests.support.wires import Wires

pytestmark = pytest.mark.contract


def changed(message: messages.Message, seq: int, **parts: Any) -> list[bytes]:
    topic, header, payload = frames(message, seq)
    given = {"topic": topic, "header": header, "payload": payload} | parts
    return [given["topic"], given["header"], given["payload"]]


def test_bytes_that_are_no_message_are_refused_and_the_next_message_is_read(wires: Wires) -> None:
    reader = wires.subscriber(messages.Control)
    sender = wires.foreign("monitor", "control")
    good = frames(interrupt(), 0)
    version = b"\xa1v" + bytes([codec.VERSION])
    bad = [
        good[:1],
        good[:2],
        [*good, b""],
        changed(interrupt(), 0, header=b""),
        changed(interrupt(), 0, header=b"\xc1"),
        changed(interrupt(), 0, header=good[1] + b"\x00"),
        changed(interrupt(), 0, header=good[1].replace(version, b"\xa1v\x01")),
        changed(interrupt(), 0, header=good[1].replace(b"interrupt", b"interrupd")),
        changed(interrupt(), 0, header=good[1] + bytes(codec.MAX_HEADER)),
        changed(interrupt(), 0, payload=b"a"),
    ]
    for message in bad:
        sender.send_multipart(message)
    sender.send_multipart(frames(interrupt(), 1))
    assert wires.next(reader).stamp.seq == 1
    assert reader.losses.refused == {"control": len(bad)}
    assert reader.losses.last == "control: message refused: payload of 1 bytes, at most 0 allowed"


def test_a_longer_name_is_another_topic(wires: Wires) -> None:
    reader = wires.subscriber(messages.Heard)
    sender = wires.foreign("playback", "heard")
    heard, others = (
        messages.Heard(generation=n, session=1, playing=False, items=[]) for n in (1, 2)
    )
    sender.send_multipart([b"heard\x00"])
    sender.send_multipart(frames(others, 0, name="heard.by.others"))
    sender.send_multipart(frames(heard, 0))
    assert wires.next(reader).message == heard
    assert reader.losses == bus.Losses()


@pytest.mark.parametrize(
    "kind", [messages.ReplyAudio, messages.ServerEvent], ids=lambda kind: kind.__name__
)
def test_a_message_that_is_too_large_is_refused_and_the_next_one_is_read(
    wires: Wires, kind: type[messages.Message]
) -> None:
    good = (
        audio(0) if kind is messages.ReplyAudio else messages.ServerEvent(session=1, received_ns=1)
    )
    row = registry.of(kind)
    reader = wires.subscriber(kind)
    sender = wires.foreign(row.endpoint, row.name)
    too_large = bytes(kind.payload_limit + kind.payload_unit)
    sender.send_multipart(changed(good, 0, payload=too_large))
    sender.send_multipart(changed(good, 0, header=too_large))
    sender.send_multipart(frames(good, 1))
    assert wires.next(reader).stamp.seq == 1
    assert reader.losses.refused == {row.name: 2}


def test_memory_has_a_limit(wires: Wires) -> None:
    sockets = [*wires.publisher("link").sockets, *wires.subscriber(messages.ServerEvent).sockets]
    limits = [each.get(zmq.MAXMSGSIZE) for each in sockets]
    assert limits == [bus.MAX_REQUEST, bus.MAX_FRAME]
    # ZeroMQ closes the connection at this limit for good, so no message may come near it.
    assert max(kind.payload_limit for kind in messages.kinds()) * 2 < bus.MAX_FRAME


def test_the_largest_message_there_is_passes(wires: Wires) -> None:
    publisher, reader = wires.publisher("link"), wires.subscriber(messages.ServerEvent)
    wires.join(publisher, "server.event")
    event = messages.ServerEvent(session=1, received_ns=1, payload=bytes(messages.MAX_TEXT))
    publisher.publish(event)
    assert wires.next(reader).message.payload == event.payload


def test_a_flood_of_nonsense_lets_the_reader_do_its_other_work(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    many = 3 * bus.REFUSED_AT_ONCE
    for _ in range(many):
        sender.send_multipart([b"!reply.audio", b"nonsense", b""])
    sender.send_multipart(frames(audio(0), 0))
    returned = 0
    end = time.monotonic() + 20
    while (found := reader.receive()) is None:
        assert time.monotonic() < end
        assert sum(reader.losses.refused.values()) <= (returned := returned + 1) * (
            bus.REFUSED_AT_ONCE
        )
    assert found.message == audio(0)
    assert returned >= 3
    assert reader.losses.refused == {"reply.audio": many}


def test_nonsense_for_a_subscription_is_passed_over(wires: Wires) -> None:
    publisher = wires.publisher("link")
    publisher.publish(link())
    stranger = wires.bare(zmq.XSUB, "link", bind=False)
    for said in ([b""], [b"\x07"], [b"hello", b"\x01", b""], [b"\x01\xff\xfe"], [b"\x00never"]):
        stranger.send_multipart(said)
    stranger.send(b"\x01link.s")
    came = wires.join(publisher, "link.s")
    assert set(came) <= {"link.s", "\N{REPLACEMENT CHARACTER}" * 2, ""}
    assert stranger.recv_multipart()[0] == b"link.state"


def test_subscriptions_to_what_is_not_here_are_not_kept(wires: Wires) -> None:
    publisher = wires.publisher("link")
    stranger = wires.bare(zmq.XSUB, "link", bind=False)
    for number in range(100):
        stranger.send(b"\x01nothing.%d" % number)
        stranger.send(b"\x00gone.%d" % number)
    # The end of a subscription that never began is not counted.
    stranger.send(b"\x00!server.event")
    stranger.send(b"\x01link.state")
    wires.join(publisher, "link.state")
    assert [audience.counts for audience in publisher._audiences.values()] == [{"link.state": 1}]
    assert publisher.subscribed == {"link.state"}
    assert "server.event" in publisher.held


def test_a_reader_with_too_many_subscriptions_is_cut_off_and_no_other(wires: Wires) -> None:
    publisher, reader = wires.publisher("link"), wires.subscriber(messages.LinkState)
    wires.join(publisher, "link.state")
    stranger = wires.bare(zmq.XSUB, "link", bind=False)
    for number in range(20_000):
        stranger.send(b"\x01nothing.%d" % number)
    came: list[str] = []
    wires.wait(publisher, lambda: publisher.cut > 0, came)
    # The second call meets the limit.
    assert len(came) <= 2 * bus.REQUESTS_AT_ONCE
    publisher.publish(link())
    assert wires.next(reader).message == link()
    assert publisher.subscribed == {"link.state"}


def test_one_call_takes_a_limited_number_of_subscriptions(wires: Wires) -> None:
    publisher = wires.publisher("link")
    for _ in range(3):
        stranger = wires.bare(zmq.XSUB, "link", bind=False)
        for number in range(200):
            stranger.send(b"\x01nothing.%d" % number)
    poller = Poller()
    calls: list[int] = []
    poller.watch(publisher.sockets[0])
    end = time.monotonic() + 20
    while sum(calls) < 600:
        assert time.monotonic() < end, calls
        calls.append(len(publisher.welcome(poller.wait(0.5))))
    assert max(calls) <= bus.REQUESTS_AT_ONCE


@pytest.mark.parametrize("request_", [b"\x01" + bytes(bus.MAX_REQUEST), b"x" * 1_000_000])
def test_a_long_subscription_ends_its_connection(wires: Wires, request_: bytes) -> None:
    publisher = wires.publisher("link")
    stranger = wires.bare(zmq.XSUB, "link", bind=False)
    watch = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    stranger.send(request_)
    assert watch.poll(20_000)
    stranger.disable_monitor()
    watch.close(0)
    reader = wires.subscriber(messages.LinkState)
    assert wires.join(publisher, "link.state") == ["link.state"]
    publisher.publish(link())
    assert wires.next(reader).message == link()
