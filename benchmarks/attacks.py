"""The attacks of benchmarks.siege: what a hostile server sends, and which programs run."""

from __future__ import annotations

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


#: A program that keeps so many connections to a port open and says nothing. When one of them is
#: closed, it opens another one.
STRANGERS = """
import resource, select, socket, sys, time
port, count = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (2 * count + 100,) * 2)
poller, held = select.poll(), {}
while True:
    try:
        for _ in range(min(50, count - len(held))):
            one = socket.create_connection(("127.0.0.1", port), timeout=1)
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


def strangers(count: int) -> Callable[[Path, int], list[list[str]]]:
    """Return the command that keeps so many silent connections to link's port."""

    def commands(_bus: Path, port: int) -> list[list[str]]:
        return [[sys.executable, "-c", STRANGERS, str(port), str(count)]]

    return commands


@dataclass(frozen=True)
class Attack:
    """One attack: what the server does, which programs run, or which stages are stopped."""

    flood: Flood | None = None
    #: Return the programs' commands, by the bus directory and the port on which link listens.
    programs: Callable[[Path, int], list[list[str]]] | None = None
    #: Whether link publishes on a port, as it does with two machines.
    listens: bool = False
    #: Stages that are stopped (SIGSTOP) for 5 s and run for 3 s, in turn.
    stopped: tuple[str, ...] = ()


ATTACKS = {
    "none": Attack(),
    "responses of 400 bytes": Attack(flood=created(400)),
    "responses of 4 kB": Attack(flood=created(4000)),
    "small events": Attack(flood=small),
    "pings": Attack(flood=pings),
    "messages of 60 MB": Attack(flood=huge),
    "server that stops reading": Attack(flood=unread(2.0)),
    "stages stopped for 5 s": Attack(stopped=("uplink", "vad", "echo", "capture")),
    "300,000 subscriptions": Attack(programs=program(SUBSCRIBER, 300_000, 0)),
    "subscriptions of 20 MB": Attack(programs=program(SUBSCRIBER, 6, 20_000_000)),
    "readers that do not read": Attack(programs=program(DEAF)),
    "1,000 silent connections": Attack(programs=strangers(1000), listens=True),
}
