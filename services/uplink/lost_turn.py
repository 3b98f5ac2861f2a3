"""The person's last turn, where the session was lost before the server answered it. Pure.

If the server transcribed the turn, the next session gets the words with the history, and is asked
for the answer. Otherwise only the microphone's audio has the words, so the next session gets that.
"""

from __future__ import annotations

from collections.abc import Callable

from services.uplink.microphone import Microphone
from services.uplink.restoration import Restoration
from services.uplink.updates import Updates
from shared import messages
from shared.owner import Owner


class LostTurn:
    """Sees to it that a question gets its answer in the next session.

    ``send`` sends a request. ``restore`` brings the session's conversation up to date.
    ``send_audio_again`` sends audio that the session has to hear again.
    """

    def __init__(
        self,
        stage: Owner,
        parts: tuple[Microphone, Restoration, Updates],
        send: Callable[[bytes], None],
        restore: Callable[[], None],
        send_audio_again: Callable[[list[bytes]], int],
    ) -> None:
        self._stage = stage
        self._mic, self._restoration, self._updates = parts
        self._send, self._restore, self._send_audio_again = send, restore, send_audio_again
        # The turns that the history had before the person's last turn began.
        self._known: frozenset[str] = frozenset()
        self._settled_session = 0  # the session whose lost answer needs no request any more

    def reply_state(self, state: messages.ReplyState) -> None:
        """Note whether the server hears the person."""
        before = self._mic.speaking
        self._mic.reply_state(state)
        if self._mic.speaking and not before:
            self._known = self._restoration.turn_ids()

    def settle(self, session: int) -> None:
        """Note that a session will answer anyway."""
        self._settled_session = session

    def ask_again(self, ready_session: int) -> None:
        """Have the session begin or finish the answer that was lost with the last session.

        ``ready_session``: the session that has the conversation.
        """
        request = self._updates.request
        settled = request.session == self._settled_session
        if not request.lost_answer or request.session != ready_session or settled:
            return
        self._settled_session = request.session
        self._stage.count("lost_answers_asked")
        by_audio = request.lost_answer == "answer" and self._mic.has_last_turn
        if by_audio and self._restoration.leave_to_audio(self._known):
            self._restore()  # without the text that stands for the turn
            self._send_audio_again(self._mic.repeat_last_turn())
            self._stage.log.info("sent the turn again that has no answer and no transcript")
        else:
            self._send(self._updates.ask_again())
            self._stage.log.info(
                "asked again for the answer that was lost: %s", request.lost_answer
            )
