"""The connection through a proxy: HTTP CONNECT, SOCKS, and TLS inside the proxy's own TLS."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Any

from python_socks import ProxyError, ProxyType
from python_socks.sync import Proxy as SocksProxy

from services.link import endings
from services.link.answer import read_head
from services.link.connection import Ended
from services.link.endings import Lost
from shared.proxy import Proxy

#: How much TLS takes or gives at once, bytes: a record of TLS holds 16 KiB.
CHUNK = 16 * 1024


def through(proxy: Proxy, connected: socket.socket, host: str, port: int) -> None:
    """Have a proxy connect to a server. ``connected``: a socket that is connected to the proxy.

    Afterwards the socket leads to the server. Raises Ended if the proxy refuses, and OSError.
    """
    if proxy.is_socks:
        _socks(proxy, connected, host, port)
    else:
        _connect(proxy, connected, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _connect(proxy: Proxy, connected: socket.socket, target: str) -> None:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.user:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    connected.sendall("\r\n".join([*lines, "", ""]).encode())
    status = "100"
    while status.startswith("1"):  # an informational answer comes before the answer
        status, headers = _read_answer(proxy, connected)
    if not status.startswith("2"):
        named = [line.partition(":") for line in headers]
        schemes = [
            value.split()[0]
            for name, _, value in named
            if name.strip().lower() == "proxy-authenticate" and value.strip()
        ]
        raise Ended(endings.of_connect(proxy, target, int(status), schemes))


def _read_answer(proxy: Proxy, connected: socket.socket) -> tuple[str, list[str]]:
    """Return the status and the headers of an HTTP proxy's answer. Raises Ended."""
    head, whole = read_head(connected)
    if not whole:
        raise Ended(Lost("reset", f"the proxy {proxy} hung up without an answer to CONNECT"))
    first, *headers = head.decode("latin-1").splitlines()
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/") or not (status.isascii() and status.isdigit()):
        raise Ended(Lost("garbled", f"{proxy} is no HTTP proxy: it answers {first[:80]!r}"))
    return status, headers


class _Connected(SocksProxy):
    """Hands python-socks a socket that is already connected, as a chain of proxies does."""

    def __init__(self, connected: socket.socket) -> None:
        self._connected = connected

    def connect(self, *_: Any, **__: Any) -> socket.socket:
        return self._connected


def _socks(proxy: Proxy, connected: socket.socket, host: str, port: int) -> None:
    kind = ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5
    chain = SocksProxy(
        kind,
        proxy.host,
        proxy.port,
        proxy.user or None,
        proxy.password,
        rdns=True,  # a name that we look up ourselves comes here as an address
        forward=_Connected(connected),
    )
    try:
        chain.connect(host, port)
    except ProxyError as error:
        raise Ended(
            endings.of_socks(proxy, f"{host}:{port}", str(error), error.error_code)
        ) from None


class Inner:
    """TLS with the server inside the TLS connection to a proxy (``https://``).

    The class has the methods of a socket that websocket-client and Connection use. They block, or
    raise SSLWantReadError and SSLWantWriteError, as the outer socket does.
    """

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._unsent = bytearray()  # encrypted bytes that the outer socket has not taken
        self._encrypted = 0  # how many bytes of the caller's data these are
        # websocket-client looks at this attribute before it closes a socket.
        self._closed = False
        self.fileno, self.shutdown = outer.fileno, outer.shutdown
        self.settimeout, self.gettimeout = outer.settimeout, outer.gettimeout

    def handshake(self) -> None:
        """Agree on the encryption with the server. Raises OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            else:
                self._flush()
                return

    def close(self) -> None:
        """Close the outer connection."""
        self._closed = True
        self._outer.close()

    def pending(self) -> int:
        """Return how many bytes have come that a poller cannot see."""
        return self._tls.pending() + self._in.pending + self._outer.pending()

    def recv(self, size: int) -> bytes:
        """Return what has come, at most ``size`` bytes; b"" at the end of the stream."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, data: bytes | bytearray) -> int:
        """Send the beginning of ``data``; return how much that was.

        If this raises because the outer socket takes no more, the next call must begin with the
        same data, which is encrypted already. OpenSSL demands the same of its callers.
        """
        if not self._encrypted:
            self._encrypted = self._tls.write(bytes(data[:CHUNK]))
        self._flush()
        sent, self._encrypted = self._encrypted, 0
        return sent

    def _flush(self) -> None:
        self._unsent += self._out.read()
        while self._unsent:
            del self._unsent[: self._outer.send(self._unsent)]

    def _fill(self) -> None:
        more = self._outer.recv(CHUNK)
        if more:
            self._in.write(more)
        else:
            self._in.write_eof()
