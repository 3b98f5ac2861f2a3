"""One attempt to open a WebSocket: look up the name, connect, go through the proxy, TLS, upgrade.

One deadline applies to all of these steps together. websocket-client gets a connected socket: on
its own, websocket-client would try the addresses one after the other, and treat proxies in its own
way.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

import websocket

from services.link import endings
from services.link.answer import Answer
from services.link.connection import Ended
from services.link.endings import Lost
from services.link.tunnel import Inner, through
from shared.proxy import Proxy

#: The size of the kernel's send buffer, bytes: about one second of microphone audio. When the
#: network stalls, a larger buffer would collect speech that then arrives late.
SEND_BUFFER = 64 * 1024
#: How long an address may take before the next one is tried beside it, s (RFC 8305, section 8).
STAGGER_S = 0.25
#: How much too early a timeout of asyncio or of a socket may come, s.
CLOCK_S = 0.01

#: An address as getaddrinfo returns it: family, type, protocol, canonical name, socket address.
Found = tuple[int, int, int, str, tuple[Any, ...]]


class Opening:
    """An attempt. ``open`` blocks its thread; another thread may call ``late`` and ``abandon``."""

    def __init__(
        self,
        url: str,
        headers: list[str],
        proxy: Proxy | None,
        timeout_s: float,
        failed: set[object],
    ) -> None:
        """``failed``: addresses that answered, and then failed. They are tried after the others."""
        parts = urlsplit(url)
        self._url, self._headers, self._proxy = url, headers, proxy
        self._secure = parts.scheme == "wss"
        self._host = parts.hostname or ""
        # The zone of an address (fe80::1%eth0) is known on this machine alone.
        self._name = self._host.partition("%")[0]
        self._port = parts.port or (443 if self._secure else 80)
        self._timeout_s, self._failed = timeout_s, failed
        self._ends_s = time.monotonic() + timeout_s
        self._ending_if_late = Lost("unreachable", "")
        self._socket: socket.socket | None = None
        self._peer: object = None
        self._abandoned = False

    def authorize(self, headers: list[str]) -> None:
        """Send these headers instead: a token was fetched meanwhile."""
        self._headers = headers

    def open(self) -> websocket.WebSocket:
        """Return the open WebSocket. Raises Ended, and whatever the library raises."""
        try:
            return self._open()
        except BaseException as error:
            if self._socket is not None:
                self._failed.add(self._peer)
                self._socket.close()
            if self._abandoned or time.monotonic() >= self._ends_s - CLOCK_S:
                raise Ended(self.late()) from error
            raise

    def late(self) -> Lost:
        """Return the ending of an attempt whose time is over."""
        why = f"not open within {self._timeout_s:g} s"
        return Lost(self._ending_if_late.cause, f"{why}{self._ending_if_late.why}")

    def abandon(self) -> None:
        """End the attempt: ``open`` raises as soon as it can. A lookup goes on until it ends."""
        self._abandoned = True
        # A timeout of the socket applies to each read: a server could send headers without end.
        if (connected := self._socket) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _open(self) -> websocket.WebSocket:
        connected = self._reach() if self._proxy is None else self._reach_through(self._proxy)
        if self._secure:
            self._ending_if_late = Lost("unreachable", f": {self._host} does not answer to TLS")
            connected = self._encrypt(connected)
        self._ending_if_late = Lost("unreachable", "")
        ws = websocket.WebSocket(
            # The reader of the JSON checks the text. A check in Python would cost more than the
            # rest of this stage.
            skip_utf8_validation=True,
        )
        # A redirect is a refusal: it would send the key to another address.
        ws.connect(
            self._url,
            socket=cast("socket.socket", Answer(connected)),
            header=self._headers,
            suppress_origin=True,
            redirect_limit=0,
            host=self._header_host(),
        )
        ws.sock = connected
        self._failed.clear()
        return ws

    def _header_host(self) -> str | None:
        """Return the header Host, if websocket-client would write another one; else None."""
        return f"[{self._name}]:{self._port}" if self._name != self._host else None

    def _reach(self) -> socket.socket:
        return self._connect(self._look_up(self._host, self._port), self._host)

    def _reach_through(self, proxy: Proxy) -> socket.socket:
        """Return a socket that leads to the server through a proxy."""
        targets = [self._host]
        if not proxy.looks_up:
            found = self._look_up(self._host, self._port)
            targets = list(dict.fromkeys(str(info[4][0]) for info in found))
        found = self._look_up(proxy.host, proxy.port)
        for number, target in enumerate(targets, 1):
            connected = self._connect(found, f"the proxy {proxy}")
            self._ending_if_late = Lost("unreachable", f": the proxy {proxy} does not answer")
            if proxy.scheme == "https":
                connected = self._wrap(connected, proxy.host)
            try:
                through(proxy, connected, target, self._port)
                return connected
            except Ended as ended:
                # A proxy tries only the address that it gets, so another one may work.
                if number == len(targets) or isinstance(ended.ending, endings.Refused):
                    raise
                connected.close()
        raise AssertionError("a lookup returns at least one address")

    def _look_up(self, host: str, port: int) -> Sequence[Found]:
        self._ending_if_late = Lost("unresolved", f": no answer to the lookup of {host}")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise Ended(Lost("unresolved", f"{host}: {error.strerror}")) from None
        # Nothing but the order changes: the address that failed may be the only one.
        return sorted(found, key=lambda info: info[4] in self._failed)

    def _connect(self, found: Sequence[Found], name: str) -> socket.socket:
        """Return a socket that is connected to one of these addresses. Raises OSError."""
        tried = f" ({len(found)} addresses tried)" if len(found) > 1 else ""
        self._ending_if_late = Lost("unreachable", f": no answer from {name}{tried}")

        try:
            connected = self._race(found) if len(found) > 1 else self._try(found[0])
        except OSError as error:
            if isinstance(error, TimeoutError) and not error.errno:
                raise
            where = "" if self._proxy is None else f"{name}: "
            raise Ended(Lost("unreachable", f"{where}{_in_words(error)}")) from None
        self._peer = connected.getpeername()
        return self._limit_waits(connected)

    def _try(self, info: Found) -> socket.socket:
        made = self._limit_waits(_socket(info))
        made.connect(info[4])
        return made

    def _race(self, found: Sequence[Found]) -> socket.socket:
        # Slow to load, and needed for more than one address only.
        import asyncio  # noqa: PLC0415

        import aiohappyeyeballs  # noqa: PLC0415

        async def race() -> socket.socket:
            async with asyncio.timeout(self._left()):
                return await aiohappyeyeballs.start_connection(
                    found, happy_eyeballs_delay=STAGGER_S, socket_factory=_socket
                )

        return asyncio.run(race())

    def _encrypt(self, connected: socket.socket) -> socket.socket:
        if not isinstance(connected, ssl.SSLSocket):
            return self._wrap(connected, self._name)
        inner = Inner(connected, _context(), self._name)
        inner.handshake()
        return cast("socket.socket", inner)

    def _wrap(self, connected: socket.socket, host: str) -> socket.socket:
        # The handshake comes last, so that ``abandon`` can end it.
        wrapped = _context().wrap_socket(
            connected, server_hostname=host, do_handshake_on_connect=False
        )
        self._limit_waits(wrapped)
        wrapped.do_handshake()
        return wrapped

    def _limit_waits(self, connected: socket.socket) -> socket.socket:
        """Limit how long this socket waits, and let ``abandon`` end its waits."""
        self._socket = connected
        connected.settimeout(self._left())
        return connected

    def _left(self) -> float:
        """Return how much time is left, s. Raises TimeoutError if none is."""
        left = self._ends_s - time.monotonic()
        if self._abandoned or left <= 0:
            raise TimeoutError
        return left


def _socket(info: Found) -> socket.socket:
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Without this, a front end may choose HTTP/2, over which there is no such upgrade.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _in_words(error: OSError) -> str:
    """Return why no address could be reached, without asyncio's "Connect call failed"."""
    if error.errno:
        return os.strerror(error.errno)
    # The addresses failed in different ways.
    text = str(error).removeprefix("Multiple exceptions: ")
    text = re.sub(
        r"\[Errno (\d+)\] Connect call failed \('([^']*)'[^)]*\)",
        lambda found: f"{found[2]}: {os.strerror(int(found[1]))}",
        text,
    )
    return re.sub(r"\[Errno \d+\] ", "", text)
