"""One client's session: client events and audio in, server events out.

A session has no socket and no clock: every call is given the time in seconds. Its owner passes
messages to ``receive``, calls ``listen`` while ``listening`` is true, and sends what ``pull``
returns, again at the time ``due``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.emulator import ears, events, settings
from services.emulator.answers import Answers
from services.emulator.conversation import Conversation
from services.emulator.diary import Diary, Journal
from services.emulator.mcp_servers import Errand, Failed, McpServers
from services.emulator.options import Options
from services.emulator.outbox import Close, Outbox, Outgoing, new_id
from services.emulator.pacing import Event
from services.emulator.planning import Planner
from services.emulator.replies import Replies
from services.emulator.responses import Response
from services.emulator.schema import Refused
from services.emulator.turns import Turns
from services.emulator.twists import Twists

#: Time from response.done to the rate limits, s, as observed on the live service.
RATE_LIMITS_S: Final = 0.043


class Session:
    """A session. The module's docstring says how its owner drives it."""

    def __init__(
        self,
        options: Options,
        replies: Replies,
        probability: ears.Probability,
        journal: Journal,
        *,
        model: str,
        now: float,
        wall: float,
    ) -> None:
        """Begin at ``now``, s; ``wall`` is the same moment in seconds since 1970."""
        self.id = new_id("sess")
        self._settings = settings.default(self.id, model, int(wall + options.expire_s))
        self._conversation = conversation = Conversation(new_id("conv"))
        self._diary = diary = Diary(self.id, journal)
        self._twists = Twists(options.twists, options.omitted)
        self._outbox = outbox = Outbox(diary, now, self._twists)
        self._mcp = mcp = McpServers(conversation, outbox, diary)
        self._planner = planner = Planner(options, replies, conversation, new_id, mcp)
        self._answers = Answers(
            options, conversation, planner, diary, new_id, outbox.emit, self._response_done
        )
        self._turns = Turns(
            probability,
            conversation,
            self._answers,
            outbox,
            diary,
            self._settings,
            options.faults,
            self._twists.transcript_late_s,
        )
        self._handlers: dict[str, Callable[[Event], None]] = {
            "session.update": self._update_session,
            "session.close": self._close_session,
            "input_audio_buffer.append": self._append,
            "session.input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.truncate": self._truncate_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }
        outbox.emit({"type": "session.created", "session": self._settings})
        outbox.at(now + options.expire_s, self._expire)

    # What the owner of the session calls.

    @property
    def due(self) -> float | None:
        """When ``pull`` has something to return, s; None if nothing is to come."""
        if not self._outbox.empty:
            return self._outbox.due
        times = (self._outbox.due, self._answers.due, self._turns.idle_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def listening(self) -> bool:
        """Whether there is appended audio that ``listen`` has not processed."""
        return self._turns.listening

    def receive(self, message: str | bytes, now: float) -> None:
        """Handle a message of the client. Call ``listen`` before while ``listening`` is true."""
        self._outbox.now = now
        event_id = None
        try:
            event = events.decode(message)
            given = event.get("event_id")
            event_id = given if isinstance(given, str) else None
            events.check(event)
        except Refused as refused:
            self._outbox.refuse(refused, event_id)
        else:
            self._handle(event)

    def listen(self, now: float) -> None:
        """Process a little of the appended audio, in about 4 ms."""
        self._outbox.now = now
        self._turns.listen()

    def pull(self, now: float) -> list[Outgoing]:
        """Return some of the events that are due at ``now``; nothing if all of them were sent."""
        self._outbox.now = now
        if self._outbox.empty:
            self._outbox.run_timers()
            if self._turns.idle_at is not None and self._turns.idle_at <= now:
                self._turns.answer_silence()
            self._answers.advance(now)
        return self._outbox.take()

    def errands(self) -> list[Errand]:
        """Return the errands that the owner has to run at MCP servers, and forget them."""
        errands = list(self._mcp.errands)
        self._mcp.errands.clear()
        return errands

    def ran(self, errand: Errand, result: list[Event] | str | Failed, now: float) -> None:
        """Take the result of an errand."""
        self._outbox.now = now
        errand.done(result)

    def journal_conversation(self, now: float) -> None:
        """Write the content of the conversation to the journal."""
        self._diary.conversation(now, self._conversation.items)

    # The client's events.

    def _handle(self, event: Event) -> None:
        # These events may refer to the item of a commit that is not acknowledged yet, so they wait
        # until it is.
        waits = event["type"].startswith("conversation.") or event["type"] == "response.create"
        if waits and self._outbox.now < self._turns.committing_until:
            self._outbox.at(self._turns.committing_until, lambda: self._handle(event))
            return
        try:
            if not self._twists.swallows(event):
                self._handlers[event["type"]](event)
        except Refused as refused:
            self._outbox.refuse(refused, event.get("event_id"))

    def _update_session(self, event: Event) -> None:
        update = event["session"]
        self._settings = settings.updated(self._settings, update, spoken=self._conversation.spoken)
        self._turns.configure(self._settings)
        self._outbox.emit({"type": "session.updated", "session": self._settings})
        self._diary.updated(sorted(update.keys() - {"type"}))
        self._mcp.configure(self._settings["tools"])

    def _close_session(self, _: Event) -> None:
        self._outbox.emit(Close(1000, ""))

    def _append(self, event: Event) -> None:
        self._turns.append(event["audio"])

    def _commit(self, event: Event) -> None:
        self._turns.commit(event.get("event_id"))

    def _clear(self, _: Event) -> None:
        self._turns.clear()

    def _create_item(self, event: Event) -> None:
        item = self._planner.item(event["item"], self._settings)
        answers = item.head["type"] == "mcp_approval_response"
        if answers:
            self._mcp.check(item.head)
        previous = self._conversation.add(item, event.get("previous_item_id"))
        self._diary.created(self._outbox.now, item, previous)
        self._outbox.announce(item, previous)
        if answers:
            self._mcp.answered(item.head)

    def _retrieve_item(self, event: Event) -> None:
        item = self._conversation.retrieve(event["item_id"])
        audio = self._settings["audio"]
        kinds = audio["input"]["format"]["type"], audio["output"]["format"]["type"]
        retrieved = {"type": "conversation.item.retrieved", "item": item.wire_with_audio(*kinds)}
        self._outbox.emit(retrieved)

    def _truncate_item(self, event: Event) -> None:
        item_id, index, end_ms = event["item_id"], event["content_index"], event["audio_end_ms"]
        item = self._conversation.find(item_id)
        length_ms = item.timeline.length_ms if item and item.timeline else None
        now = self._outbox.now
        try:
            self._answers.changed(self._conversation.truncate(item_id, index, end_ms))
        except Refused as refused:
            self._diary.truncated(now, event, item, length_ms, refused)
            raise
        self._diary.truncated(now, event, item, length_ms, None)
        self._outbox.emit(
            {
                "type": "conversation.item.truncated",
                "item_id": item_id,
                "content_index": index,
                "audio_end_ms": end_ms,
            }
        )

    def _delete_item(self, event: Event) -> None:
        item = self._conversation.delete(event["item_id"])
        self._answers.changed(item)
        self._diary.deleted(self._outbox.now, item)
        self._outbox.emit({"type": "conversation.item.deleted", "item_id": item.id})

    def _create_response(self, event: Event) -> None:
        asked = event.get("response") or {}
        response = self._answers.begin(asked, self._settings, self._turns.count, self._outbox.now)
        if not response.out_of_band and response.active:
            self._turns.idle_at = None

    def _cancel_response(self, event: Event) -> None:
        self._answers.cancel(event.get("response_id"), self._outbox.now)

    # What the session does by itself.

    def _response_done(self, response: Response) -> None:
        """Do what follows a response.done."""
        self._outbox.at(self._outbox.now + RATE_LIMITS_S, self._send_rate_limits)
        self._mcp.called(response.mcp_calls)
        if not response.out_of_band:
            self._turns.response_done(response)

    def _send_rate_limits(self) -> None:
        tokens = {"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 1.5}
        self._outbox.emit({"type": "rate_limits.updated", "rate_limits": [tokens]})

    def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        self._outbox.refuse(Refused("session_expired", message), None)
        self._outbox.emit(Close(1001, message))
