"""The responses of a session: how they begin, are cancelled, and are interrupted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.emulator import faults
from services.emulator.clips import VoiceError
from services.emulator.conversation import Conversation, Item
from services.emulator.diary import Diary
from services.emulator.options import Options
from services.emulator.outbox import Outgoing, Reset
from services.emulator.pacing import Event
from services.emulator.planning import Planner, is_out_of_band
from services.emulator.plans import Part, Say
from services.emulator.replies import Spoken
from services.emulator.responses import Response
from services.emulator.schema import Refused


class Answers:
    """The responses of a session: one at a time in the conversation, any number out of band."""

    def __init__(
        self,
        options: Options,
        conversation: Conversation,
        planner: Planner,
        diary: Diary,
        new_id: Callable[[str], str],
        emit: Callable[[Outgoing], None],
        done: Callable[[Response], None],
    ) -> None:
        """Call ``emit`` with each event to send, and ``done`` after each response.done."""
        self._options = options
        self._conversation = conversation
        self._planner = planner
        self._diary = diary
        self._new_id = new_id
        self._emit = emit
        self._done = done
        self._sabotage = faults.Sabotage(options.faults)
        #: The responses that have events to send, or whose audio a client would still be playing.
        self._responses: list[Response] = []
        #: The last spoken reply of the conversation.
        self._spoken: Spoken | None = None

    @property
    def due(self) -> float | None:
        """When ``advance`` has events to send, s; None if there are no more."""
        times = [response.due for response in self._responses if response.due is not None]
        return min(times, default=None)

    @property
    def active(self) -> Response | None:
        """The response of the conversation whose response.done is still to come, or None."""
        for response in self._responses:
            if response.active and not response.out_of_band:
                return response
        return None

    def advance(self, now: float) -> None:
        """Send some of the events that are due."""
        for response in list(self._responses):
            self._advance(response, now)

    def begin(self, asked: Event, session: dict[str, Any], turns: int, now: float) -> Response:
        """Begin a response. Raises Refused.

        ``asked`` is the ``response`` of a response.create, or empty. ``turns`` is the number of
        turns that the user has spoken.
        """
        out_of_band = is_out_of_band(asked)
        if not out_of_band and (active := self.active) is not None:
            raise Refused(
                "conversation_already_has_active_response",
                f"Conversation already has an active response in progress: {active.id}. Wait until"
                " the response is finished before creating a new one.",
            )
        conversation = None if out_of_band else self._conversation
        request = self._planner.request(asked, session)
        plan, error = self._plan(asked, session, turns)
        response = Response(
            self._new_id("resp"),
            request,
            plan,
            self._options,
            conversation,
            self._new_id,
            now,
            error,
        )
        self._responses = [r for r in self._responses if r.due is not None or r.plays_until > now]
        self._responses.append(response)
        if not out_of_band and error is None and any(isinstance(part, Say) for part in plan):
            if self._spoken is not None and self._spoken.interrupted:
                self._diary.interruption(now, self._spoken)
            self._spoken = Spoken(response.id, response.spoken)
        self._diary.replies(now, response, plan)
        self._advance(response, now)
        return response

    def _plan(
        self, asked: Event, session: dict[str, Any], turns: int
    ) -> tuple[list[Part], dict[str, str] | None]:
        """Return what the response will contain, and the error with which it fails, if it does."""
        code = self._options.faults.fail
        error = faults.failure(code) if code else None
        try:
            plan = self._planner.plan(asked, session, spoken=self._spoken, turns=turns)
        except VoiceError as broken:
            return [], self._broken(broken)
        return plan, error

    def interrupt(self, now: float) -> None:
        """Cancel the response of the conversation, because the person speaks (interrupt_response).

        The server cannot stop a reply that was sent in full and still plays at the client. It
        counts this reply as interrupted, too.
        """
        spoken, active = self._spoken, self.active
        for response in self._responses:
            if spoken is not None and response.id == spoken.response_id:
                playing = response.active or now < response.plays_until
                if playing and not response.active:
                    self._diary.interrupted_while_playing(spoken)
                spoken.interrupted = spoken.interrupted or playing
        if active is not None and not active.cancelled():
            self._cancel(active, "turn_detected", now)

    def cancel(self, response_id: str | None, now: float) -> None:
        """Cancel the response with this id, or the conversation's, because the client asks for it.

        Raises Refused if there is no such response to cancel.
        """
        for response in self._responses:
            meant = response.id == response_id if response_id else not response.out_of_band
            if meant and response.active and not response.cancelled():
                self._cancel(response, "client_cancelled", now)
                return
        raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")

    def changed(self, item: Item) -> None:
        """Count the last reply as interrupted if the client truncated or deleted an item of it."""
        if self._spoken is not None and any(item is each for each in self._spoken.items):
            self._spoken.interrupted = True

    def _cancel(self, response: Response, reason: str, now: float) -> None:
        self._diary.cancelled(response, reason)
        response.cancel(now, reason)
        if self._spoken is not None and self._spoken.response_id == response.id:
            self._spoken.interrupted = True
        self._advance(response, now)

    def _advance(self, response: Response, now: float) -> None:
        try:
            events = response.advance(now)
        except VoiceError as broken:
            response.fail(now, self._broken(broken))
            events = response.advance(now)
        for event in events:
            is_audio = event["type"] == "response.output_audio.delta"
            if is_audio:
                for garbage in self._sabotage.before(event):
                    self._emit(garbage)
            self._emit(event)
            if is_audio and self._sabotage.drops_after(event, response.request.format["type"]):
                self._emit(Reset())
            if event["type"] == "response.done":
                self._diary.done(response)
                self._done(response)

    def _broken(self, error: VoiceError) -> dict[str, str]:
        self._diary.failed(error)
        return {"type": "server_error", "code": "server_error", "message": str(error)}
