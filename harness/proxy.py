"""A TCP proxy between link and a server: a network that a test can cut, freeze or replace.

Each connection has two threads, one per direction. Each fault applies to all connections at once.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit, urlunsplit

#: How long the proxy waits for the server behind it, s.
PATIENCE_S = 20.0
CHUNK = 65536


@dataclass
class _Pair:
    """A connection: its socket to the client and its socket to the server."""

    client: socket.socket
    server: socket.socket
    frozen: bool = False


class Proxy:
    """Listens on loopback and forwards to the server of a URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._server = (parts.hostname, parts.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        #: The URL of the proxy.
        self.url = urlunsplit(
            parts._replace(netloc=f"127.0.0.1:{self._listening.getsockname()[1]}")
        )
        self.accepted = 0
        self._pairs: list[_Pair] = []
        self._answers: list[str] = []
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """Reset every connection, as a crash does."""
        for pair in self._pairs:
            for side in (pair.client, pair.server):
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            _close(pair)
        self._pairs.clear()

    def freeze(self) -> None:
        """Forward nothing on the present connections, without closing them: they are half-open."""
        for pair in self._pairs:
            pair.frozen = True

    def say_close(self, code: int, reason: str = "") -> None:
        """Send the client a close frame in the server's name."""
        data = struct.pack("!H", code) + reason.encode()
        for pair in self._pairs:
            with contextlib.suppress(OSError):
                pair.client.sendall(bytes([0x88, len(data)]) + data)
        self.freeze()

    def answer(self, status: str, count: int) -> None:
        """Answer the next connections with an HTTP status, as a proxy without its server does."""
        self._answers += [f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"] * count

    def close(self) -> None:
        """End the proxy."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for pair in self._pairs:
            _close(pair)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            if self._answers:
                self._start(_refuse, client, self._answers.pop(0))
                continue
            pair = _Pair(client, socket.create_connection(self._server))
            for side in (pair.client, pair.server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.append(pair)
            self._start(self._pump, pair, pair.client, pair.server)
            self._start(self._pump, pair, pair.server, pair.client)

    def _pump(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        try:
            while not self._ended:
                if not select.select([source], [], [], 0.1)[0] or pair.frozen:
                    if pair.frozen:
                        return
                    continue
                data = source.recv(CHUNK)
                if not data:
                    break
                if not pair.frozen:
                    sink.sendall(data)
        except (OSError, ValueError):
            pass
        if not pair.frozen:
            _close(pair)


def _close(pair: _Pair) -> None:
    for side in (pair.client, pair.server):
        side.close()


def _refuse(client: socket.socket, answer: str) -> None:
    with client, contextlib.suppress(OSError):
        client.recv(CHUNK)
        client.sendall(answer.encode())
