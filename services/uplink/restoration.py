"""The part of the conversation that a session lacks, and the requests that restore it. Pure.

A new session knows nothing of the conversation. A turn has the same new id in every session. So if
an uplink dies, and the next one sends a turn again, the server refuses the copy.
"""

from __future__ import annotations

from services.uplink import requests
from shared import codec, messages
from shared.realtime import words


class Restoration:
    """Compares the history with what the session has."""

    def __init__(self) -> None:
        self.turns: list[messages.HistoryTurn] | None = (
            None  # the newest history; None: none has come
        )
        self._payload = b""  # the newest history, as it came
        self._session = 0
        # The id under which this process put each turn into the session; "": it took the turn out.
        self._sent: dict[str, str] = {}
        # The turns that the session gets as audio: it must not get their text as well.
        self._sent_as_audio: set[str] = set()

    def has_begun(self) -> bool:
        """Whether anything was said: a conversation that goes on has no second greeting."""
        return any(turn.told for turn in self.turns or ())

    def begin_session(self, session: int) -> None:
        """Begin with a new session."""
        if session != self._session:
            self._session = session
            self._sent.clear()

    def read(self, payload: bytes) -> bool:
        """Take a history as it came. Return whether it is a new one. Raises BadMessage."""
        if self.turns is not None and payload == self._payload:
            return False
        self.update(codec.read_turns(payload))
        self._payload = payload
        return True

    def update(self, turns: list[messages.HistoryTurn]) -> None:
        """Replace the history."""
        self.turns = turns
        ids = {turn.item_id for turn in turns}
        self._sent = {item_id: held for item_id, held in self._sent.items() if item_id in ids}
        self._sent_as_audio &= ids

    def turn_ids(self) -> frozenset[str]:
        """Return the ids of the turns in the history."""
        return frozenset(turn.item_id for turn in self.turns or ())

    def leave_to_audio(self, known: frozenset[str]) -> bool:
        """Leave out the person's last turn if its words are missing.

        Return whether it was left out: then the session has to get the turn's audio again.
        ``known``: the turns that were in the history before that turn.
        """
        new = [turn for turn in self.turns or () if turn.told and turn.item_id not in known]
        if not new:
            return True
        if new[-1].role != "user" or not words.is_untranscribed(new[-1].text):
            return False
        self._sent_as_audio.add(new[-1].item_id)
        return True

    def requests(self) -> list[bytes]:
        """Return the requests that bring the session up to date, and count them as sent.

        A turn whose words have changed since, because not all of them were heard in the end, is
        deleted and created again at its place.
        """
        turns = self.turns or []
        held = {turn.item_id: self._held(turn) for turn in turns}
        last = max((at for at, turn in enumerate(turns) if held[turn.item_id]), default=-1)
        out: list[bytes] = []
        previous = "root"
        for at, turn in enumerate(turns):
            has = held[turn.item_id]
            told = turn.told and turn.item_id not in self._sent_as_audio
            wants = has if has == turn.item_id else turn.new_id if told else ""
            if has != wants:
                if has:
                    out.append(requests.delete(has))
                if wants:
                    # Without a turn after it, the turn goes to the end and names no other turn:
                    # if the server refuses one turn, it still takes the ones after that.
                    out.append(requests.create(turn, previous if at < last else ""))
                self._sent[turn.item_id] = wants
            previous = wants or previous
        return out

    def _held(self, turn: messages.HistoryTurn) -> str:
        """Return the id under which the session has a turn, or "" if it has not."""
        known = turn.known_as if turn.session == self._session else ""
        return self._sent.get(turn.item_id, known)
