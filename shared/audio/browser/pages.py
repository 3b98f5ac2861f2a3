"""The WebSocket server for a page in a browser that is the microphone or the speaker.

The server runs on a thread of its own, with an event loop. Everything about the page happens on
that thread: it is the device's thread. Other threads hand in a call with ``Page.call``.

One page at a time is the device. A newer page takes over, and the server tells the older one why.
"""

from __future__ import annotations

import asyncio
import http
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from shared.audio.browser import wire
from shared.audio.device import DeviceError, NoPage

#: How long a page may take to send its first message, and to answer a close, s.
_HELLO_S = 5.0
_CLOSE_S = 0.5
#: The time between two pings, s. A lost page is noticed much sooner by its missing reports.
_PING_S = 20.0
#: How long the server may take to listen, and to end, s.
_START_S = 5.0
_STOP_S = 0.4
#: The time between two warnings about refused pages, s: a page can try again without end.
_WARNING_S = 10.0
#: The time between two checks that the announcement's file is still there, s.
_ANNOUNCE_S = 1.0


class Admission(Protocol):
    """The check of each connection, and the file in which a page finds the port."""

    def refusal(self, host: str, origin: str | None, token: str) -> str:
        """Return why a connection is refused, or "" if it is accepted."""

    def came(self, transport: asyncio.Transport) -> None:
        """Note a new connection. If there are too many, end the oldest that is not trusted."""

    def trust(self, transport: asyncio.Transport) -> None:
        """Note that a connection was accepted."""

    def announce(self, port: int) -> None:
        """Write the port to its file, unless the file holds it already. Raises OSError."""

    def withdraw(self) -> None:
        """Remove what `announce` wrote."""


class Page:
    """A connected page. Use it on the server's thread only."""

    def __init__(self, connection: ServerConnection, about: wire.About) -> None:
        self.about = about
        #: Why the page is no device any more, in one line; None while it is one.
        self.gone: str | None = None
        #: The number of recalls so far.
        self.recalls = 0
        #: Takes the page's binary messages; None while no device is open.
        self.take: Callable[[bytes], None] | None = None
        #: Called when the page is gone.
        self.on_gone: Callable[[], None] | None = None
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[bytes | str] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def call(self, what: Callable[[], None]) -> None:
        """Call ``what`` on the server's thread. Any thread may call this; it never blocks."""
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            pass  # the server has ended, and the page with it

    def send(self, message: bytes | str) -> None:
        """Queue a message for the page. Never blocks."""
        self._outbox.append(message)
        if self._sender is None or self._sender.done():
            self._sender = self._loop.create_task(self._send())

    def end(self, why: str, code: int) -> None:
        """Hang up: the page is no device any more."""
        if self.gone is None:
            self.leave(why)
            self._closing = self._loop.create_task(self._connection.close(code, _reason(why)))

    def leave(self, why: str) -> None:
        """Note that the page is no device any more."""
        if self.gone is None:
            self.gone = why
            if self.on_gone is not None:
                self.on_gone()

    def receive(self, message: bytes | str) -> None:
        """Process a message of the page."""
        try:
            if isinstance(message, str):
                self.about = wire.about(message)
            elif self.take is not None:
                self.take(message)
        except wire.BadPage as error:
            self.end(str(error), wire.BROKEN)

    async def _send(self) -> None:
        try:
            while self._outbox and self.gone is None:
                await self._connection.send(self._outbox.popleft())
        except ConnectionClosed:
            pass  # the handler of the connection notices it


class Pages:
    """The server of one process, and the page that is its device.

    The server starts when a page is first wanted. ``what`` is "microphone" or "speaker".
    """

    def __init__(self, admission: Admission, what: wire.Direction) -> None:
        self._admission = admission
        self._what = what
        self._page: Page | None = None
        self._warns_s = 0.0  # when the next warning is logged, s of CLOCK_MONOTONIC
        self._there = threading.Event()  # set while a page is there
        self._started = threading.Event()
        self._fault = ""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def page(self) -> Page:
        """Return the page that is the device.

        Raises NoPage while there is none, and DeviceError if the server cannot listen.
        """
        self._start()
        page = self._page
        if page is None:
            raise NoPage(f"no page in a browser is the {self._what}", self._there)
        return page

    def close(self) -> None:
        """End the server and its thread, within half a second."""
        loop, stop = self._loop, self._stop
        if self._thread is None or loop is None or stop is None:
            return
        try:
            loop.call_soon_threadsafe(stop.set)
        except RuntimeError:
            pass  # it has ended
        self._thread.join(_STOP_S)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pages", daemon=True)
            self._thread.start()
        if not self._started.wait(_START_S) or self._fault:
            fault, self._thread = self._fault or "it does not start", None
            self._started.clear()
            raise DeviceError(f"the server for pages: {fault}")

    # on the server's thread

    def _run(self) -> None:
        self._fault = ""
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._fault = error.strerror or str(error)
        finally:
            self._started.set()

    async def _serve(self) -> None:
        # The library logs each connection, and each stranger's nonsense with a traceback.
        log = logging.getLogger("bargein.pages")
        log.setLevel(logging.CRITICAL)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        came = self._admission.came

        class Counted(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                came(self.transport)

        async with serve(
            self._converse,
            "127.0.0.1",
            0,
            process_request=self._admit,
            create_connection=Counted,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=wire.MAX_MESSAGE,
            ping_interval=_PING_S,
            close_timeout=_CLOSE_S,
            open_timeout=_HELLO_S,
            server_header=None,
            logger=log,
        ) as server:
            port = server.sockets[0].getsockname()[1]
            self._admission.announce(port)
            self._started.set()
            try:
                while not self._stop.is_set():
                    try:
                        await asyncio.wait_for(self._stop.wait(), _ANNOUNCE_S)
                    except TimeoutError:
                        self._announce_again(port)
            finally:
                self._admission.withdraw()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return an HTTP error to refuse a connection, or None to accept it."""
        headers = request.headers
        offered = headers.get("Sec-WebSocket-Protocol", "").split(",")
        names = (name.strip() for name in offered)
        tokens = (
            n.removeprefix(wire.TOKEN_PREFIX) for n in names if n.startswith(wire.TOKEN_PREFIX)
        )
        why = self._admission.refusal(
            headers.get("Host", ""), headers.get("Origin"), next(tokens, "")
        )
        if why:
            self._warn(f"refused a page: {why}")
            return connection.respond(http.HTTPStatus.FORBIDDEN, f"{why}\n")
        self._admission.trust(connection.transport)
        return None

    def _announce_again(self, port: int) -> None:
        """Write the port again if a cleaner has emptied the bus directory."""
        try:
            self._admission.announce(port)
        except OSError as error:
            self._warn(f"a new page will not find the {self._what}: {error}")

    def _warn(self, line: str) -> None:
        if (now_s := time.monotonic()) >= self._warns_s:
            self._warns_s = now_s + _WARNING_S
            logging.getLogger("bargein").warning("%s", line)

    async def _converse(self, connection: ServerConnection) -> None:
        try:
            page = Page(connection, wire.about(await _hello(connection)))
        except (wire.BadPage, TimeoutError) as error:
            await connection.close(wire.BROKEN, _reason(str(error) or "no first message"))
            return
        except ConnectionClosed:
            return
        older, self._page = self._page, page
        if older is not None:
            older.end(f"another page is the {self._what} now", wire.TAKEN)
        self._there.set()
        try:
            async for message in connection:
                page.receive(message)
        except ConnectionClosed:
            pass  # without a close: the page crashed, or the network failed
        finally:
            page.leave("the page is gone")
            if self._page is page:
                self._page = None
                self._there.clear()


def _reason(why: str) -> str:
    """Return the beginning of a text that fits into a close frame: 123 bytes at most."""
    return why.encode()[:123].decode("utf-8", "ignore")


async def _hello(connection: ServerConnection) -> str:
    """Return a page's first message. Raises BadPage, TimeoutError and ConnectionClosed."""
    message = await asyncio.wait_for(connection.recv(), _HELLO_S)
    if not isinstance(message, str):
        raise wire.BadPage("the first message is not text")
    return message


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol(wire.PROTOCOL) if wire.PROTOCOL in offered else None
