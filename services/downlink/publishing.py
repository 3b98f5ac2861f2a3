"""When downlink publishes what changes often: the replies' state, transcripts, and the history.

Audio and final texts are published at once. A growing transcript repeats the whole text with each
new word, so only the newest version is published, every 0.2 s.
"""

from __future__ import annotations

from services.downlink.history import History
from services.downlink.replies import Replies
from shared import codec, messages
from shared.owner import Owner

#: The state and growing transcripts are at most this old when they are published, s.
SOON_S = 0.2
#: How many states are published in that time. Only a flood changes the state more often. Each state
#: is work for two more stages, and an interruption would wait until they have read all of them.
STATES_AT_ONCE = 32
#: How many characters of growing transcripts are published in one go, so that audio does not wait.
CHARACTERS_AT_ONCE = 60_000


class Publishing:
    """Publishes for the downlink stage, and tells the history what was published."""

    def __init__(self, stage: Owner, replies: Replies, history: History) -> None:
        self._stage = stage
        self._replies = replies
        self._history = history
        self._published_state: messages.ReplyState | None = None
        self._states = 0  # how many were published since the timer last ran
        self._published_history: messages.History | None = None
        self._texts: dict[str, messages.Transcript] = {}  # growing transcripts, by item
        self._timer_runs = False
        self._activity = stage.state
        self._trouble = ""

    def show(self, trouble: str) -> None:
        """Show a fault of the session in the health; "" shows that there is none."""
        self._trouble = trouble
        self._stage.state = "; ".join(filter(None, (self._activity, trouble)))

    def publish(self, outcome: list[messages.Message]) -> None:
        """Publish messages at once, but growing transcripts soon."""
        for message in outcome:
            if isinstance(message, messages.Transcript):
                self._history.transcript(message)
                if not message.final:
                    self._texts[message.item_id] = message
                    self.publish_soon()
                    continue
                self._texts.pop(message.item_id, None)
            self._stage.publish(message)

    def publish_soon(self) -> None:
        """Publish the state and growing transcripts in 0.2 s, together with what comes by then."""
        if not self._timer_runs:
            self._timer_runs = True
            self._stage.after(SOON_S, self._publish_due)

    def publish_state(self, *, now: bool = False) -> None:
        """Publish the state of the replies if it changed: at once, or soon if it changes often.

        ``now``: publish it at once even then.
        """
        if self._states >= STATES_AT_ONCE and not now:
            self.publish_soon()
            return
        state = self._replies.state()
        if state != self._published_state:
            self._published_state = state
            self._states += 1
            self.publish_soon()
            self._history.reply_state(state)
            active = f"{len(state.active)} responses under way" if state.active else "listening"
            self._activity = active if state.session else "waiting for the server"
            self.show(self._trouble)
            self._stage.publish(state)

    def publish_texts(self) -> None:
        """Publish the growing transcripts. Those that are too long for one go follow soon."""
        characters = 0
        while self._texts and characters < CHARACTERS_AT_ONCE:
            item_id = next(iter(self._texts))
            text = self._texts.pop(item_id)
            characters += len(text.text)
            self._stage.publish(text)
        if self._texts:
            self.publish_soon()

    def publish_history(self) -> list[messages.HistoryTurn] | None:
        """Publish the conversation as heard if it changed. Return its turns then, else None."""
        if not self._history.changed:
            return None
        turns = self._history.turns()
        text = codec.write_turns(turns)
        message = messages.History(session=self._replies.session, payload=text)
        if message == self._published_history:
            return None
        self._published_history = message
        self._stage.publish(message)
        return turns

    def _publish_due(self) -> None:
        self._timer_runs = False
        self._states = 0
        self.publish_state()
        self.publish_texts()
