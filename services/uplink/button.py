"""Push to talk in uplink: what the button does to the microphone and to the session. Pure.

``Talk`` decides which frames belong to a turn. This module joins it with the microphone, with the
requests to the server, and with the time.
"""

from __future__ import annotations

from collections.abc import Callable

from services.uplink import requests
from services.uplink.microphone import Microphone
from services.uplink.restoration import Restoration
from services.uplink.talk import Talk, TurnEnd
from shared import messages
from shared.audio import pcm
from shared.owner import Owner

#: How long after the button's release the turn's last frame arrives at the latest, s.
CLOSE_S = 0.2


class Button:
    """The button of push to talk. ``send`` sends a request to the server.

    ``ready`` returns whether there is a session that takes the microphone.

    A connection can break between a commit and its answer. The next session gets such a turn again,
    unless it gets the turn's words with the history: then downlink asks for the answer again.
    """

    def __init__(
        self,
        stage: Owner,
        mic: Microphone,
        send: Callable[[bytes], None],
        ready: Callable[[], bool],
        restoration: Restoration,
    ) -> None:
        self._stage = stage
        self._mic = mic
        self._send = send
        self._ready = ready
        self._restoration = restoration
        self._talk = Talk()
        self._unanswered = False  # a turn was committed, and no response has begun since
        # The responses under way, now and at the commit, and the history's items at the commit.
        self._active: frozenset[str] = frozenset()
        self._active_before: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()

    def begin_session(self) -> None:
        """Begin with a new session, whose buffer is empty, before it gets the history."""
        self._talk.begin_session()
        if self._unanswered and not self._restoration.leave_to_audio(self._known):
            self._answered()

    def heard_again(self, samples: int) -> None:
        """Go on in a session whose buffer has this many samples of the turn."""
        self._talk.begin_session(samples)
        if self._unanswered:
            if samples:
                self._send(requests.commit())
            else:
                self._answered()  # so long ago that the person no longer waits

    def reply_state(self, state: messages.ReplyState) -> None:
        """Note that a response has begun: it answers the turn that was committed."""
        self._active = frozenset(state.active)
        if self._unanswered and self._active - self._active_before:
            self._answered()

    def take(self, frame: messages.MicClean) -> bool:
        """Count a frame if it belongs to the turn, and return whether it does.

        The first frame after the turn closes the turn.
        """
        if self._talk.ends_with(frame.captured_ns):
            self._close_turn()
        return self._talk.take(frame.captured_ns, len(frame.payload) // pcm.SAMPLE_BYTES)

    def keeps(self, frame: messages.MicClean) -> bool:
        """Return whether the next session has to hear a frame that this one does not get."""
        return self._talk.take(frame.captured_ns, 0)

    def follow(
        self,
        decision: messages.TurnDecision,
        before: messages.TurnDecision | None,
        published_ns: int,
    ) -> None:
        """Follow the button, as downlink's decision at ``published_ns`` reports it.

        ``before``: the decision before this one, or None if this uplink has seen none.
        """
        if before is not None and (before.talk, before.talk_ns) == (
            decision.talk,
            decision.talk_ns,
        ):
            return
        if not decision.talk:
            self._talk.release(decision.talk_ns or published_ns)
            self._stage.after(CLOSE_S, self._close_turn)
            return
        self._talk.press(decision.talk_ns)
        self._unanswered = False
        self._mic.turn_begins()
        if before is not None:
            # A restarted uplink goes on with the turn instead, and clears nothing.
            self._send(requests.clear())

    def _close_turn(self) -> None:
        if not self._talk.closing or not self._ready():
            return  # A turn that ends before its session is ready is closed in that session.
        if self._talk.close() is TurnEnd.COMMIT:
            self._unanswered = True
            self._active_before = self._active
            self._known = self._restoration.turn_ids()
            self._send(requests.commit())
        else:
            self._mic.turn_ends()
            self._send(requests.clear())

    def _answered(self) -> None:
        self._unanswered = False
        self._mic.turn_ends()
