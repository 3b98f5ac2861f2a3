"""A WebSocket server for the check of link: it keeps the text it gets, byte for byte.

Written on a socket, because a library would check and change the text that the check compares byte
for byte.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # opcodes
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


class Server:
    """Listens on loopback. It sends to the client that came last."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        self.pings = 0
        self.connections = 0
        self._client: socket.socket | None = None
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.url = f"ws://127.0.0.1:{self._listening.getsockname()[1]}/v1/realtime"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        stream = client.makefile("rb")
        key = b""
        for line in stream:
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
            if not line.strip():
                break
        digest = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
        )
        self._client = client
        self.connections += 1
        while len(head := stream.read(2)) == 2:
            length = head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", stream.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", stream.read(8))
            mask = stream.read(4)
            data = bytes(byte ^ mask[n % 4] for n, byte in enumerate(stream.read(length)))
            match head[0] & 0xF:
                case opcode if opcode == TEXT:
                    self.texts.append(data)
                case opcode if opcode == PING:
                    self.pings += 1
                    self._frame(PONG, data)
                case opcode if opcode == CLOSE:
                    return

    def _frame(self, opcode: int, data: bytes) -> None:
        if self._client is None:
            return
        length = bytes([len(data)]) if len(data) < 126 else struct.pack("!BH", 126, len(data))
        with contextlib.suppress(OSError):
            self._client.sendall(bytes([0x80 | opcode]) + length + data)

    def send(self, text: bytes) -> None:
        """Send a text of at most 64 KiB to the client."""
        self._frame(TEXT, text)

    def drop(self) -> None:
        """End the connection, as a network that breaks does."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
            self._client = None

    def close(self) -> None:
        """Stop listening."""
        self.drop()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
