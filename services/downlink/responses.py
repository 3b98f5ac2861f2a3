"""The responses that downlink remembers, each under way, interrupted or out of band. Pure."""

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
    active: bool = True
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
                self.dropped += forgotten.active
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
        under way.
        """
        interrupted: list[str] = []
        active: list[str] = []
        for name, response in self._known.items():
            if not self._out_of_band(response):
                if response.active or not response.interrupted:
                    interrupted.append(name)
                if response.active:
                    active.append(name)
                response.interrupted = True
        return interrupted, active

    def under_way(self) -> list[str]:
        """Return the ids of the responses that are not done."""
        return [name for name, response in self._known.items() if response.active]

    def speaking(self) -> list[str]:
        """Return the ids of the conversation's responses that are under way and not interrupted."""
        return [
            name
            for name, response in self._known.items()
            if response.active and not (self._out_of_band(response) or response.interrupted)
        ]

    @property
    def active(self) -> bool:
        """Whether a response of the conversation is under way, so that none can be asked for."""
        return any(r.active and not self._out_of_band(r) for r in self._known.values())

    @property
    def generating(self) -> bool:
        """Whether a response of the conversation is under way that was not interrupted."""
        return any(
            r.active and not (r.interrupted or self._out_of_band(r)) for r in self._known.values()
        )

    def _out_of_band(self, response: ResponseState) -> bool:
        told = response.without_conversation and self._conversations_named
        return response.asked_out_of_band or told
