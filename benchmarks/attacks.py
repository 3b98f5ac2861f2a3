"""The attacks of benchmarks.siege: what a hostile server sends, and which programs run."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.server import ServerConnection

#: Sends one part of a flood. The random numbers are seeded.
Flood = Callable[[ServerConnection, random.Random], Awaitable[object]]


def created(size: int) -> Flood:
    """Return a flood of ``response.created`` of this size, about 1 MB/s."""

    async def flood(client: ServerConnection, chance: random.Random) -> None:
        for _ in range(max(1, 5000 // size)):
            event = {
                "type": "response.created",
                "response": {
                    "id": f"resp_{chance.getrandbits(64):x}",
                    "status": "in_progress",
                    "metadata": {"pad": "x" * max(0, size - 150)},
                },
            }
            await client.send(json.dumps(event))

    return flood


async def small(client: ServerConnection, _: random.Random) -> None:
    """Send small events, 20,000 a second."""
    for _number in range(100):
        await client.send('{"type":"rate_limits.updated","event_id":"e"}')


async def huge(client: ServerConnection, _: random.Random) -> None:
    """Send a message of 60 MB, more than link reads."""
    await client.send("x" * 60_000_000)


def unread(after_s: float) -> Flood:
    """Return an attack in which the server reads a connection for ``after_s``, and then no more."""
    began: dict[ServerConnection, float] = {}

    async def flood(client: ServerConnection, _: random.Random) -> None:
        since = began.setdefault(client, time.monotonic())
        if time.monotonic() - since > after_s:
            client.transport.pause_reading()
            # Otherwise the kernel would take in a quarter of a minute of speech.
            client.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )

    return flood


async def pings(client: ServerConnection, chance: random.Random) -> None:
    """Send pings as fast as the connection takes them."""
    for _ in range(100):
        await client.ping(chance.randbytes(8))


#: Events that no server should send, in turn. The limits of link let 400 of them a second pass.
STRANGE = (
    '{"type":"conversation.item.added","item":{"id":"item_%d","type":"message","role":"user"}}',
    '{"type":"response.output_audio.delta","response_id":"r%d","item_id":"i","delta":"AAAA"}',
    '{"type":"response.output_text.delta","response_id":"r%d","item_id":"i","delta":"\\ud83d"}',
    '{"type":"session.created","session":{"id":"sess_%d","expires_at":' + "9" * 18 + "}}",
    '{"type":"response.done","response":{"id":"r%d","usage":{"total_tokens":1e308}}}',
    '{"type":"response.created","response":{"id":"%d","metadata":'
    + '{"a":' * 150
    + "1"
    + "}" * 152,
    '{"type":"input_audio_buffer.speech_started","audio_start_ms":%d' + "0" * 300 + "}",
    '{"type":"error","error":{"message":%d}}' + "]" * 50,
    '{"type":"\\u001b[2J%d"}',
)


def strange() -> Flood:
    """Return a flood of events that make no sense, 400 a second."""
    sent = itertools.count()

    async def flood(client: ServerConnection, _: random.Random) -> None:
        for number in itertools.islice(sent, 2):
            await client.send(STRANGE[number % len(STRANGE)] % number)

    return flood


async def hung_up(client: ServerConnection, _: random.Random) -> None:
    """Close the connection after 5 s, with a reason that a terminal would obey."""
    await asyncio.sleep(5.0)
    await client.close(1011, "\x1b[2J\x1b]0;mine\x07\u202e\u009b31m" * 5)


#: A program that subscribes to the endpoint that its first argument names.
SUBSCRIBER = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.XSUB)
socket.setsockopt(zmq.SNDHWM, 0)
socket.connect(sys.argv[1])
for n in range(int(sys.argv[2])):
    socket.send(b"\\x01%012d" % n + bytes(int(sys.argv[3])))
time.sleep(60)
"""
#: A program that subscribes to everything and reads nothing.
DEAF = """
import sys, time, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.setsockopt(zmq.RCVHWM, 1)
socket.subscribe(b"")
socket.connect(sys.argv[1])
time.sleep(60)
"""


#: A program that takes the endpoints of two stages that do not run, and publishes invalid messages
#: to their readers.
FORGER = """
import itertools, random, sys, time, zmq
from shared import registry
sockets = []
for name in ("monitor", "tools"):
    socket = zmq.Context.instance().socket(zmq.PUB)
    socket.bind(f"ipc://{sys.argv[1]}/{name}.ipc")
    topics = [t.name.encode() for t in registry.TOPICS if t.publisher == name]
    sockets += [(socket, topic) for topic in topics]
chance = random.Random(15)
deep, long = b"\\x91" * 500_000, b"\\x81\\xa1v\\xdb\\x00\\x98\\x96\\x80" + bytes(10_000_000)
for number in itertools.count():
    socket, topic = sockets[number % len(sockets)]
    header = deep if number % 500 == 0 else long if number % 500 == 250 else chance.randbytes(60)
    socket.send_multipart([topic, header, chance.randbytes(20)])
    time.sleep(0.0005)
"""
#: A program that keeps a number of connections to a port open, each with the words of its third
#: argument. When one of them is closed, it opens another one.
STRANGERS = """
import resource, select, socket, sys, time
port, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100,) * 2)
poller, held = select.poll(), {}
while True:
    try:
        for _ in range(min(50, count - len(held))):
            one = socket.create_connection(("127.0.0.1", port), timeout=1)
            one.sendall(sys.argv[3].encode())
            held[one.fileno()] = one
            poller.register(one, select.POLLIN)
    except OSError:
        time.sleep(0.05)
    for descriptor, _ in poller.poll(20):
        try:
            silent = held[descriptor].recv(4096)
        except OSError:
            silent = b""
        if not silent:
            poller.unregister(descriptor)
            held.pop(descriptor).close()
"""


def program(text: str, *arguments: object) -> Callable[[Path, int], list[list[str]]]:
    """Return the commands that attack the endpoints of downlink and link."""

    def commands(bus: Path, _port: int) -> list[list[str]]:
        return [
            [sys.executable, "-c", text, f"ipc://{bus}/{name}.ipc", *map(str, arguments)]
            for name in ("downlink", "link")
        ]

    return commands


def forger(bus: Path, _port: int) -> list[list[str]]:
    """Return the command that publishes invalid messages."""
    return [[sys.executable, "-c", FORGER, str(bus)]]


def strangers(count: int, words: str = "") -> Callable[[Path, int], list[list[str]]]:
    """Return the command that keeps ``count`` connections to a port that send nothing more."""

    def commands(_bus: Path, port: int) -> list[list[str]]:
        return [[sys.executable, "-c", STRANGERS, str(port), str(count), words]]

    return commands


@dataclass(frozen=True)
class Attack:
    """One attack: what the server does, which programs run, or which stages are stopped."""

    flood: Flood | None = None
    #: Return the programs' commands, by the bus directory and the port on which link listens.
    programs: Callable[[Path, int], list[list[str]]] | None = None
    #: Whether link publishes on a port, as it does with two machines.
    listens: bool = False
    #: Whether monitor runs too, and serves the page on that port.
    page: bool = False
    #: Stages that are stopped (SIGSTOP) for 5 s and run for 3 s, in turn.
    stopped: tuple[str, ...] = ()


ATTACKS = {
    "none": Attack(),
    "responses of 400 bytes": Attack(flood=created(400)),
    "responses of 4 kB": Attack(flood=created(4000)),
    "small events": Attack(flood=small),
    "pings": Attack(flood=pings),
    "messages of 60 MB": Attack(flood=huge),
    "strange events": Attack(flood=strange()),
    "reasons with escape sequences": Attack(flood=hung_up),
    "server that stops reading": Attack(flood=unread(2.0)),
    "stages stopped for 5 s": Attack(stopped=("uplink", "vad", "echo", "capture")),
    "300,000 subscriptions": Attack(programs=program(SUBSCRIBER, 300_000, 0)),
    "subscriptions of 20 MB": Attack(programs=program(SUBSCRIBER, 6, 20_000_000)),
    "readers that do not read": Attack(programs=program(DEAF)),
    "1,000 silent connections": Attack(programs=strangers(1000), listens=True),
    "10,000 slow requests of the page": Attack(
        programs=strangers(10_000, "GET / HTTP/1.1\r\nX: "), page=True
    ),
    "messages that are none": Attack(programs=forger),
}
