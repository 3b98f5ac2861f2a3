"""Connecting to the server.

A thread of its own does it: looking up a name cannot be interrupted, and the loop must go on.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import websocket

from services.link import endings
from services.link.masking import Mask
from shared.config import Link as Settings
from shared.realtime import endpoint

#: The size of the kernel's send buffer, bytes: about one second of microphone audio. When the
#: network stalls, a larger buffer would collect speech that then arrives late.
SEND_BUFFER = 64 * 1024
#: The longest part of a server's text that is shown, characters.
MOST_SHOWN = 400


class Dialer:
    """Opens connections, one at a time. Its thread calls ``wake`` when an attempt has an outcome.

    Raises KeyProblem if the settings name no usable key.
    """

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        self._timeout_s = settings.connect_timeout_s
        self._wake = wake
        self._key = endpoint.read_key(settings)
        self._mask = Mask(self._key)
        self._url, self._headers = endpoint.request(settings, self._key)
        #: The server's address without the parts that must not be shown.
        self.where = endpoint.where(self._url)
        #: Whether an attempt has begun and its outcome was not taken yet.
        self.busy = False
        self._outcome: websocket.WebSocket | endings.Ending | None = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key."""
        return bool(self._key)

    def dial(self) -> None:
        """Start an attempt to connect."""
        self.busy = True
        threading.Thread(target=self._open, name="connect", daemon=True).start()

    def take(self) -> websocket.WebSocket | endings.Ending | None:
        """Return the outcome of the attempt, once; None while there is no new outcome."""
        outcome, self._outcome = self._outcome, None
        self.busy = self.busy and outcome is None
        return outcome

    def without_key(self, text: bytes) -> bytes:
        """Return a server event with the key masked."""
        return self._mask.event(text)

    def line(self, text: str) -> str:
        """Return a server's text as one line of limited length, with the key masked."""
        return self._mask.text(" ".join(text.split()))[:MOST_SHOWN]

    def _open(self) -> None:
        ws = websocket.WebSocket(
            # The reader of the JSON checks the text. A check in Python would cost more than the
            # rest of this stage.
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
            # A redirect would send the key to another address.
            ws.connect(self._url, header=self._headers, suppress_origin=True, redirect_limit=0)
            self._outcome = ws
        except Exception as error:  # noqa: BLE001 - the loop gets what it means
            why = TimeoutError(f"not open within {self._timeout_s:g} s")
            self._outcome = endings.of_error(why if late.is_set() else error)
        ended.set()
        self._wake()

    def _watch(
        self, ws: websocket.WebSocket, ended: threading.Event, late: threading.Event
    ) -> None:
        """Close the socket of an attempt that takes too long, even if the server keeps sending.

        A socket's own timeout applies to each read: a server could send headers without end.
        """
        while not ended.wait(self._timeout_s):
            # While a name is looked up there is no socket yet.
            if (sock := ws.sock) is not None:
                late.set()
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
