"""Watches the server's session, and acts if it differs from the requested one. Pure.

``Terms`` knows the differences. This module tells the parts of downlink that have to work
otherwise, asks uplink to send the update again, and reports each difference once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from services.downlink import objects
from services.downlink.decisions import Decisions
from services.downlink.replies import Replies
from services.downlink.terms import Terms, Unusable
from shared import messages
from shared.config import Config, masked_text
from shared.owner import Owner

#: Differences are reported this long after the last answer to an update: uplink may be sending
#: updates one by one, or again.
CHECK_S = 0.5

LostAnswer = Literal["", "answer", "continue"]


class SessionWatch:
    """Compares the session with the settings.

    ``show`` shows a text in the health's state. ``end`` ends the stage for a reason.
    """

    def __init__(
        self,
        stage: Owner,
        config: Config,
        replies: Replies,
        decisions: Decisions,
        show: Callable[[str], None],
        end: Callable[[str], None],
    ) -> None:
        self._stage = stage
        self._replies = replies
        self._decisions = decisions
        self._show = show
        self._end = end
        self._terms = Terms(config)
        self._decide = config.interruption.decide
        self._resume_within_s = config.session.resume_within_s
        self._session = 0
        self._lost_answer: LostAnswer = ""
        self._farewell = ""
        self._request: messages.SessionRequest | None = None  # as last published
        self._updates_answered = 0  # how many updates the server has answered
        replies.rate = self._terms.output_rate

    @property
    def server_decides(self) -> bool:
        """Whether the server's report that the person began to speak ends the reply."""
        return self._decide == "server" or self._terms.follows_server

    def begin_session(self, session: int, lost_answer: LostAnswer) -> None:
        """Begin with a new session.

        ``lost_answer``: which answer is still missing, as ``SessionWatch.lost_answer`` returned it.
        """
        self._session, self._lost_answer, self._farewell = session, lost_answer, ""
        self._terms.begin_session()
        self._publish()

    def lost_answer(self, lost_s: float) -> LostAnswer:
        """Return which answer is missing when the session is lost or replaced.

        "answer": a whole one. "continue": the rest of one. "": none.

        ``lost_s``: how long there has been no connection, s. After a long time the person no longer
        waits for the answer.
        """
        if lost_s > self._resume_within_s or not self._resume_within_s:
            return ""
        if self._replies.speech_ms >= 0:
            return ""  # The new session hears the person's turn, and answers it.
        if self._replies.nothing_begun and self._lost_answer:
            return self._lost_answer  # The answer that was missing before has not begun either.
        question: LostAnswer = "answer" if self._decisions.question_open else ""
        return self._replies.lost_answer or question

    def lost_answer_begun(self) -> None:
        """Note that a response has begun in the session: no answer is missing any more."""
        if self._lost_answer:
            self._lost_answer = ""
            self._publish()

    def reload(self, config: Config) -> None:
        """Compare the session with other settings from now on."""
        self._terms.reload(config)
        self._decisions.configure(config)
        self._adapt()

    def say_farewell(self, instructions: str) -> None:
        """Ask for the assistant's last line in this session."""
        self._farewell = instructions
        self._publish()

    # what the server says

    def created(self, told: Mapping[str, Any]) -> None:
        """Take the session object of ``session.created``."""
        self._terms.created(told)
        self._adapt()

    def updated(self, told: Mapping[str, Any]) -> None:
        """Take the session object of ``session.updated``."""
        self._terms.updated(told)
        self._adapt()
        self._update_answered()

    def refuses(self, error: objects.ServerError) -> bool:
        """Return whether an error refuses an update, and report it then."""
        line = self._terms.refuses(error)
        if line is None:
            return False
        if line:
            self._stage.count("session_refusals")
            self._stage.log.warning("%s", masked_text(line))
        self._publish()
        self._update_answered()
        return True

    # what follows

    def _adapt(self) -> None:
        terms = self._terms
        self._replies.rate = terms.output_rate
        self._decisions.adapt(
            server_answers=terms.server_answers,
            follows_server=terms.follows_server,
            transcribes=terms.transcribes,
        )
        self._publish()

    def _publish(self) -> None:
        """Publish the requests to uplink if they changed."""
        request = messages.SessionRequest(
            session=self._session,
            refused=self._terms.refused,
            refused_tools=self._terms.refused_tools,
            apart=self._terms.apart,
            input_rate=self._terms.input_rate,
            lost_answer=self._lost_answer,
            farewell=self._farewell,
        )
        if request != self._request:
            self._request = request
            self._stage.publish(request)

    def _update_answered(self) -> None:
        """Count an answer of the server to an update, and check the session soon."""
        self._updates_answered += 1
        number = self._updates_answered
        self._stage.after(CHECK_S, lambda: self._check(number))

    def _check(self, number: int) -> None:
        """Report the differences, unless the server has answered another update meanwhile."""
        if number != self._updates_answered:
            return
        try:
            complaints, remedies = self._terms.complaints(), self._terms.remedies()
        except Unusable as why:
            self._end(masked_text(str(why)))
            return
        for line in self._terms.news([*complaints, *remedies]):
            self._stage.count("session_differences")
            self._stage.log.warning("%s", masked_text(line))
        self._stage.ok = not complaints
        self._show(masked_text("; ".join([*complaints, *remedies])))
