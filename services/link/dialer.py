"""Connecting to the server.

A thread of its own does it: looking up a name cannot be interrupted, and the loop must go on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import websocket

from services.link import endings
from services.link.connection import Ended
from services.link.masking import Mask
from services.link.opening import Opening
from shared import proxy
from shared.config import Link as Settings
from shared.realtime import endpoint, token

#: The longest part of a server's text that is shown, characters.
MOST_SHOWN = 400
#: The most attempts whose lookup of a name never came back. Each keeps a thread.
MOST_HUNG = 4
#: The ending if MOST_HUNG lookups have not come back.
HUNG = endings.Lost("unresolved", f"{MOST_HUNG} lookups of a name have not come back: is DNS up?")

#: The ending of an attempt whose outcome nobody waits for any more.
GIVEN_UP = endings.Lost("", "given up")

Outcome = websocket.WebSocket | endings.Ending


class Dialer:
    """Opens connections, one at a time. ``wake`` is called when an attempt has an outcome.

    ``after`` calls a function on the loop after a time. Raises KeyProblem if the settings name no
    usable key, and ProxyProblem if they or the environment name no usable proxy.
    """

    def __init__(
        self,
        settings: Settings,
        wake: Callable[[], None],
        after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._timeout_s = settings.connect_timeout_s
        self._wake, self._after = wake, after
        self._key = endpoint.read_key(settings)
        self._settings = settings
        self._token = token.of(settings)
        #: The masks of the key, or of the last two tokens.
        self._masks = [Mask(self._key)]
        self.url, self._headers = endpoint.request(settings, self._key)
        #: The server's address without the parts that must not be shown.
        self.where = endpoint.where(self.url)
        #: The proxy between us and the server.
        self.proxy = proxy.choose(self.url, settings.proxy, os.environ)
        self._failed: set[object] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._opening: Opening | None = None
        self._outcome: Outcome | None = None

    @property
    def key(self) -> str:
        """The key; "" if there is none."""
        return self._key

    @property
    def busy(self) -> bool:
        """Whether an attempt has begun and its outcome was not taken yet."""
        return self._opening is not None or self._outcome is not None

    def dial(self) -> None:
        """Start an attempt to connect."""
        opening = Opening(self.url, self._headers, self.proxy, self._timeout_s, self._failed)
        self._opening = opening
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= MOST_HUNG:
            self._end(opening, HUNG)
            return
        thread = threading.Thread(target=self._open, args=(opening,), name="connect", daemon=True)
        self._threads.append(thread)
        thread.start()
        self._after(self._timeout_s, lambda: self._expire(opening))

    def give_up(self) -> None:
        """End the attempt without an outcome, if one is under way."""
        opening = self._opening
        if opening is not None and self._end(opening, GIVEN_UP):
            opening.abandon()
        outcome = self.take()
        if isinstance(outcome, websocket.WebSocket):
            outcome.shutdown()

    def take(self) -> Outcome | None:
        """Return the outcome of the attempt, once; None while there is no new outcome."""
        with self._lock:
            outcome, self._outcome = self._outcome, None
        return outcome

    def without_key(self, text: bytes) -> bytes:
        """Return a server event with the key masked."""
        for mask in self._masks:
            text = mask.event(text)
        return text

    def line(self, text: str) -> str:
        """Return a server's text as one line of limited length, with the key masked."""
        text = " ".join(text.split())
        for mask in self._masks:
            text = mask.text(text)
        return text[:MOST_SHOWN]

    def look_after(self) -> None:
        """Replace a token that expires soon. Never blocks."""
        if self._token is not None:
            self._token.look_after()

    def _authorize(self, opening: Opening) -> None:
        """Pass an attempt the token, if there is a command that prints it. Raises TokenProblem."""
        if self._token is None:
            return
        key = self._token.get()
        if key != self._key:
            self._key = key
            self._masks = [Mask(key), *self._masks[:1]]
        opening.authorize(endpoint.request(self._settings, key)[1])

    def _open(self, opening: Opening) -> None:
        outcome: Outcome
        try:
            self._authorize(opening)
            outcome = opening.open()
        except token.TokenProblem as problem:
            outcome = endings.Lost("unreachable", str(problem))
        except Ended as ended:
            outcome = ended.ending
        except Exception as error:  # noqa: BLE001 - the loop gets what it means
            outcome = endings.of_error(error)
        if isinstance(outcome, endings.Refused) and self._token is not None:
            self._token.forget()
        self._end(opening, outcome)

    def _expire(self, opening: Opening) -> None:
        """End an attempt that has no outcome in time, whatever its thread waits for."""
        if self._end(opening, opening.late()):
            opening.abandon()

    def _end(self, opening: Opening, outcome: Outcome) -> bool:
        """Leave the outcome of an attempt to ``take``; return whether it was the first outcome."""
        with self._lock:
            first = self._opening is opening
            if first:
                # The loop asks for ``busy`` without the lock: it is never false in between.
                self._outcome = outcome
                self._opening = None
        if first:
            self._wake()
        elif isinstance(outcome, websocket.WebSocket):
            outcome.shutdown()
        return first
