"""The responses that downlink remembers. Pure.

A response is *under way* until it is done. It is *active* if it is under way and belongs to the
conversation: meanwhile the server refuses to begin another one. It is *generating* if it is active
and was not interrupted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from services.downlink import objects

#: How many responses are remembered. The oldest is forgotten first. Each event searches all of
#: them, so a limit keeps events fast when a server begins responses without end.
REMEMBERED = 64


@dataclass
class ResponseState:
    """One response of the server."""

    asked_out_of_band: bool = False  # our request said so
    without_conversation: bool = False  # the server says so
    under_way: bool = True
    interrupted: bool = False


class Responses:
    """The responses of a session, by id."""

    def __init__(self) -> None:
        #: How many responses were forgotten although they were under way.
        self.dropped = 0
        self._known: OrderedDict[str, ResponseState] = OrderedDict()
        # The server has named the conversation of a response.
        self._conversations_named = False

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        """Forget all responses."""
        self._known.clear()

    def take(self, told: objects.Response) -> ResponseState:
        """Update the response that the server tells about, and return it."""
        self._conversations_named = self._conversations_named or told.names_conversation
        response = self.get(told.id)
        response.asked_out_of_band = response.asked_out_of_band or told.asked_out_of_band
        response.without_conversation = told.without_conversation
        return response

    def get(self, name: str) -> ResponseState:
        """Return a response. One that is not known began before this process did."""
        response = self._known.get(name)
        if response is None:
            response = self._known[name] = ResponseState()
            while len(self._known) > REMEMBERED:
                _, forgotten = self._known.popitem(last=False)
                self.dropped += forgotten.under_way
        return response

    def is_out_of_band(self, name: str) -> bool:
        """Return whether a response is outside the conversation, so that no flush ends it.

        Our request said so, or the server says so and names the conversation of other responses.
        A server that names none says nothing.
        """
        response = self._known.get(name)
        return response is not None and self._out_of_band(response)

    def interrupted(self, name: str) -> bool:
        """Return whether a response is known and was interrupted."""
        response = self._known.get(name)
        return response is not None and response.interrupted

    def interrupt(self) -> tuple[list[str], list[str]]:
        """Interrupt the conversation's responses.

        Return the ids of those that are never played again, and the ids of those of them that are
        active.
        """
        interrupted: list[str] = []
        active: list[str] = []
        for name, response in self._known.items():
            if not self._out_of_band(response):
                if response.under_way or not response.interrupted:
                    interrupted.append(name)
                if response.under_way:
                    active.append(name)
                response.interrupted = True
        return interrupted, active

    def under_way(self) -> list[str]:
        """Return the ids of the responses that are under way, out-of-band ones included."""
        return [name for name, response in self._known.items() if response.under_way]

    def generating(self) -> list[str]:
        """Return the ids of the responses that are generating."""
        return [
            name
            for name, response in self._known.items()
            if self._active(response) and not response.interrupted
        ]

    @property
    def any_active(self) -> bool:
        """Whether a response is active."""
        return any(map(self._active, self._known.values()))

    @property
    def any_generating(self) -> bool:
        """Whether a response is generating."""
        return bool(self.generating())

    def _active(self, response: ResponseState) -> bool:
        return response.under_way and not self._out_of_band(response)

    def _out_of_band(self, response: ResponseState) -> bool:
        told = response.without_conversation and self._conversations_named
        return response.asked_out_of_band or told
