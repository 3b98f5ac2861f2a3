"""What a session lacks of the conversation, and the events that put it there. Pure.

A new session knows of nothing. What it is given is told apart from what it has already by the ids
of the items: each turn has one id of its own in whatever session it is put into, so that what was
sent twice, because uplink was restarted in between, is refused by the server the second time.
"""

from __future__ import annotations

from services.uplink import requests
from shared import messages


class Replay:
    """Compares the history with what a session has, and gives what is to be sent, each once."""

    def __init__(self) -> None:
        self.turns: list[messages.Turn] | None = None  # the history last seen; None: none yet
        self._session = 0
        self._sent: dict[str, str] = {}  # the id by which this session was given an item; "": taken

    @property
    def begun(self) -> bool:
        """Whether anything was said at all: a conversation that goes on begins with no greeting."""
        return any(turn.told for turn in self.turns or ())

    def begin_session(self, session: int) -> None:
        """Begin with another session."""
        if session != self._session:
            self._session = session
            self._sent.clear()

    def learn(self, turns: list[messages.Turn]) -> None:
        """Take the history as it is now."""
        self.turns = turns
        names = {turn.item_id for turn in turns}
        self._sent = {name: held for name, held in self._sent.items() if name in names}

    def events(self) -> list[bytes]:
        """Give what to send so that the session has the history: what it lacks, in its order.

        A turn that it was given with other words, because not all of them were heard in the end,
        is taken out and put in anew.
        """
        turns = self.turns or []
        held = {turn.item_id: self._held(turn) for turn in turns}
        last = max((at for at, turn in enumerate(turns) if held[turn.item_id]), default=-1)
        out: list[bytes] = []
        previous = "root"
        for at, turn in enumerate(turns):
            has = held[turn.item_id]
            wants = has if has == turn.item_id else turn.new_id if turn.told else ""
            if has != wants:
                if has:
                    out.append(requests.delete(has))
                if wants:
                    # at the end where nothing follows it: so the loss of one takes no other along
                    out.append(requests.create(turn, previous if at < last else ""))
                self._sent[turn.item_id] = wants
            previous = wants or previous
        return out

    def _held(self, turn: messages.Turn) -> str:
        """Give the id by which the session has a turn, or "" if it has not."""
        known = turn.held_as if turn.session == self._session else ""
        return self._sent.get(turn.item_id, known)
