"""The one place where downlink dispatches server events. Pure.

``ServerEvents.read`` looks up the method for the event's type. That method calls, in order, each
part that the event concerns: replies, history, decisions, renewal. Every message for the bus goes
through ``Actions``, which the stage implements. item_events.py has the events about items.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from services.downlink import events, objects, reply_endings
from services.downlink.actions import Actions, UsageLog
from services.downlink.decisions import Decisions
from services.downlink.history import History
from services.downlink.item_events import ItemEvents, Times
from services.downlink.renewal import Renewal
from services.downlink.replies import Replies
from services.downlink.reply_names import ReplyNames
from services.downlink.server_errors import NOT_ACTIVE, ErrorReports
from services.downlink.session_watch import SessionWatch
from services.downlink.silent_endings import SilentEndings
from services.downlink.turn_names import TurnNames

#: How many unknown types of events are reported. A server can invent new ones without end.
MAX_UNKNOWN = 50


class ServerEvents:
    """Reads each server event once."""

    def __init__(
        self,
        actions: Actions,
        replies: Replies,
        history: History,
        renewal: Renewal,
        decisions: Decisions,
        session: SessionWatch,
        usage: UsageLog,
    ) -> None:
        self._actions = actions
        self._replies = replies
        self._history = history
        self._renewal = renewal
        self._decisions = decisions
        self._session = session
        self._usage = usage
        self._calls = decisions.calls
        self._times = times = Times()
        self._items = ItemEvents(actions, replies, history, renewal, decisions, times)
        self._error_reports = ErrorReports()
        self._turn_names = TurnNames()
        self._reply_names = ReplyNames(replies.responses)
        self._silent = SilentEndings(replies.responses)
        self._unknown_types: set[str] = set()  # those that were reported
        self._methods: dict[type[events.Event], Callable[[Any], None]] = {
            events.SessionCreated: self._session_created,
            events.SessionUpdated: self._session_updated,
            events.SpeechStarted: self._speech_started,
            events.SpeechStopped: self._speech_stopped,
            events.Committed: self._committed,
            events.TimeoutTriggered: self._silence_timed_out,
            events.ItemAdded: self._items.item_added,
            events.ItemDone: self._items.item_done,
            events.ItemTruncated: self._item_truncated,
            events.ItemDeleted: self._item_deleted,
            events.ResponseCreated: self._response_created,
            events.ResponseDone: self._response_done,
            events.ResponseCancelled: self._response_cancelled,
            events.OutputItemAdded: self._items.output_item_added,
            events.OutputItemDone: self._items.output_item_done,
            events.CallDone: self._items.call_done,
            events.McpListFailed: self._items.mcp.list_failed,
            events.McpArguments: self._items.mcp.arguments,
            events.McpBegan: self._items.mcp_began,
            events.McpCompleted: self._items.mcp_completed,
            events.McpFailed: self._items.mcp_failed,
            events.AudioDelta: self._audio,
            events.AudioDone: self._audio_done,
            events.TextDelta: self._words_added,
            events.WrittenDelta: self._written_added,
            events.TranscriptDone: self._transcript_done,
            events.TextDone: self._text_done,
            events.UserTranscriptDelta: self._person_words_added,
            events.UserTranscript: self._person_words_final,
            events.TranscriptionFailed: self._transcription_failed,
            events.ErrorEvent: self._error,
            events.Unknown: self._unknown,
        }

    def read(self, event: events.Event, received_ns: int, now_ns: int) -> None:
        """Process an event that link received at ``received_ns``.

        Raises BadAudio for audio that is not base64; nothing was changed then.
        """
        named = self._reply_names.named(event)
        if named is None:
            line = "the server does not say to which of its responses audio or words belong"
            self._actions.report("unnamed_events", line)
        elif method := self._methods.get(type(named)):
            self._times.received_ns, self._times.now_ns = received_ns, now_ns
            method(named)
            self._silent.read(named, now_ns)

    def end_silent(self, now_ns: int) -> None:
        """End the responses whose end the server does not report. To be called once a second."""
        for name in self._silent.ended(now_ns):
            self._times.received_ns = self._times.now_ns = now_ns
            line = "the server does not say that its response has ended: taken for ended"
            self._actions.report("responses_ended_silently", line)
            self._end_response(name)

    # the person

    def _speech_started(self, event: events.SpeechStarted) -> None:
        event = replace(event, item_id=self._turn_names.begin(event.item_id))
        self._replies.speech_started(event)
        if self._session.server_decides:
            # The flush leaves before anything else is published: from here on each ms is heard.
            self._actions.flush("speech_started", self._times.received_ns)
        self._history.speech_started(event)
        self._renewal.speech_started(self._times.received_ns)
        self._actions.follow_decisions(self._decisions.speech_started(event, self._times.now_ns))
        self._actions.publish_state()

    def _speech_stopped(self, event: events.SpeechStopped) -> None:
        event = replace(event, item_id=self._turn_names.go_on(event.item_id))
        self._replies.speech_ended()
        self._history.speech_stopped(event)
        self._renewal.speech_stopped(self._times.received_ns)
        self._actions.follow_decisions(self._decisions.speech_stopped(event, self._times.now_ns))

    def _committed(self, event: events.Committed) -> None:
        self._replies.speech_ended()
        if event.item_id:
            speech = [objects.Content("input_audio")]
            said = objects.Item(event.item_id, "message", "user", content=speech)
            self._history.mentioned(said, event.previous_item_id)
        event = replace(event, item_id=self._turn_names.end(event.item_id))
        self._actions.follow_decisions(self._decisions.committed(event, self._times.now_ns))

    def _silence_timed_out(self, event: events.TimeoutTriggered) -> None:
        event = replace(event, item_id=self._turn_names.begin(event.item_id))
        self._actions.follow_decisions(self._decisions.silence_timed_out(event, self._times.now_ns))

    def _person_words_added(self, event: events.UserTranscriptDelta) -> None:
        self._actions.publish(self._replies.words_added(event.item_id, "user", event.delta or ""))
        self._renewal.conversation_changed(self._times.received_ns)
        self._actions.follow_decisions(self._decisions.words_added(event, self._times.now_ns))

    def _person_words_final(self, event: events.UserTranscript) -> None:
        text = event.transcript or ""
        self._actions.publish(self._replies.words_final(event.item_id, "user", text))
        self._usage.transcript(event.usage)
        self._renewal.conversation_changed(self._times.received_ns)
        self._actions.follow_decisions(
            self._decisions.words_final(event.item_id, text, self._times.now_ns)
        )

    def _transcription_failed(self, event: events.TranscriptionFailed) -> None:
        self._renewal.conversation_changed(self._times.received_ns)
        self._actions.follow_decisions(
            self._decisions.words_final(event.item_id, "", self._times.now_ns)
        )
        self._actions.report(
            *self._error_reports.transcription(event.error or objects.ServerError())
        )

    # the assistant

    def _response_created(self, event: events.ResponseCreated) -> None:
        self._replies.response_created(event.response)
        self._renewal.response_created(event.response.id, self._times.received_ns)
        aside = self._replies.responses.is_out_of_band(event.response.id)
        self._actions.follow_decisions(
            self._decisions.response_created(out_of_band=aside, now_ns=self._times.now_ns)
        )
        self._reply_changed()

    def _response_done(self, event: events.ResponseDone) -> None:
        response = event.response
        interrupted = self._replies.responses.interrupted(response.id)
        self._actions.publish(self._replies.response_done(response))
        self._renewal.response_done(response.id, self._times.received_ns)
        for item in self._calls.response_done(response.id):
            if response.status == "completed":
                self._items.run(response.id, item)
        self._actions.follow_decisions(self._decisions.response_done(self._times.now_ns))
        self._reply_changed()
        self._usage.response(response.id, response.usage)
        if ending := reply_endings.report(response, interrupted=interrupted):
            self._actions.report(*ending)
        if error := reply_endings.error(response):
            self._actions.report(*self._error_reports.report(error))

    def _end_response(self, response_id: str) -> None:
        """End a response of which the server has sent no response.done."""
        self._response_done(events.ResponseDone(objects.Response(response_id, "completed")))

    def _response_cancelled(self, event: events.ResponseCancelled) -> None:
        if event.response_id:
            reason = objects.StatusDetails("cancelled", "client_cancelled")
            cancelled = objects.Response(event.response_id, "cancelled", status_details=reason)
            self._response_done(events.ResponseDone(cancelled))

    def _audio(self, event: events.AudioDelta) -> None:
        self._spoken(event)
        self._actions.publish(self._replies.audio(event))

    def _audio_done(self, event: events.AudioDone) -> None:
        self._actions.publish(self._replies.audio_done(event))
        self._reply_changed()

    def _words_added(self, event: events.TextDelta) -> None:
        self._spoken(event)
        self._actions.publish(self._replies.words_added(event.item_id, "assistant", event.delta))

    def _written_added(self, event: events.WrittenDelta) -> None:
        self._spoken(event)
        self._actions.publish(
            self._replies.words_added(event.item_id, "assistant", event.delta, written=True)
        )

    def _transcript_done(self, event: events.TranscriptDone) -> None:
        self._spoken(event)
        self._actions.publish(
            self._replies.words_final(event.item_id, "assistant", event.transcript)
        )

    def _text_done(self, event: events.TextDone) -> None:
        self._spoken(event)
        self._actions.publish(
            self._replies.words_final(event.item_id, "assistant", event.text, written=True)
        )

    def _spoken(
        self,
        event: events.AudioDelta
        | events.TextDelta
        | events.TranscriptDone
        | events.WrittenDelta
        | events.TextDone,
    ) -> None:
        """Add to the conversation an item that the server speaks and has not announced."""
        known = self._history.knows(event.item_id)
        if not known and self._replies.may_be_heard(event.response_id):
            self._history.mentioned(objects.Item(event.item_id, "message", "assistant"))

    def _reply_changed(self) -> None:
        self._actions.weigh()
        self._actions.publish_state()

    # items

    def _item_truncated(self, event: events.ItemTruncated) -> None:
        self._replies.confirmed(event.item_id)
        self._actions.publish_state()

    def _item_deleted(self, event: events.ItemDeleted) -> None:
        self._replies.confirmed(event.item_id)
        self._history.item_deleted(event)
        self._actions.follow_decisions(self._decisions.item_deleted(event, self._times.now_ns))
        self._actions.publish_state()

    # the session

    def _session_created(self, event: events.SessionCreated) -> None:
        expires_at = event.session.get("expires_at")  # s since 1970
        if isinstance(expires_at, int):
            self._actions.session_expires(expires_at)
        self._usage.model(event.session.get("model"))
        self._session.created(event.session)

    def _session_updated(self, event: events.SessionUpdated) -> None:
        self._session.updated(event.session)

    def _error(self, event: events.ErrorEvent) -> None:
        if self._session.refuses(event.error):
            return
        if event.error.name == NOT_ACTIVE:
            for name in self._silent.ended_if_none_active():
                self._end_response(name)
        self._actions.follow_decisions(self._decisions.error(event, self._times.now_ns))
        self._actions.report(*self._error_reports.report(event.error))

    def _unknown(self, event: events.Unknown) -> None:
        known = self._unknown_types
        if event.type not in known and len(known) < MAX_UNKNOWN:
            known.add(event.type)
            line = f"the server sends {event.type!r}, which Bargein does not know: skipped"
            self._actions.report("unknown_events", line, always=True)
