"""WebSocket servers that misbehave on request: a socket, and a thread with a script per connection.

The servers use plain sockets, because a WebSocket library can't misbehave like that: stop reading,
answer nothing, or send an invalid frame.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.pipeline import PATIENCE_S

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: A self-signed certificate for 127.0.0.1, valid until 2126, and its key, which is no secret.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBlTCCATygAwIBAgIUQi9msq9rDOqoSlvNns1ajw66Me4wCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMYmFyZ2Vpbi10ZXN0MCAXDTI2MTEyMjE4MDgyOFoYDzIxMjYx
MDI5MTgwODI4WjAXMRUwEwYDVQQDDAxiYXJnZWluLXRlc3QwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAATDVpJ0TNFQV76g2x58lcbK0USQbBu+VXtfKf8pwF8YxET6
u2E/EDQuns2CpKOmAeMD6uHTrw4bPCVblnkEbECto2QwYjAdBgNVHQ4EFgQU05K9
yu6RWx/BiG/HfJDJP5XlVXAwHwYDVR0jBBgwFoAU05K9yu6RWx/BiG/HfJDJP5Xl
VXAwDwYDVR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMC
A0cAMEQCIEP2PgWrJidSlKl/0dq/k57y+0o2Am8sLXGGbzFylICEAiBXEtW9Y7Bg
eZX5UmcGwKaM3vsh5MM7VyMDf7vw8ljArg==
-----END CERTIFICATE-----
"""
CERTIFICATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRE/gD4Z5ZV02aFXa
1qDRBSfpDDcFFcoXXhC03RxWkP2hRANCAATDVpJ0TNFQV76g2x58lcbK0USQbBu+
VXtfKf8pwF8YxET6u2E/EDQuns2CpKOmAeMD6uHTrw4bPCVblnkEbECt
-----END PRIVATE KEY-----
"""

Script = Callable[["Connection"], None]


class Gone(Exception):
    """Raised when the client has closed the connection, or the test is over."""


@dataclass(frozen=True)
class Arrival:
    """A client event, and the time at which the server read it."""

    event: dict[str, Any]
    #: Monotonic ns.
    at_ns: int


@dataclass
class Connection:
    """One connection of a client."""

    socket: socket.socket
    #: When the server accepted the connection, monotonic s.
    at: float
    request: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    #: The client's events, the number of its pings, and the code of its close.
    events: list[Arrival] = field(default_factory=list)
    pings: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    closed_with: int | None = None

    def read_request(self) -> None:
        """Read the HTTP request."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._exactly(1)
        self.request, *lines = head.decode("latin-1").strip().split("\r\n")
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()

    def upgrade(self, *headers: str) -> Self:
        """Accept the upgrade to a WebSocket. ``headers``: more lines of the answer."""
        digest = hashlib.sha1(self.headers["sec-websocket-key"].encode() + _GUID).digest()
        accept = base64.b64encode(digest).decode()
        self.respond(
            "101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
            *headers,
        )
        return self

    def respond(self, status: str, *headers: str, body: str = "") -> None:
        """Answer the HTTP request."""
        head = [f"HTTP/1.1 {status}", *headers]
        if body:
            head.append(f"Content-Length: {len(body)}")
        text = "\r\n".join([*head, "", body])
        self.socket.sendall(text.encode("utf-8", "surrogateescape"))

    def send(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        self.frame(TEXT, json.dumps({"type": kind, **fields}).encode())

    def frame(self, opcode: int, data: bytes) -> None:
        """Send a frame."""
        length = (
            bytes([len(data)])
            if len(data) < 126
            else struct.pack("!BH", 126, len(data))
            if len(data) < 65536
            else struct.pack("!BQ", 127, len(data))
        )
        self.socket.sendall(bytes([0x80 | opcode]) + length + data)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame, and wait for the client's answer."""
        self.frame(CLOSE, struct.pack("!H", code) + reason.encode())
        with contextlib.suppress(Gone):
            self.read()

    def reset(self) -> None:
        """Break the connection as a crash does, with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def next_frame(self) -> tuple[int, bytes]:
        """Read one frame, and return its opcode and its data. Raises Gone at the stream's end."""
        head = self._exactly(2)
        length = head[1] & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._exactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._exactly(8))
        mask = self._exactly(4)
        data = self._exactly(length)
        wide = (mask * (length // 4 + 1))[:length]
        plain = int.from_bytes(data, "big") ^ int.from_bytes(wide, "big")
        return head[0] & 0xF, plain.to_bytes(length, "big")

    def read(self, until: Callable[[dict[str, Any]], object] = lambda _: False) -> None:
        """Read events and answer pings, until an event that ``until`` accepts. Raises Gone."""
        while True:
            opcode, data = self.next_frame()
            if opcode == PING:
                self.frame(PONG, data)
                with self._changed:
                    self.pings += 1
                    self._changed.notify_all()
            elif opcode == CLOSE:
                self.closed_with = int.from_bytes(data[:2], "big")
                raise Gone
            elif opcode == TEXT:
                event = json.loads(data)
                with self._changed:
                    self.events.append(Arrival(event, time.monotonic_ns()))
                    self._changed.notify_all()
                if until(event):
                    return

    def of(self, kind: str) -> list[Arrival]:
        """Return the events of a type so far."""
        return [arrival for arrival in list(self.events) if arrival.event["type"] == kind]

    def wait_pings(self, count: int) -> None:
        """Wait until the server has answered ``count`` pings."""
        with self._changed:
            self._changed.wait_for(lambda: self.pings >= count, PATIENCE_S)
        assert self.pings >= count, f"only {self.pings} pings arrived"

    def wait(self, kind: str, count: int = 1) -> Arrival:
        """Wait until ``count`` events of a type have arrived, and return the last of these."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.of(kind)) >= count, PATIENCE_S)
        found = self.of(kind)
        assert len(found) >= count, f"these arrived: {[a.event['type'] for a in self.events]}"
        return found[count - 1]

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except OSError:
                more = b""
            if not more:
                raise Gone
            data += more
        return bytes(data)


class Server:
    """Listens on loopback, and runs the next script for each connection; the last one repeats."""

    def __init__(self, scripts: Script | Iterable[Script], certificate: Path | None = None) -> None:
        self._scripts = [scripts] if callable(scripts) else list(scripts)
        self.connections: list[Connection] = []
        self.failures: list[BaseException] = []
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self.show(certificate)
        self._listening = socket.socket()
        # Small, so that a connection from which a script does not read is soon full.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen()
        self.port: int = self._listening.getsockname()[1]
        self._accepter = threading.Thread(target=self._accept, daemon=True)
        self._accepter.start()

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"ws{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1/realtime"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and end every connection. Raise the first exception of a script."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepter.join()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for connection in self.connections:
            connection.socket.close()
        if self.failures:
            raise self.failures[0]

    def show(self, certificate: Path) -> None:
        """Use a certificate from the next connection on."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        self._tls = tls

    def wait(self, count: int = 1) -> Connection:
        """Wait for the request of connection number ``count``, and return the connection."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.connections) >= count, PATIENCE_S)
        assert len(self.connections) >= count, f"only {len(self.connections)} connections"
        return self.connections[count - 1]

    def _accept(self) -> None:
        for number in range(1_000_000):
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            script = self._scripts[min(number, len(self._scripts) - 1)]
            thread = threading.Thread(target=self._serve, args=(accepted, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket, script: Script) -> None:
        at = time.monotonic()
        try:
            if self._tls is not None:
                accepted = self._tls.wrap_socket(accepted, server_side=True)
            connection = Connection(accepted, at)
            connection.read_request()
        except (OSError, Gone):
            # The client does not trust the certificate, or closed the connection.
            accepted.close()
            return
        with self._changed:
            self.connections.append(connection)
            self._changed.notify_all()
        try:
            script(connection)
        except (Gone, OSError):
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the test sees it
            self.failures.append(error)
        finally:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)


def serve(connection: Connection) -> None:
    """Behave well: begin a session, and answer events."""
    begin(connection)
    serve_on(connection)


def serve_on(connection: Connection) -> None:
    """Answer each session.update, and each event of type "test"."""
    while True:
        connection.read(lambda event: event["type"] in ("session.update", "test"))
        if connection.events[-1].event["type"] == "test":
            connection.send("test", echo=connection.events[-1].event["text"])
        else:
            connection.send("session.updated", event_id="e2", session={})


def begin(connection: Connection) -> None:
    """Accept the upgrade, and begin a session."""
    connection.upgrade().send("session.created", event_id="e1", session={})


def refuse(status: str, *headers: str, body: str = "") -> Script:
    """Return a script that refuses the upgrade with an HTTP status."""
    return lambda connection: connection.respond(status, *headers, body=body)


def close_with(code: int, reason: str = "") -> Script:
    """Return a script that begins a session and then closes the connection."""

    def script(connection: Connection) -> None:
        begin(connection)
        connection.close(code, reason)

    return script
