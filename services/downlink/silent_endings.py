"""Responses that end without a ``response.done``. Pure.

Some servers never send that event. The response would count as under way for ever: no answer could
be asked for, the session could not be renewed, and the conversation could not sleep.
"""

from __future__ import annotations

from services.downlink import events
from services.downlink.responses import Responses

#: A response is taken for ended if the server has sent nothing of it for this long, ns, after the
#: end of one of its parts or after an interruption. A server that is about to go on does so sooner.
QUIET_NS = 5_000_000_000
#: The events that end a part of a response.
PART_ENDS = (events.AudioDone, events.TranscriptDone, events.TextDone, events.OutputItemDone)


class SilentEndings:
    """Says which responses have ended although the server did not say so."""

    def __init__(self, responses: Responses) -> None:
        self._responses = responses
        # When the last event of a response came, ns, and whether the response may have ended then.
        self._last: dict[str, tuple[int, bool]] = {}
        self._taken_for_ended: set[str] = set()

    def read(self, event: events.Event, now_ns: int) -> None:
        """Note an event of a response. A response that was taken for ended can go on."""
        name = getattr(event, "response_id", "")
        if not name or name not in self._responses:
            return
        if name in self._taken_for_ended:
            self._taken_for_ended.discard(name)
            self._responses.get(name).under_way = True
        self._last[name] = (now_ns, isinstance(event, PART_ENDS))

    def ended_if_none_active(self) -> list[str]:
        """Return the interrupted responses: they have ended if the server has none to cancel."""
        return [name for name in self._responses.under_way() if self._responses.interrupted(name)]

    def ended(self, now_ns: int) -> list[str]:
        """Return the responses that have ended in silence. To be called again and again."""
        under_way = self._responses.under_way()
        self._last = {name: last for name, last in self._last.items() if name in under_way}
        ended = []
        for name in under_way:
            at_ns, complete = self._last.get(name, (now_ns, False))
            if self._responses.interrupted(name) and not complete:
                # The time runs from the interruption, as far as it is known.
                at_ns, complete = now_ns, True
            self._last[name] = (at_ns, complete)
            if complete and now_ns - at_ns > QUIET_NS:
                ended.append(name)
        self._taken_for_ended.update(ended)
        return ended
