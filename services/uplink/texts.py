"""The texts that a person types or another program wants said, as items of the conversation. Pure.

Uplink only adds the item. When the server reports it, downlink asks for the answer to an item whose
id begins with ASKS, so that the answer never comes before its question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from services.uplink import requests
from shared import messages
from shared.realtime.event_ids import ASKS, TEXTS

#: The model is told to say this. It is an item of the conversation, so that the model knows later
#: why it said that.
SAY = "Say this to the person now, word for word and without adding anything: {text}"
#: How many texts wait for a session at most; the oldest are dropped first.
MAX_WAITING = 32


class Texts:
    """The texts that no session has got yet.

    ``number`` returns a number that only grows. ``send`` sends a request to the session. ``ready``
    says whether a session is open that has the conversation.
    """

    def __init__(
        self,
        number: Callable[[], int],
        send: Callable[[bytes], None],
        ready: Callable[[], bool],
    ) -> None:
        self._number = number
        self._send = send
        self._ready = ready
        self._waiting: deque[bytes] = deque(maxlen=MAX_WAITING)

    def follow(self, control: messages.Control) -> None:
        """Follow a person's command if it has a text."""
        if control.command not in ("say", "type") or not control.text.strip():
            return
        role, text, asks = control.role, control.text, not control.role
        if control.command == "type":
            role, asks = "user", True
        elif asks:
            role, text = "system", SAY.format(text=text)
        item_id = f"{ASKS if asks else TEXTS}{self._number()}"
        self._waiting.append(requests.message(item_id, role, text))
        self.send()

    def send(self) -> None:
        """Send the texts, if a session is ready for them. Otherwise they wait."""
        while self._waiting and self._ready():
            self._send(self._waiting.popleft())
