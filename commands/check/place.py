"""The sockets of one stage in whose place the kit publishes."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import zmq

from shared import codec, messages, registry


class Place:
    """The sockets of one stage in whose place the kit publishes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: Path, stage: str):
        self.epoch = time.time_ns() // 1000
        self.seq: Counter[str] = Counter()
        self.sockets: dict[str, zmq.Socket[bytes]] = {}
        self.last: dict[str, messages.Message] = {}
        #: The prefixes that are subscribed to now.
        self.subscriptions: Counter[bytes] = Counter()
        for name in dict.fromkeys(row.endpoint for row in registry.published_by(stage)):
            socket = context.socket(zmq.XPUB)
            socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            socket.setsockopt(zmq.SNDHWM, 100_000)
            socket.linger = 0
            socket.bind(f"ipc://{directory}/{name}.ipc")
            self.sockets[name] = socket

    def welcome(self) -> bool:
        """Take in new and ended subscriptions. Return whether there were new ones."""
        new = False
        for socket in self.sockets.values():
            while socket.poll(0):
                request = socket.recv()
                if request[:1] == b"\1":
                    new = True
                    self.subscriptions[request[1:]] += 1
                elif request[:1] == b"\0":
                    self.subscriptions[request[1:]] -= 1
        return new

    def send(self, row: registry.Topic, *frames: bytes) -> None:
        """Send frames under the names of a topic."""
        names = [row.name.encode()]
        if row.queue is registry.Queue.LOSSLESS:
            names.append(b"!" + names[0])
        for name in names:
            self.sockets[row.endpoint].send_multipart([name, *frames])

    def publish(self, row: registry.Topic, message: messages.Message) -> int:
        """Send a message. Return its time stamp, ns."""
        if row.queue is registry.Queue.STATE:
            self.last[row.name] = message
        now = time.monotonic_ns()
        stamp = messages.Stamp(seq=self.seq[row.name], epoch=self.epoch, t=now)
        self.seq[row.name] += 1
        self.send(row, *codec.encode(message, stamp))
        return now

    def repeat(self) -> None:
        """Send every state again."""
        for name, message in list(self.last.items()):
            self.publish(registry.BY_NAME[name], message)

    def close(self) -> None:
        """Close the sockets, so that the stage itself can bind them."""
        for socket in self.sockets.values():
            socket.close()
