"""Connecting to the server, and hanging up.

On a thread of its own: looking up a name cannot be interrupted, and the loop must go on.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable

import websocket

from services.link import reconnect
from shared.config import Link as Settings
from shared.realtime import endpoint

#: What the kernel may hold of what we send, about a second of microphone: a network that stalls
#: must not collect speech that then arrives late.
SEND_BUFFER = 64 * 1024


class Dialer:
    """Opens connections, one at a time; calls ``wake`` from its thread when there is an outcome.

    Raises KeyProblem where there is no key to use.
    """

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        self._timeout_s = settings.connect_timeout_s
        self._wake = wake
        self._key = endpoint.read_key(settings)
        self._key_bytes = self._key.encode()
        self._url, self._headers = endpoint.request(settings, self._key)
        #: What may be shown of the server's address.
        self.where = endpoint.where(self._url)
        #: Whether a try is under way.
        self.busy = False
        self._outcome: websocket.WebSocket | reconnect.Ending | None = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    def dial(self) -> None:
        """Begin to connect."""
        self.busy = True
        threading.Thread(target=self._open, name="connect", daemon=True).start()

    def take(self) -> websocket.WebSocket | reconnect.Ending | None:
        """Give what came of it, once; None while there is nothing new."""
        outcome, self._outcome = self._outcome, None
        self.busy = self.busy and outcome is None
        return outcome

    def without_key(self, text: bytes) -> bytes:
        """Give a text with the key masked."""
        key = self._key_bytes
        return text.replace(key, b"****") if key and key in text else text

    def line(self, text: str) -> str:
        """Give what may be said of a server's words: one line, not too long, without the key."""
        text = " ".join(text.split())[:400]
        return text.replace(self._key, "****") if self._key else text

    def _open(self) -> None:
        ws = websocket.WebSocket(
            # validated where the JSON is read; in Python it would cost more than all the rest
            skip_utf8_validation=True,
            sockopt=[
                (socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER),
                (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            ],
        )
        ended, late = threading.Event(), threading.Event()
        watch = threading.Thread(target=self._watch, args=(ws, ended, late), daemon=True)
        watch.start()
        try:
            ws.settimeout(self._timeout_s)
            # a redirect would carry the key to wherever it points
            ws.connect(self._url, header=self._headers, suppress_origin=True, redirect_limit=0)
            self._outcome = ws
        except Exception as error:  # noqa: BLE001 - what it means, the loop is told
            why = TimeoutError(f"not open within {self._timeout_s:g} s")
            self._outcome = reconnect.failed(why if late.is_set() else error)
        ended.set()
        self._wake()

    def _watch(
        self, ws: websocket.WebSocket, ended: threading.Event, late: threading.Event
    ) -> None:
        """Hang up on a server that is not done in time, however much it sends.

        A socket's timeout is one for each read: headers without end would go on, and into memory.
        """
        while not ended.wait(self._timeout_s):
            # there is none while a name is looked up
            if (sock := ws.sock) is not None:
                late.set()
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def hang_up(ws: websocket.WebSocket) -> None:
    """Close a connection, which may be the very thing that is gone."""
    with contextlib.suppress(OSError, websocket.WebSocketException):
        ws.settimeout(0.1)
        ws.send_close()
    ws.shutdown()


def has_more(ws: websocket.WebSocket) -> bool:
    """Say whether there is something to read, or an end to learn of."""
    sock = ws.sock
    if sock is None or (isinstance(sock, ssl.SSLSocket) and sock.pending()):
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
