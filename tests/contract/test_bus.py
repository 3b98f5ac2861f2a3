"""The bus, over real sockets, in one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import zmq

from shared import bus, messages, now, registry
from shared.bus.readers import HOLD_NS
from shared.directory import BusError
from shared.poller import Poller
from shared.registry import Queue
from tests.support.bus_messages import flush, interrupt, link, speaker
from tests.support.frames import EPOCH, audio, frames, mic
from tests.support.wires import Wires

pytestmark = pytest.mark.contract


# from one stage to another


def test_a_message_arrives_as_it_was_sent(wires: Wires) -> None:
    publisher, reader = wires.publisher("capture"), wires.subscriber(messages.MicFrame)
    wires.join(publisher, "mic.frame")
    before = time.monotonic_ns()
    sent = [publisher.publish(mic(n, bytes([n, n]))) for n in range(3)]
    for n in range(3):
        found = wires.next(reader)
        assert found.message == mic(n, bytes([n, n]))
        assert found.topic is registry.of(messages.MicFrame)
        assert (found.stamp.seq, found.stamp.t) == (n, sent[n])
        assert (found.lost, found.restarted) == (0, False)
    assert before <= sent[0] <= sent[1] <= sent[2]
    assert reader.losses == bus.Losses()


def test_each_topic_is_counted_by_itself(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    reader = wires.subscriber(messages.ReplyAudio, messages.ReplyState)
    wires.join(publisher, "reply.audio", "reply.state")
    state = messages.ReplyState(generation=1, session=1, active=[], items=[])
    for n in range(3):
        publisher.publish(audio(n))
        publisher.publish(state)
    found = [wires.next(reader) for _ in range(6)]
    for kind in (messages.ReplyAudio, messages.ReplyState):
        assert [d.stamp.seq for d in found if isinstance(d.message, kind)] == [0, 1, 2]
    assert not reader.losses.lost


def test_a_reader_gets_only_what_it_asked_for(wires: Wires) -> None:
    publisher, reader = wires.publisher("link"), wires.subscriber(messages.LinkState)
    wires.join(publisher, "link.state")
    publisher.publish(
        messages.Health(pid=1, ok=True, state="", counters={}), registry.health("link")
    )
    publisher.publish(link())
    assert isinstance(wires.next(reader).message, messages.LinkState)


def test_publisher_and_reader_list_their_addresses(wires: Wires) -> None:
    publisher, reader = (
        wires.publisher("downlink"),
        wires.subscriber(messages.ReplyAudio, messages.Flush),
    )
    base = f"ipc://{wires.directory}"
    assert publisher.addresses == [f"{base}/downlink.ipc", f"{base}/flush.ipc"]
    assert reader.addresses == [f"{base}/flush.ipc", f"{base}/downlink.ipc"]


def test_an_endpoint_that_cannot_be_bound(wires: Wires) -> None:
    gone = wires.directory / "gone"
    with pytest.raises(BusError, match=r"capture: cannot publish on ipc://.*capture\.ipc: ") as e:
        bus.Publisher("capture", gone)
    assert "\n" not in str(e.value)


# a reader that starts late


def test_a_late_reader_gets_the_state_at_once(wires: Wires) -> None:
    publisher = wires.publisher("link")
    for state in ("connecting", "open"):
        publisher.publish(link(state))
    health = messages.Health(pid=1, ok=True, state="x", counters={})
    publisher.publish(health, registry.health("link"))
    reader = wires.subscriber(messages.LinkState, registry.health("link"))
    wires.join(publisher, "link.state", "link.health")
    found = {d.topic.name: d.message for d in (wires.next(reader), wires.next(reader))}
    assert found == {"link.state": link("open"), "link.health": health}
    second = wires.subscriber(messages.LinkState)
    wires.join(publisher, "link.state")
    assert wires.next(second).message == link("open")


def test_state_is_repeated_to_a_reader_of_everything(wires: Wires) -> None:
    publisher = wires.publisher("link")
    publisher.publish(link())
    reader = wires.bare(zmq.SUB, "link", bind=False)
    reader.setsockopt(zmq.SUBSCRIBE, b"")
    wires.join(publisher, "")
    assert reader.recv_multipart()[0] == b"link.state"


def test_state_is_repeated_and_health_is_not(wires: Wires) -> None:
    publisher = wires.publisher("link")
    reader = wires.subscriber(messages.LinkState, registry.health("link"))
    wires.join(publisher, "link.state", "link.health")
    publisher.publish(link("waiting"))
    publisher.publish(link("open"))
    health = messages.Health(pid=1, ok=True, state="", counters={})
    publisher.publish(health, registry.health("link"))
    publisher.repeat_state()
    publisher.publish(link("refused"))
    found = [wires.next(reader) for _ in range(5)]
    assert [d.message for d in found] == [
        link("waiting"),
        link("open"),
        health,
        link("open"),
        link("refused"),
    ]
    assert [d.stamp.seq for d in found] == [0, 1, 0, 2, 3]


def test_lossless_messages_wait_for_a_consumer(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    for n in range(500):
        publisher.publish(audio(n))
    publisher.publish(flush(1))
    reader = wires.subscriber(messages.ReplyAudio)
    wires.join(publisher, "reply.audio")
    publisher.publish(audio(500))
    found = [wires.next(reader) for _ in range(501)]
    assert [d.message for d in found] == [audio(n) for n in range(501)]
    assert not reader.losses.lost
    # The held messages went to the first consumer. The second one gets the held flush.
    second = wires.subscriber(messages.ReplyAudio, messages.Flush)
    wires.join(publisher, "reply.audio", "flush")
    publisher.publish(audio(501))
    assert wires.next(second).message == flush(1)
    assert wires.next(second).message == audio(501)


def test_it_waits_again_when_the_last_reader_is_gone(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    readers = [wires.subscriber(messages.ReplyAudio) for _ in range(2)]
    wires.wait(publisher, lambda: publisher.consumers(registry.BY_NAME["reply.audio"]) == 2)
    readers.pop().close()
    wires.wait(publisher, lambda: publisher.consumers(registry.BY_NAME["reply.audio"]) == 1)
    # The other reader still consumes the topic.
    publisher.publish(audio(0))
    assert wires.next(readers[0]).message == audio(0)
    assert "reply.audio" not in publisher.held
    for n in range(1, 9, 2):
        readers.pop().close()
        wires.part(publisher, "reply.audio")
        publisher.publish(audio(n))
        readers.append(wires.subscriber(messages.ReplyAudio))
        wires.join(publisher, "reply.audio")
        publisher.publish(audio(n + 1))
        assert [wires.next(readers[0]).message for _ in range(2)] == [audio(n), audio(n + 1)]
        assert readers[0].losses == bus.Losses()


def test_a_reader_that_is_replaced_quickly_gets_all_of_it_in_order(wires: Wires) -> None:
    """The publisher may notice the new reader before it notices the end of the old one."""
    publisher = wires.publisher("downlink")
    before = wires.subscriber(messages.ReplyAudio)
    wires.join(publisher, "reply.audio")
    for n in range(20):
        after = wires.subscriber(messages.ReplyAudio)
        if n % 2:
            before.close()
        wires.join(publisher, "reply.audio")
        # In odd rounds the old reader was closed before the new one was noticed.
        before.close()
        wires.wait(publisher, lambda: publisher.consumers(registry.BY_NAME["reply.audio"]) == 1)
        publisher.publish(audio(n))
        assert wires.next(after).message == audio(n)
        assert after.losses == bus.Losses()
        assert "reply.audio" not in publisher.held
        before = after


def test_a_reader_that_was_cut_off_misses_nothing(wires: Wires) -> None:
    """While its connection is broken, the publisher holds the messages."""
    where = wires.directory / "link.ipc"
    publisher, reader = wires.publisher("link"), wires.subscriber(messages.ServerEvent)
    events = [messages.ServerEvent(session=1, received_ns=n) for n in range(3)]
    wires.join(publisher, "server.event")
    publisher.publish(events[0])
    assert wires.next(reader).message == events[0]
    [socket] = reader.sockets
    socket.disconnect(f"ipc://{where}")
    wires.part(publisher, "server.event")
    publisher.publish(events[1])
    socket.connect(f"ipc://{where}")
    wires.join(publisher, "server.event")
    publisher.publish(events[2])
    assert [wires.next(reader).message for _ in range(2)] == events[1:]
    assert reader.losses == bus.Losses()


def test_an_observer_takes_nothing_away_and_misses_nothing(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    observer = wires.subscriber(
        messages.ReplyAudio, messages.ReplyState, messages.Flush, observer=True
    )
    wires.join(publisher, "reply.audio", "reply.state", "flush")
    assert publisher.subscribed == {"reply.audio", "reply.state", "flush"}
    assert publisher.held >= {"reply.audio", "flush"}
    assert publisher.consumers(registry.BY_NAME["flush"]) == 0
    # The observer sees held messages at once.
    publisher.publish(flush(1))
    assert wires.next(observer).message == flush(1)
    for n in range(3):
        publisher.publish(audio(n))
    assert [wires.next(observer).message for _ in range(3)] == [audio(n) for n in range(3)]
    reader = wires.subscriber(messages.ReplyAudio, messages.Flush)
    wires.join(publisher, "reply.audio", "flush")
    publisher.publish(audio(3))
    found = [wires.next(reader).message for _ in range(5)]
    assert flush(1) in found
    assert [f for f in found if f != flush(1)] == [audio(n) for n in range(4)]
    # The observer sees each message once.
    assert wires.next(observer).message == audio(3)
    state = messages.ReplyState(generation=1, session=1, active=[], items=[])
    publisher.publish(state)
    assert wires.next(observer).message == state
    assert observer.losses == reader.losses == bus.Losses()
    # The observer still observes after the consumer has left.
    reader.close()
    wires.part(publisher, "reply.audio", "flush")
    publisher.publish(audio(4))
    last = wires.next(observer)
    assert (last.message, last.lost) == (audio(4), 0)


def test_held_messages_come_after_the_state(wires: Wires) -> None:
    """Playback must know the state, with the generation, before it plays held audio."""
    publisher = wires.publisher("downlink")
    for n in range(3):
        publisher.publish(audio(n))
        publisher.publish(messages.ReplyState(generation=n, session=1, active=[], items=[]))
    reader = wires.subscriber(messages.ReplyAudio, messages.ReplyState)
    wires.join(publisher, "reply.audio", "reply.state")
    found = [wires.next(reader).message for _ in range(4)]
    assert found[1:] == [audio(n) for n in range(3)]
    assert isinstance(found[0], messages.ReplyState)
    assert found[0].generation == 2


def test_it_does_not_come_in_the_wrong_order(wires: Wires) -> None:
    """A consumer that has connected gets no new message before the held messages."""
    publisher = wires.publisher("downlink")
    publisher.publish(audio(0))
    reader = wires.subscriber(messages.ReplyAudio)
    [socket] = reader.sockets
    [other, _] = publisher.sockets
    assert other.poll(20_000)
    for n in range(1, 5):
        publisher.publish(audio(n))
    assert not socket.poll(50)
    wires.join(publisher, "reply.audio")
    assert [wires.next(reader).message for _ in range(5)] == [audio(n) for n in range(5)]
    assert reader.losses == bus.Losses()


def test_it_does_not_wait_for_ever(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = wires.publisher("downlink")
    begin = time.monotonic_ns()
    for n, after in enumerate((0, HOLD_NS, HOLD_NS + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(now, "monotonic_ns", lambda at=begin + after: at)
            publisher.publish(audio(n))
    # Messages that are too old take no memory.
    assert len(publisher._outlets["reply.audio"].hold or ()) == 2
    reader = wires.subscriber(messages.ReplyAudio)
    real = time.monotonic_ns
    with monkeypatch.context() as patch:
        patch.setattr(now, "monotonic_ns", lambda: real() + 2 * HOLD_NS + 1)
        wires.join(publisher, "reply.audio")
    publisher.publish(audio(3))
    assert wires.next(reader).message == audio(3)
    # The same without a new message.
    reader.close()
    wires.part(publisher, "reply.audio")
    publisher.publish(audio(4))
    with monkeypatch.context() as patch:
        patch.setattr(now, "monotonic_ns", lambda: real() + HOLD_NS + 1)
        publisher.repeat_state()
    assert len(publisher._outlets["reply.audio"].hold or ()) == 0


def test_live_sound_waits_for_nobody(wires: Wires) -> None:
    publisher = wires.publisher("capture")
    publisher.publish(mic(0))
    reader = wires.subscriber(messages.MicFrame)
    wires.join(publisher, "mic.frame")
    publisher.publish(mic(1))
    assert wires.next(reader).message == mic(1)
    assert not reader.losses.lost  # the reader was not connected


# lost messages


def test_a_gap_is_seen(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    for seq in (4, 5, 9, 10, 12):
        sender.send_multipart(frames(audio(seq), seq))
    assert [wires.next(reader).lost for _ in range(5)] == [0, 0, 3, 0, 1]
    assert reader.losses.lost == {"reply.audio": 4}
    assert not reader.losses.refused


def test_a_reader_that_stalls_loses_the_newest_and_sees_how_many(wires: Wires) -> None:
    publisher, reader = wires.publisher("capture"), wires.subscriber(messages.MicFrame)
    wires.join(publisher, "mic.frame")
    many = 4000
    for n in range(many):
        publisher.publish(mic(n, bytes(960)))
    first = wires.next(reader)
    assert first.stamp.seq == 0
    arrived, lost = 1, 0
    # Read the queued messages, then the first message that was sent after them.
    while (found := reader.receive()) is not None:
        arrived, lost = arrived + 1, lost + found.lost
    while found is None or found.stamp.seq < many:
        if found is not None:
            arrived, lost = arrived + 1, lost + found.lost
        publisher.publish(mic(many))
        found = wires.next(reader)
    arrived, lost = arrived + 1, lost + found.lost
    assert lost > many / 2
    assert arrived + lost == found.stamp.seq + 1
    assert reader.losses.lost == {"mic.frame": lost}


def test_a_reader_that_stalls_loses_nothing_that_is_kept(wires: Wires) -> None:
    publisher, reader = wires.publisher("downlink"), wires.subscriber(messages.ReplyAudio)
    wires.join(publisher, "reply.audio")
    # Three minutes of audio in one burst, in chunks of 20 ms.
    for n in range(9000):
        publisher.publish(audio(n))
    assert [wires.next(reader).stamp.seq for _ in range(9000)] == list(range(9000))


def test_a_message_that_is_too_old_is_dropped_and_counted(wires: Wires) -> None:
    topic = registry.of(messages.SpeakerFrame)
    assert topic.max_age_ms
    reader = wires.subscriber(messages.SpeakerFrame)
    sender = wires.foreign("playback", "speaker.frame")
    for seq in range(5):
        sender.send_multipart(frames(speaker(seq), seq, age_ms=topic.max_age_ms + 1))
    sender.send_multipart(frames(speaker(5), 5, age_ms=topic.max_age_ms / 2))
    found = wires.next(reader)
    # The five old messages arrived, so they do not count as lost.
    assert (found.message, found.lost) == (speaker(5), 0)
    assert reader.losses.stale == {"speaker.frame": 5}
    assert not reader.losses.lost
    assert not reader.losses.refused


def test_a_late_recorder_gets_what_is_old(wires: Wires) -> None:
    reader = wires.subscriber(messages.SpeakerFrame)
    reader.keeps_old = True
    sender = wires.foreign("playback", "speaker.frame")
    for seq in range(5):
        sender.send_multipart(frames(speaker(seq), seq, age_ms=10_000))
    assert [wires.next(reader).message for _ in range(5)] == [speaker(seq) for seq in range(5)]


def test_messages_without_an_age_limit_are_never_too_old(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    sender.send_multipart(frames(audio(0), 0, age_ms=1000 * (time.monotonic() - 1)))
    assert wires.next(reader).message == audio(0)


# a publisher that comes back


def test_a_restart_is_seen_and_is_no_loss(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    first = wires.publisher("downlink")
    wires.join(first, "reply.audio")
    for n in range(3):
        first.publish(audio(n))
    assert [wires.next(reader).restarted for _ in range(3)] == [False] * 3
    first.close()
    second = wires.publisher("downlink")
    wires.join(second, "reply.audio")
    for n in range(2):
        second.publish(audio(n))
    found = [wires.next(reader) for _ in range(2)]
    assert [(d.restarted, d.lost, d.stamp.seq) for d in found] == [(True, 0, 0), (False, 0, 1)]
    assert found[0].stamp.epoch > 0
    assert reader.losses == bus.Losses()


def test_a_clock_that_was_set_back_is_a_restart_too(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    sender.send_multipart(frames(audio(0), 7))
    sender.send_multipart(frames(audio(1), 0, epoch=EPOCH - 1))
    sender.send_multipart(frames(audio(2), 1, epoch=EPOCH - 1))
    assert [wires.next(reader).restarted for _ in range(3)] == [False, True, False]


def test_a_message_that_was_read_before_is_refused(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    good = [frames(audio(n), seq) for n, seq in ((0, 5), (1, 6), (2, 8))]
    for message in (good[0], good[0], good[1], good[0], good[1]):
        sender.send_multipart(message)
    sender.send_multipart(good[2])
    sender.send_multipart(frames(audio(3), 7))
    newer = frames(audio(4), 0, epoch=EPOCH + 1)
    sender.send_multipart(newer)
    # A message of the earlier epoch is refused although its seq is the next one.
    sender.send_multipart(frames(audio(5), 9))
    sender.send_multipart(newer)
    sender.send_multipart(frames(audio(6), 1, epoch=EPOCH + 1))
    found = [wires.next(reader).message for _ in range(5)]
    assert found == [audio(n) for n in (0, 1, 2, 4, 6)]
    assert reader.losses.refused == {"reply.audio": 6}
    assert reader.losses.last == "reply.audio: message refused: older than the message before it"


def test_two_publishers_in_turn_do_not_replace_each_other_for_ever(wires: Wires) -> None:
    reader = wires.subscriber(messages.ReplyAudio)
    sender = wires.foreign("downlink", "reply.audio")
    for seq in range(10):
        sender.send_multipart(frames(audio(seq), seq, epoch=EPOCH))
        sender.send_multipart(frames(audio(seq), seq, epoch=EPOCH + 1))
    found = [wires.next(reader) for _ in range(11)]
    assert [d.stamp.epoch for d in found] == [EPOCH] + [EPOCH + 1] * 10
    assert reader.losses.refused == {"reply.audio": 9}


# urgent topics


def test_a_flush_behind_300_frames_is_read_first(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    reader = wires.subscriber(messages.ReplyAudio, messages.Transcript, messages.Flush)
    wires.join(publisher, "reply.audio", "transcript", "flush")
    for n in range(300):
        publisher.publish(audio(n))
    publisher.publish(flush(1))
    wires.ready(reader)
    assert wires.next(reader).message == flush(1)
    found = [wires.next(reader).message for _ in range(300)]
    assert found == [audio(n) for n in range(300)]


def test_a_flush_that_comes_while_frames_are_read_is_read_next(wires: Wires) -> None:
    publisher = wires.publisher("downlink")
    reader = wires.subscriber(messages.ReplyAudio, messages.Flush)
    wires.join(publisher, "reply.audio", "flush")
    for n in range(300):
        publisher.publish(audio(n))
    assert wires.next(reader).message == audio(0)
    publisher.publish(flush(1))
    wires.ready(reader)
    assert wires.next(reader).message == flush(1)


@pytest.mark.parametrize(
    "kind", [messages.Flush, messages.MicFrame], ids=lambda kind: kind.__name__
)
def test_a_flood_on_one_endpoint_keeps_nobody_else_waiting(
    wires: Wires, kind: type[messages.Message]
) -> None:
    reader = wires.subscriber(kind, messages.Control, messages.LinkState)
    flood = registry.of(kind)
    senders = [
        wires.foreign(name, *topic)
        for name, *topic in (
            (flood.endpoint, flood.name),
            ("monitor", "control"),
            ("link", "link.state"),
        )
    ]
    many = 20 * bus.URGENT_AT_ONCE
    for seq in range(many):
        senders[0].send_multipart(frames(flush(seq) if kind is messages.Flush else mic(seq), seq))
    senders[1].send_multipart(frames(interrupt(), 0))
    senders[2].send_multipart(frames(link(), 0))
    wires.ready(reader)
    found = [type(wires.next(reader).message) for _ in range(many + 2)]
    # Every endpoint is read, an urgent one more often.
    assert (
        max(found.index(messages.Control), found.index(messages.LinkState))
        <= 2 * bus.URGENT_AT_ONCE + 1
    )
    # All messages of the flood are read as well.
    assert found.count(kind) == many


def test_only_the_owner_can_use_a_socket(wires: Wires) -> None:
    before = os.umask(0)
    try:
        publisher = wires.publisher("downlink")
    finally:
        os.umask(before)
    for address in publisher.addresses:
        assert Path(address.removeprefix("ipc://")).stat().st_mode & 0o777 == 0o600


def test_a_publisher_that_ends_beside_a_reader_that_did_not_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.leaving", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_subscription_is_seen_while_frames_are_published(wires: Wires) -> None:
    """A send can take the subscription in from the wire: the poller must report it all the same."""
    publisher = wires.publisher("capture")
    poller = Poller()
    for each in publisher.sockets:
        poller.watch(each)
    wires.subscriber(messages.MicFrame)
    frame = messages.MicFrame(stream=1, position=0, captured_ns=1, overflows=0, payload=bytes(960))
    end = time.monotonic() + 20
    while "mic.frame" not in publisher.subscribed:
        assert time.monotonic() < end, "the reader is not seen"
        publisher.publish(frame)
        publisher.welcome(poller.wait(0))


def test_queues_are_as_long_as_the_registry_says(wires: Wires) -> None:
    by_endpoint = dict(zip(["downlink", "flush"], wires.publisher("downlink").sockets, strict=True))
    assert {s.get(zmq.SNDHWM) for s in by_endpoint.values()} == {Queue.LOSSLESS.value}
    assert [s.get(zmq.SNDHWM) for s in wires.publisher("capture").sockets] == [Queue.STATE.value]
    # All subscriptions of a reader come together: see test_held_messages_come_after_the_state.
    endpoints = Counter(topic.endpoint for topic in registry.TOPICS)
    assert max(endpoints.values()) <= bus.REQUESTS_AHEAD
    # The reader's own queue is short: messages wait at their publisher.
    for kind in (messages.MicFrame, messages.ReplyAudio):
        assert [s.get(zmq.RCVHWM) for s in wires.subscriber(kind).sockets] == [bus.AHEAD]
