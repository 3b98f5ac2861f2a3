"""An HTTP proxy that takes CONNECT, and a SOCKS 5 server. Both lead where a test wants."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

#: Reply codes of SOCKS 5 (RFC 1928).
GRANTED, NOT_ALLOWED, HOST_UNREACHABLE = 0, 2, 4


class _Proxy:
    """Listens on loopback. Each connection has a thread, and one more once it leads somewhere."""

    def __init__(self, port: int, login: str = "", certificate: Path | None = None) -> None:
        """``port``: where every connection leads. ``login``: the ``user:password`` to ask for."""
        self._port, self._login = port, login
        #: The servers that clients have asked for, as ``host:port``.
        self.targets: list[str] = []
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address: str = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listening, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for each in (self._listening, *self._open):
            each.close()

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._open.append(client)
                self._run(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
                self._open.append(client)
            if self._admit(client):
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open.append(server)
                self._granted(client)
                self._run(_copy, server, client)
                _copy(client, server)
                return
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def _admit(self, client: socket.socket) -> bool:
        """Read the client's request; return whether it is granted."""
        raise NotImplementedError

    def _granted(self, client: socket.socket) -> None:
        """Tell the client that its connection leads to the server."""
        raise NotImplementedError


class HttpProxy(_Proxy):
    """A proxy that takes CONNECT."""

    #: The whole answer to CONNECT, instead of a connection.
    refusal = ""
    #: The ways to log in that an answer with 407 offers.
    schemes: Sequence[str] = ("Basic",)
    #: The text that the proxy sends before its answer to CONNECT.
    before = ""
    #: Whether each byte of an answer comes alone.
    slow = False

    def _admit(self, client: socket.socket) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _exactly(client, 1)
        request, *headers = head.decode().splitlines()
        self.targets.append(request.split()[1])
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(self._login.encode()).decode()}"
        if self.refusal:
            client.sendall(self.refusal.encode())
        elif self._login and wanted not in headers:
            offers = "".join(f"Proxy-Authenticate: {name} realm=x\r\n" for name in self.schemes)
            client.sendall(f"HTTP/1.1 407 Login\r\n{offers}\r\n".encode())
        else:
            return True
        return False

    def _granted(self, client: socket.socket) -> None:
        answer = f"{self.before}HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n".encode()
        for part in [bytes([byte]) for byte in answer] if self.slow else [answer]:
            client.sendall(part)


class SocksProxy(_Proxy):
    """A SOCKS 5 server."""

    #: The code in the reply to a request.
    reply = GRANTED

    def _admit(self, client: socket.socket) -> bool:
        _, count = _exactly(client, 2)
        offered = _exactly(client, count)
        method = 2 if self._login else 0
        client.sendall(bytes([5, method if method in offered else 0xFF]))
        if method not in offered:
            return False
        if self._login and not self._knows(client):
            return False
        _, _, _, kind = _exactly(client, 4)
        if kind == 3:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            host = socket.inet_ntop(family, _exactly(client, size))
        (port,) = struct.unpack("!H", _exactly(client, 2))
        self.targets.append(f"{host}:{port}")
        if self.reply != GRANTED:
            self._answer(client)
        return self.reply == GRANTED

    def _knows(self, client: socket.socket) -> bool:
        user = _exactly(client, _exactly(client, 2)[1])
        password = _exactly(client, _exactly(client, 1)[0])
        known = f"{user.decode()}:{password.decode()}" == self._login
        client.sendall(bytes([1, not known]))
        return known

    def _granted(self, client: socket.socket) -> None:
        self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        client.sendall(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
