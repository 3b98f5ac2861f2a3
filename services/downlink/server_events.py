"""The one place where downlink dispatches server events. Pure.

``ServerEvents.read`` looks up the method for the event's type. That method calls, in order, each
part that the event concerns: replies, history, decisions, renewal. Whatever has to reach the bus
goes through ``Actions``, which the stage implements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from services.downlink import events, failures, objects
from services.downlink.decisions import Decisions
from services.downlink.history import History
from services.downlink.renewal import Renewal
from services.downlink.replies import Replies
from shared import messages


class Actions(Protocol):
    """The actions of the stage that a server event can lead to."""

    def flush(self, cause: str, event_ns: int) -> None:
        """End the reply. Every flush of the stage goes through this method."""

    def publish(self, outcome: list[messages.Message]) -> None:
        """Publish audio at once, and transcripts at once or soon."""

    def publish_state(self) -> None:
        """Publish the state of the replies at once, if it changed."""

    def decided(self, interrupts: bool) -> None:
        """Follow the decisions: flush if they interrupt, and publish them if they changed."""

    def weigh(self) -> None:
        """Decide what the assistant's state allows to decide by now."""

    def session_expires(self, at_s: int) -> None:
        """Note when the server ends the session, in seconds since 1970."""

    def show(self, error: objects.Failure) -> None:
        """Count an error of the server, and log it if a person should know."""

    def unknown(self, event: events.Unknown) -> None:
        """Count and log an event whose name is not known."""


class ServerEvents:
    """Reads each server event once.

    ``server_decides``: the server's report that the person began to speak ends the reply.
    """

    def __init__(
        self,
        actions: Actions,
        replies: Replies,
        history: History,
        renewal: Renewal,
        decisions: Decisions,
        *,
        server_decides: bool,
    ) -> None:
        self._actions = actions
        self._replies = replies
        self._history = history
        self._renewal = renewal
        self._decisions = decisions
        self._server_decides = server_decides
        # When link received the event that is being read, and when downlink reads it.
        self._received_ns = self._now_ns = 0
        self._methods: dict[type[events.Event], Callable[[Any], None]] = {
            events.SessionCreated: self._session_created,
            events.SpeechStarted: self._speech_started,
            events.SpeechStopped: self._speech_stopped,
            events.Committed: self._committed,
            events.TimeoutTriggered: self._silence_timed_out,
            events.ItemAdded: self._item_added,
            events.ItemDone: self._item_done,
            events.ItemTruncated: self._item_truncated,
            events.ItemDeleted: self._item_deleted,
            events.ResponseCreated: self._response_created,
            events.ResponseDone: self._response_done,
            events.AudioDelta: self._audio,
            events.AudioDone: self._audio_done,
            events.TextDelta: self._words_added,
            events.TranscriptDone: self._transcript_done,
            events.TextDone: self._text_done,
            events.UserTranscriptDelta: self._person_words_added,
            events.UserTranscript: self._person_words_final,
            events.ErrorEvent: self._error,
            events.Unknown: self._unknown,
        }

    def read(self, event: events.Event, received_ns: int, now_ns: int) -> None:
        """Do everything that follows from an event that link received at ``received_ns``.

        Raises BadAudio for audio that is not base64; nothing was changed then.
        """
        if method := self._methods.get(type(event)):
            self._received_ns, self._now_ns = received_ns, now_ns
            method(event)

    # the person

    def _speech_started(self, event: events.SpeechStarted) -> None:
        self._replies.speech_started(event)
        if self._server_decides:
            # The flush leaves before anything else is published: from here on each ms is heard.
            self._actions.flush("speech_started", self._received_ns)
        self._history.speech_started(event)
        self._renewal.speech_started(self._received_ns)
        self._actions.decided(self._decisions.speech_started(event, self._now_ns))
        self._actions.publish_state()

    def _speech_stopped(self, event: events.SpeechStopped) -> None:
        self._replies.speech_ended()
        self._history.speech_stopped(event)
        self._renewal.speech_stopped(self._received_ns)
        self._actions.decided(self._decisions.speech_stopped(event, self._now_ns))

    def _committed(self, event: events.Committed) -> None:
        self._replies.speech_ended()
        self._actions.decided(self._decisions.committed(event, self._now_ns))

    def _silence_timed_out(self, event: events.TimeoutTriggered) -> None:
        self._actions.decided(self._decisions.silence_timed_out(event, self._now_ns))

    def _person_words_added(self, event: events.UserTranscriptDelta) -> None:
        self._actions.publish(self._replies.words_added(event.item_id, "user", event.delta or ""))
        self._renewal.conversation_changed(self._received_ns)
        self._actions.decided(self._decisions.words_added(event, self._now_ns))

    def _person_words_final(self, event: events.UserTranscript) -> None:
        self._actions.publish(self._replies.words_final(event.item_id, "user", event.transcript))
        self._renewal.conversation_changed(self._received_ns)
        self._actions.decided(self._decisions.words_final(event, self._now_ns))

    # the assistant

    def _response_created(self, event: events.ResponseCreated) -> None:
        self._replies.response_created(event.response)
        self._renewal.response_created(event.response.id, self._received_ns)
        self._actions.decided(self._decisions.response_created(event, self._now_ns))
        self._reply_changed()

    def _response_done(self, event: events.ResponseDone) -> None:
        self._actions.publish(self._replies.response_done(event.response))
        self._renewal.response_done(event.response.id, self._received_ns)
        self._actions.decided(self._decisions.response_done(self._now_ns))
        self._reply_changed()
        if failure := failures.failure(event.response):
            self._actions.show(failure)

    def _audio(self, event: events.AudioDelta) -> None:
        self._actions.publish(self._replies.audio(event))

    def _audio_done(self, event: events.AudioDone) -> None:
        self._actions.publish(self._replies.audio_done(event))
        self._reply_changed()

    def _words_added(self, event: events.TextDelta) -> None:
        self._actions.publish(self._replies.words_added(event.item_id, "assistant", event.delta))

    def _transcript_done(self, event: events.TranscriptDone) -> None:
        self._actions.publish(
            self._replies.words_final(event.item_id, "assistant", event.transcript)
        )

    def _text_done(self, event: events.TextDone) -> None:
        self._actions.publish(self._replies.words_final(event.item_id, "assistant", event.text))

    def _reply_changed(self) -> None:
        self._actions.weigh()
        self._actions.publish_state()

    # items

    def _item_added(self, event: events.ItemAdded) -> None:
        self._replies.item_added(event)
        self._history.item_added(event)
        self._renewal.conversation_changed(self._received_ns)

    def _item_done(self, event: events.ItemDone) -> None:
        self._history.item_done(event)
        if event.item.type == "function_call":
            self._renewal.function_called(self._received_ns)

    def _item_truncated(self, event: events.ItemTruncated) -> None:
        self._replies.confirmed(event.item_id)
        self._actions.publish_state()

    def _item_deleted(self, event: events.ItemDeleted) -> None:
        self._replies.confirmed(event.item_id)
        self._history.item_deleted(event)
        self._actions.decided(self._decisions.item_deleted(event, self._now_ns))
        self._actions.publish_state()

    # the session

    def _session_created(self, event: events.SessionCreated) -> None:
        if event.session.expires_at is not None:
            self._actions.session_expires(event.session.expires_at)

    def _error(self, event: events.ErrorEvent) -> None:
        self._actions.decided(self._decisions.error(event, self._now_ns))
        self._actions.show(event.error)

    def _unknown(self, event: events.Unknown) -> None:
        self._actions.unknown(event)
