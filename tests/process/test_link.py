"""link with servers that disappear, stop reading or send garbage."""

from __future__ import annotations

import base64
import contextlib
import functools
import re
import socket
import statistics
import threading
import time
from itertools import pairwise

import pytest

from shared import messages
from tests.support import servers
from tests.support.links import COMPLAINT, Uplink, link, publisher, states, texts, wait_state
from tests.support.pipeline import PATIENCE_S, Pipeline
from tests.support.servers import Connection, Script, Server

pytestmark = pytest.mark.process


def clock_s(line: str) -> float:
    """Return when a line was logged, s since midnight."""
    hours, minutes, seconds = line[:12].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


# Connecting, and connecting again.


def test_delays_grow_while_nobody_listens(pipeline: Pipeline) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        pipeline.settings["link.retry_first_ms"] = 10
        child = link(pipeline, f"ws://127.0.0.1:{closed.getsockname()[1]}/v1/realtime")
        # The delay grows from 10 ms to 200 ms, the longest one in the settings, in six attempts.
        wait_state(pipeline, "waiting", lambda s: s.retry_ms >= 100)
    delays = [s.retry_ms for s in states(pipeline, "waiting")]
    # From there on each delay is the longest one, apart from the random part.
    longest = next(number for number, delay in enumerate(delays) if delay >= 100)
    assert longest >= 3
    assert all(before <= after for before, after in pairwise(delays[: longest + 1])), delays
    assert max(delays) <= 200
    child.wait_line("Connection refused: check the network, .*; trying again in")
    assert child.running


def reset(connection: Connection) -> None:
    """Open the connection, then drop it as a crash would."""
    servers.begin(connection)
    connection.reset()


def reserved_bits(connection: Connection) -> None:
    """Open the connection, then send a frame with bits that were not agreed on."""
    servers.begin(connection)
    connection.socket.sendall(b"\xf1\x02{}")


def other_protocol(connection: Connection) -> None:
    """Answer with another protocol than HTTP."""
    connection.socket.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")


PASSING: dict[str, Script] = {
    "HTTP 502": servers.refuse("502 Bad Gateway", body="<html>"),
    "HTTP 503": servers.refuse("503 Service Unavailable"),
    "HTTP 429": servers.refuse("429 Too Many Requests"),
    "reset by peer": reset,
    "Connection to remote host was lost": servers.begin,
    "closed by the server (1000)": servers.close_with(1000),
    "closed by the server (1001 60 minutes)": servers.close_with(1001, "60 minutes"),
    "closed by the server (1011 oops)": servers.close_with(1011, "oops"),
    "no HTTP answer to the upgrade": other_protocol,
    "it compresses messages": reserved_bits,
}


def test_connects_again_after_what_may_pass(pipeline: Pipeline) -> None:
    def first(connection: Connection) -> None:
        heard.wait(PATIENCE_S)
        next(iter(PASSING.values()))(connection)

    # One link has each fault on one connection, and a good connection at the end.
    heard = threading.Event()
    with Server([first, *list(PASSING.values())[1:], servers.serve]) as server:
        child = link(pipeline, server.url)
        wait_state(pipeline, "connecting")
        heard.set()
        last = server.wait(len(PASSING) + 1)
        opened = wait_state(pipeline, "open", since=pipeline.bus.now)
        assert child.running
        waits = states(pipeline, "waiting")
        for wait, why in zip(waits, PASSING, strict=True):
            assert why in wait.reason
        child.wait_line("trying again in", len(PASSING))
        assert len(child.matching("trying again in")) == len(PASSING)
        # No attempt came before its delay was over.
        for wait, (before, after) in zip(waits, pairwise(server.connections), strict=True):
            assert after.at - before.at >= wait.retry_ms / 1000
        assert last is server.connections[-1]
    sessions = [s.session for s in states(pipeline, "open")]
    assert sessions == sorted(sessions)
    assert opened.session == sessions[-1]


def test_headers_without_end_are_not_read_for_ever(pipeline: Pipeline) -> None:
    def fast(connection: Connection) -> None:
        connection.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            connection.socket.sendall(b"X-Filler: %b\r\n" % (b"x" * 1000))

    def slow(connection: Connection) -> None:
        connection.socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            # The server's own pace: no read waits for long, and the head never gets too long.
            time.sleep(0.02)
            connection.socket.sendall(b"X-Filler: x\r\n")

    pipeline.settings["link.connect_timeout_s"] = 0.5
    with Server([fast, slow, servers.serve]) as server:
        child = link(pipeline, server.url)
        wait_state(pipeline, "open")
        # Both times are link's own, because the server may see a connection late. They are in ms.
        _, begun, given_up, _ = child.matching("connecting to|trying again")[1:]
        assert clock_s(begun) <= clock_s(given_up) - 0.499
        # A connection that was open in time stays open.
        beats = [pipeline.bus.health("link", since=pipeline.bus.now) for _ in range(2)]
        assert child.running
        assert states(pipeline, "open")[-1].session == states(pipeline, "open")[0].session
        waits = states(pipeline, "waiting")
    # A busy machine may need longer than 0.5 s to send the first head.
    late = "not open within 0.5 s: check the network, link.url and, if there is one, the proxy"
    long = "an answer to the upgrade of more than 65536 bytes"
    assert [each.reason for each in waits] in ([long, late], [late, late])
    assert waits[1].cause == "unreachable"
    assert all(beat.ok for beat in beats)


# A connection that no longer works.


def test_a_half_open_connection_is_noticed_and_an_idle_one_is_not(pipeline: Pipeline) -> None:
    def deaf(connection: Connection) -> None:
        servers.begin(connection)
        while True:
            connection.next_frame()

    pipeline.settings |= {"link.ping_interval_s": 0.2, "link.pong_timeout_s": 0.3}
    with Server([deaf, servers.serve]) as server:
        child = link(pipeline, server.url)
        idle = server.wait(2)
        lost = child.wait_line(COMPLAINT)
        assert "no answer to pings" in lost
        # A good connection without messages stays open, for many times the timeout.
        idle.wait_pings(6)
        assert child.matching(COMPLAINT) == [lost]
        assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("opcode", "data", "what"),
    [(9, b"", "50 pings"), (servers.TEXT, b'{"type":"x"}', "500 short messages")],
    ids=["pings", "messages"],
)
def test_a_flood_ends_the_connection_as_hostile(
    pipeline: Pipeline, opcode: int, data: bytes, what: str
) -> None:
    def floods(connection: Connection) -> None:
        servers.begin(connection)
        end = time.monotonic() + PATIENCE_S
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                connection.frame(opcode, data)

    with Server([floods, servers.serve]) as server:
        child = link(pipeline, server.url)
        child.wait_line(f"the server sends more than {what} a second|{what} and pongs a second")
        wait_state(pipeline, "open", lambda s: s.cause == "hostile")
        if opcode == 9:
            # Without the flood of messages, no message to the test is lost.
            assert what in wait_state(pipeline, "waiting").reason
        assert child.running


def test_an_event_for_an_older_session_is_not_sent(pipeline: Pipeline) -> None:
    def first(connection: Connection) -> None:
        servers.begin(connection)
        connection.read(lambda event: event["text"] == "one")
        # Read no more, so that the next events still wait in link when the connection ends.
        over.wait(PATIENCE_S)
        connection.reset()

    over = threading.Event()
    with Server([first, servers.serve]) as server:
        link(pipeline, server.url)
        with Uplink(pipeline) as uplink:
            old = wait_state(pipeline, "open").session
            uplink.say("none yet", 0)
            uplink.say("one", old)
            for number in range(200):
                uplink.say(f"waiting {number}", old, size=10_000)
            pipeline.bus.wait_for(messages.ClientEvent, lambda e: b"waiting 199" in e.payload)
            over.set()
            new = wait_state(pipeline, "open", lambda s: s.session > old).session
            uplink.say("too late", old)
            uplink.say("two", new)
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"echo"' in e.payload)
        assert texts(server.connections[0]) == ["one"]
        assert texts(server.connections[1]) == ["two"]
        health = pipeline.bus.health("link", lambda h: h.counters.get("events_unsent", 0) >= 2)
        assert health.ok


def test_events_for_a_replaced_session_still_reach_it(
    pipeline: Pipeline,
) -> None:
    with Server([servers.serve, servers.refuse("401 Unauthorized"), servers.serve]) as server:
        child = link(pipeline, server.url)
        downlink = publisher(pipeline, "downlink", "session.renew")
        with Uplink(pipeline) as uplink:
            old = wait_state(pipeline, "open").session
            uplink.say("one", old)
            renew = messages.Renew(session=old, forced=False)
            # A refused renewal changes nothing. Without a session, the refusal would end link.
            downlink.publish(renew)
            child.wait_line("could not renew the session: HTTP 401")
            # link does not try again at once.
            pipeline.bus.health("link", lambda h: h.counters.get("renewals_failed"))
            downlink.publish(renew)
            new = wait_state(pipeline, "open", lambda s: s.session > old).session
            # A session is replaced once: a later request to renew the old one has no effect.
            downlink.publish(renew)
            uplink.say("two", old)
            uplink.say("three", new)
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"three"' in e.payload)
            uplink.say("four", old)
            pipeline.bus.health("link", lambda h: h.counters.get("events_unsent"))
        first, _, second = server.connections
        assert texts(first) == ["one", "two"]
        assert texts(second) == ["three"]
        assert len(server.connections) == 3
        assert states(pipeline, "waiting") == []
    downlink.close()
    assert first.closed_with == 1000
    assert {s.cause for s in states(pipeline, "open") if s.session == new} == {"renewed"}


def test_expired_events_are_dropped_and_counted_while_the_network_stalls(
    pipeline: Pipeline,
) -> None:
    def stalling(connection: Connection) -> None:
        servers.begin(connection)
        connection.read(lambda event: event["text"] == "begin")
        connection.send("test", hear="me")
        over.wait(PATIENCE_S)
        servers.serve_on(connection)

    over = threading.Event()
    count = 400
    with Server(stalling) as server:
        child = link(pipeline, server.url)
        with Uplink(pipeline) as uplink:
            session = wait_state(pipeline, "open").session
            uplink.say("begin", session)
            heard = pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"hear"' in e.payload)
            for number in range(count):
                uplink.say(number, session, heard.stamp.t + 500_000_000, size=4000)
            # link still publishes what the server sends.
            server.connections[0].send("test", still="here")
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"still"' in e.payload)
            expired = settled(pipeline)
            uplink.say("after", session)
            over.set()
            pipeline.bus.wait_for(messages.ServerEvent, lambda e: b'"echo": "after"' in e.payload)
        came = texts(server.connections[0])
    # The server got what the kernel had taken when the network stalled, and nothing too old.
    taken = len(came) - 2
    assert came == ["begin", *map(str, range(taken)), "after"]
    assert expired == count - taken
    # The kernel holds about one second of speech, much less than all of it.
    assert 0 < taken < count / 2
    assert child.end() == 0
    assert len(child.matching("old speech was dropped")) == 1


#: How often link pings in the test below, s, and how many pings fall due while it lasts.
PING_S, PINGS = 0.2, 5
#: How many pings the server sends in a second.
PINGS_PER_S = 40


def test_a_server_that_stops_reading_delays_nothing_that_it_sends(pipeline: Pipeline) -> None:
    """Neither link's pings nor its answers to pings wait until the socket takes them."""

    def contains(text: str, event: messages.ServerEvent) -> bool:
        return text.encode() in event.payload

    def delays_ms(connection: Connection, name: str) -> list[float]:
        """Send pings and events; return how long each event took to the bus, ms."""
        found: list[float] = []
        begin = time.monotonic()
        while (slot := len(found) / PINGS_PER_S) < PINGS * PING_S:
            # A server that sends its pings without a pause is hostile; see services/link/inflow.py.
            time.sleep(max(0.0, begin + slot - time.monotonic()))
            text = f"{name} {len(found)}."
            connection.frame(servers.PING, b"")
            sent_ns = time.monotonic_ns()
            connection.send("test", text=text)
            event = pipeline.bus.wait_for(messages.ServerEvent, functools.partial(contains, text))
            found.append((event.stamp.t - sent_ns) / 1e6)
        return found

    def stalling(connection: Connection) -> None:
        servers.begin(connection)
        # The test hears link before the server goes on: otherwise it could miss the first event.
        session = wait_state(pipeline, "open").session
        connection.send("response.created", response={"id": "r", "status": "in_progress"})
        audio = base64.b64encode(bytes(9600)).decode()
        connection.send("response.output_audio.delta", response_id="r", item_id="i", delta=audio)
        usual.extend(delays_ms(connection, "usual"))
        # From here on the server reads nothing. More is sent to it than the socket takes.
        assert ready.wait(PATIENCE_S)
        for number in range(400):
            uplink.say(number, session, size=4000)
        pipeline.bus.wait_for(messages.ClientEvent, lambda e: b'"399"' in e.payload)
        stalled.extend(delays_ms(connection, "stalled"))
        sent_ns = time.monotonic_ns()
        connection.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="u")
        flush = pipeline.bus.wait_for(messages.Flush)
        flushed_ms.append((flush.stamp.t - sent_ns) / 1e6)
        over.set()
        servers.serve_on(connection)

    usual: list[float] = []
    stalled: list[float] = []
    flushed_ms: list[float] = []
    ready, over = threading.Event(), threading.Event()
    pipeline.settings["link.ping_interval_s"] = PING_S
    # The server answers no ping while it does not read. That is another test's subject.
    pipeline.settings["link.pong_timeout_s"] = 2 * PATIENCE_S
    with Server(stalling) as server:
        pipeline.settings["link.url"] = server.url
        pipeline.up("downlink")
        link(pipeline, server.url)
        with Uplink(pipeline) as uplink:
            ready.set()
            assert over.wait(PATIENCE_S)
        # The connection was never lost.
        assert states(pipeline, "waiting") == []
        assert len(server.connections) == 1
    # An event that took a few ms still takes a few ms, and not the seconds that a blocked send
    # takes.
    assert statistics.median(stalled) < 5 * statistics.median(usual) + 5, (usual, stalled)
    assert max(stalled) < 10 * max(usual) + 100, (usual, stalled)
    assert flushed_ms[0] < 10 * max(usual) + 100


def settled(pipeline: Pipeline) -> int:
    """Wait until link's count of expired events grows no more; return the count."""
    now, last = 0, -1
    while True:
        state = wait_state(pipeline, "open", lambda s: s.expired, since=now)
        if state.expired == last:
            return last
        now, last = pipeline.bus.now, state.expired


# What a server may send.


def test_garbage_is_counted_said_once_and_skipped(pipeline: Pipeline) -> None:
    def babble(connection: Connection) -> None:
        servers.begin(connection)
        started.wait(PATIENCE_S)
        for _ in range(3):
            connection.frame(servers.BINARY, b"\x00\xff" * 40)
            connection.frame(servers.TEXT, b'{"type": "response.output_audio.delta", "del')
            connection.frame(servers.TEXT, b'{"type": "\xff\xfe"}')
            connection.frame(servers.TEXT, b"[" * 100_000)
            connection.frame(servers.TEXT, b'{"type":"response.output_audio.delta","delta":7}')
            connection.send("response.mind.read", event_id="e")
        connection.frame(servers.TEXT, b"x" * (messages.MAX_TEXT + 1))
        # One event in three frames, with a ping between them.
        connection.socket.sendall(b"\x01\x0a" + b'{"type":"r' + b"\x00\x0a" + b"esponse.ou")
        connection.frame(servers.PING, b"")
        text = b'tput_text.done","item_id":"i","response_id":"r","text":"the rest goes on"}'
        connection.socket.sendall(bytes([0x80, len(text)]) + text)
        servers.serve_on(connection)

    started = threading.Event()
    with Server(babble) as server:
        pipeline.settings["link.url"] = server.url
        children = pipeline.all_up("downlink", "link")
        pipeline.bus.wait_for(messages.ReplyState, lambda s: s.session)
        started.set()
        heard = pipeline.bus.wait_for(messages.Transcript).message
        assert heard.text == "the rest goes on"
        pipeline.bus.health(
            "link",
            lambda h: h.counters.get("binary_frames") == 3 and h.counters.get("oversized") == 1,
        )
        pipeline.bus.health(
            "downlink",
            lambda h: h.counters.get("bad_events") == 12 and h.counters.get("unknown_events") == 1,
        )
        assert len(server.connections) == 1
    for child in children.values():
        assert child.end() == 0
    assert len(children["link"].matching("a binary frame, skipped")) == 1
    assert len(children["link"].matching(f"a frame of {messages.MAX_TEXT + 1} bytes, skipped")) == 1
    bad, unknown = children["downlink"].matching(COMPLAINT)
    assert "the server sent not a server event" in bad
    assert "the server sends 'response.mind.read', which Bargein does not know: skipped" in unknown


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x81\x7f\x7f" + b"\xff" * 7, "a message of 9223372036854775807 bytes, at most"),
        (b"\x01\x01x" + b"\x00\x00" * 5000, "a message in more than 1024 frames"),
    ],
    ids=["of any length", "without an end"],
)
def test_a_message_that_would_take_all_the_memory_is_not_read(
    pipeline: Pipeline, said: bytes, why: str
) -> None:
    def flood(connection: Connection) -> None:
        servers.begin(connection)
        connection.socket.sendall(said)
        while True:
            connection.socket.sendall(bytes(65536))

    with Server([flood, servers.serve]) as server:
        child = link(pipeline, server.url)
        server.wait(2)
        wait_state(pipeline, "open", lambda s: s.session)
    assert why in child.wait_line(" W ")
    assert child.end() == 0


def test_the_text_of_a_server_stays_on_one_line(pipeline: Pipeline) -> None:
    evil = "no\n12:00:00.000 E forged\r\x1b[2J\u2028\x07gone"

    def speak(connection: Connection) -> None:
        servers.begin(connection)
        started.wait(PATIENCE_S)
        connection.send("error", error={"type": "t", "code": evil, "param": evil, "message": evil})
        for number in range(100):
            long = f"{number} {'x' * 5000}"
            connection.send("error", error={"code": long, "param": long, "message": long})
        connection.send(evil)
        connection.read(lambda event: event["type"] == "test")
        connection.close(1011, evil)

    started = threading.Event()
    with Server([speak, servers.serve]) as server:
        pipeline.settings["link.url"] = server.url
        children = pipeline.all_up("downlink", "link")
        session = pipeline.bus.wait_for(messages.ReplyState, lambda s: s.session).message.session
        started.set()
        health = pipeline.bus.health("downlink", lambda h: h.counters.get("unknown_events"))
        assert health.counters["error.other"] == 51
        with Uplink(pipeline) as uplink:
            uplink.say("all was said", session)
            server.wait(2)
    for child in children.values():
        assert child.end() == 0
        assert child.matching("forged")
        for line in child.lines:
            assert re.match(r"\d\d:\d\d:\d\d\.\d{3} [IWE] ", line)
            assert line.isprintable()
            assert not line.startswith("12:00:00.000")
            assert len(line) < 1000
