"""Push to talk in uplink: what the button does to the microphone and to the session. Pure.

``Talk`` decides which frames belong to a turn. This module joins it with the microphone, with the
requests to the server, and with the time.
"""

from __future__ import annotations

from collections.abc import Callable

from services.uplink import requests
from services.uplink.microphone import Microphone
from services.uplink.talk import Talk, TurnEnd
from shared import messages
from shared.audio import pcm
from shared.owner import Owner

#: How long after the button's release the turn's last frame arrives at the latest, s.
CLOSE_S = 0.2


class Button:
    """The button of push to talk. ``send`` sends a request to the server.

    ``ready`` returns whether there is a session that takes the microphone.
    """

    def __init__(
        self,
        stage: Owner,
        mic: Microphone,
        send: Callable[[bytes], None],
        ready: Callable[[], bool],
    ) -> None:
        self._stage = stage
        self._mic = mic
        self._send = send
        self._ready = ready
        self._talk = Talk()

    def begin_session(self, samples: int = 0) -> None:
        """Go on in a new session, whose buffer has this many samples of the turn."""
        self._talk.begin_session(samples)

    def takes(self, frame: messages.MicClean) -> bool:
        """Return whether a frame belongs to the turn. The first one after the turn closes it."""
        if self._talk.ends_with(frame.captured_ns):
            self._close_turn()
        return self._talk.takes(frame.captured_ns, len(frame.payload) // pcm.SAMPLE_BYTES)

    def keeps(self, frame: messages.MicClean) -> bool:
        """Return whether the next session has to hear a frame that this one does not get."""
        return self._talk.takes(frame.captured_ns, 0)

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
        self._mic.turn_begins()
        if before is not None:
            # A restarted uplink goes on with the turn instead, and clears nothing.
            self._send(requests.clear())

    def _close_turn(self) -> None:
        if not self._talk.closing or not self._ready():
            return  # A turn that ends before its session is ready is closed in that session.
        self._mic.turn_ends()
        commits = self._talk.close() is TurnEnd.COMMIT
        self._send(requests.commit() if commits else requests.clear())
