"""The greeting, and the texts that a person types or another program wants said. Pure.

A text is an item of the conversation. Uplink only adds the item. When the server reports it,
downlink asks for the answer to an item whose id begins with ASKS, so that the answer never comes
before its question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.uplink import requests
from shared import messages
from shared.realtime.event_ids import ASKS, TEXTS

#: The text of the item that has the model say something. The item stays in the conversation, so
#: that the model knows later why it said that.
SAY = "Say this to the person now, word for word and without adding anything: {text}"
#: How many texts wait for a session at most; the oldest are dropped first.
MAX_WAITING = 32


class Texts:
    """The greeting and the texts that no session has got yet.

    ``number`` returns a number that only grows. ``send`` sends a request to the session. ``ready``
    says whether a session is open that has the conversation and the functions. ``begun`` says
    whether anything was said in the conversation: then a greeting comes too late.
    """

    def __init__(
        self,
        number: Callable[[], int],
        send: Callable[[bytes], None],
        ready: Callable[[], bool],
        begun: Callable[[], bool],
    ) -> None:
        self._number = number
        self._send = send
        self._ready = ready
        self._begun = begun
        self._greeting = b""  # the request for the greeting; b"": none waits
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)

    def follow(self, control: messages.Control) -> None:
        """Follow a person's command if it has a text."""
        if control.command not in ("say", "type") or not control.text.strip():
            return
        kind, role, text = ASKS, "user", control.text
        if control.command == "say" and control.role:
            kind, role = TEXTS, control.role
        elif control.command == "say":
            role, text = "system", SAY.format(text=text)
        self._waiting.append(requests.message(f"{kind}{self._number()}", role, text))
        self.send()

    def begin_session(self, greeting: str) -> None:
        """Begin with a new session. ``greeting``: the instructions for a greeting; "": none."""
        self._greeting = requests.greet(greeting) if greeting else b""

    def send(self) -> None:
        """Send the greeting and the texts, if a session is ready for them. Otherwise they wait."""
        if not self._ready():
            return
        if self._greeting and not self._begun():
            self._send(self._greeting)
        self._greeting = b""
        while self._waiting:
            self._send(self._waiting.popleft())
