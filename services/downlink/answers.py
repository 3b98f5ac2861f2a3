"""When downlink asks for a response, if the server does not answer by itself. Pure."""

from __future__ import annotations

from services.downlink import objects
from shared.config import Config

MS = 1_000_000
#: A response that was asked for begins within 5 s, or an error says why it does not. After that
#: nothing will come, and downlink may ask again.
ANSWER_TIMEOUT_NS = 5000 * MS
#: uplink may not yet have the report of a flush that is younger than this. A request for a
#: response then has to wait for that report, so that the server knows how much was heard.
RECENT_FLUSH_NS = 1000 * MS
#: The server's error where a response is asked for while another one is under way.
ACTIVE_NAME = "conversation_already_has_active_response"


class Answers:
    """Decides when to ask for a response; at most one is asked for at a time.

    ``first``: requests are numbered from ``first + 1``, and the numbers only grow. ``enabled``:
    whether spoken turns are answered at downlink's request at all.
    """

    def __init__(self, first: int, *, enabled: bool) -> None:
        self.enabled = enabled
        self._last_number = first
        # Whether a committed turn has no answer yet, and no request is under way for it.
        self._wanted = False
        # The number of the request that is under way, 0 if none is, and when it was made.
        self._requested = 0
        self._requested_ns = 0
        # Whether the response that was asked for is interrupted before it exists: it is flushed as
        # soon as it begins.
        self._doomed = False
        # Whether a response of the conversation is under way, as far as downlink knows.
        self._active = False
        # The server refused a request because of a response that downlink does not know of. Until
        # this time (ns), or until that response is done, nothing is asked for. 0: nothing blocks.
        self._blocked_until_ns = 0
        self._flushed_generation = self._flushed_ns = 0

    def begin_session(self) -> None:
        """Forget the requests of the last session."""
        self._wanted = self._doomed = False
        self._requested = self._blocked_until_ns = 0

    # what happens

    def turn_committed(self) -> None:
        """Note that a turn is to be answered. A response that begins later answers it as well."""
        self._wanted, self._doomed = self._wanted or self.enabled, False

    def text_added(self) -> None:
        """Note a text that is to be answered. No server answers a text by itself."""
        self._wanted, self._doomed = True, False

    def outputs_came(self, now_ns: int) -> None:
        """Ask for the answer to the outputs of function calls, which no server gives by itself."""
        self._wanted = True
        self.ask(now_ns)

    def withdraw(self) -> None:
        """Ask for nothing more until the next turn is committed: the person goes on speaking."""
        self._wanted = False

    def response_active(self, *, active: bool) -> None:
        """Note whether a response of the conversation is under way."""
        self._active = active

    def response_created(self) -> bool:
        """Note that a response began. Return whether it is to be flushed at once.

        The response answers all turns that the server had reported before it.
        """
        doomed, self._doomed = self._doomed, False
        self._wanted, self._requested, self._blocked_until_ns = False, 0, 0
        return doomed

    def response_done(self) -> None:
        """Note that a response ended."""
        self._blocked_until_ns = 0

    def refused(self, error: objects.ServerError, now_ns: int) -> bool:
        """Note an error. Return whether it refuses our request because of another response."""
        if error.name != ACTIVE_NAME or not self._requested:
            return False
        self._wanted, self._requested = True, 0
        self._blocked_until_ns = now_ns + ANSWER_TIMEOUT_NS
        return True

    def flushed(self, generation: int, now_ns: int) -> None:
        """Note a flush. A response that was asked for and does not exist yet is interrupted too."""
        self._flushed_generation, self._flushed_ns = generation, now_ns
        self._doomed = bool(self._requested)

    # what follows

    def give_up(self, now_ns: int) -> None:
        """Forget a request that was not followed within ANSWER_TIMEOUT_NS."""
        if self._requested and now_ns - self._requested_ns >= ANSWER_TIMEOUT_NS:
            self._requested, self._doomed = 0, False

    def ask(self, now_ns: int) -> None:
        """Ask for a response if one is wanted and none is in the way."""
        if self._wanted and self.possible(now_ns):
            self._last_number += 1
            self._wanted = False
            self._requested, self._requested_ns = self._last_number, now_ns

    def possible(self, now_ns: int) -> bool:
        """Return whether nothing is in the way of asking for a response."""
        return not (self._active or self._requested or now_ns < self._blocked_until_ns)

    @property
    def awaited(self) -> bool:
        """Whether a response was asked for, is not there yet, and is to be heard."""
        return bool(self._requested) and not self._doomed

    @property
    def requested(self) -> int:
        """The number of the request that is under way; 0: none is."""
        return self._requested

    @property
    def after_generation(self) -> int:
        """The flush whose report the server must have before the request; 0: none."""
        recent = self._requested_ns - self._flushed_ns < RECENT_FLUSH_NS
        return self._flushed_generation if self._requested and recent else 0

    def deadlines_ns(self) -> list[int]:
        """Return the times at which `give_up` and `ask` can have something to do."""
        deadlines: list[int] = []
        if self._requested:
            deadlines.append(self._requested_ns + ANSWER_TIMEOUT_NS)
        if self._wanted and self._blocked_until_ns:
            deadlines.append(self._blocked_until_ns)
        return deadlines


def asks_for_answers(config: Config) -> bool:
    """Return whether downlink, and not the server, decides when a turn is answered."""
    decide, detection = config.interruption.decide, config.session.turn_detection
    if decide == "never":
        # The server would refuse to answer by itself a turn that ends during another response.
        return detection.create_response and detection.type != "none"
    return decide in ("client", "push_to_talk")
