"""Twists: what servers other than OpenAI's do differently, each with a name. Pure.

A twist changes the events of a session on their way out, or the answer to a client's event. Twists
combine. ``docs/servers.md`` says which server has which of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from services.emulator.schema import Refused
from shared.audio import pcm

if TYPE_CHECKING:
    from shared.audio.resample import Resampler

Event = dict[str, Any]
#: Yields the events to send in place of an event, given the ids of the items of responses.
Twist = Callable[[Event, Container[str]], Iterator[Event]]

#: How much later a transcript comes with "late-transcript", s.
LATE_S: Final = 0.8
#: The rate of the audio with "rate-16000", Hz.
RATE: Final = 16_000
#: The twists, with their descriptions for ``--help``.
TWISTS: Final[Mapping[str, str]] = {
    "no-item-added": "announce the items of a response by response.output_item.added and"
    " .done only",
    "item-created": "announce all other items by conversation.item.created, the old name",
    "committed-without-id": "leave the item's id out of input_audio_buffer.committed",
    "null-conversation": 'send "conversation_id": null in every response',
    "error-in-type": 'put the name of an error into its type, with "code": null',
    "silent-truncate": "accept a truncate, but neither do it nor acknowledge it",
    "no-clear": "refuse input_audio_buffer.clear and conversation.item.retrieve",
    "other-codes": "refuse the delete of an unknown item with conversation_item_not_found, and a"
    " second truncate with item_already_truncated",
    "response-cancelled": "also send response.cancelled, an event that the API does not have",
    "unpadded-base64": "leave the padding out of the audio's base64",
    "own-events": "send an event of an unknown type before each response and each turn",
    "no-session-updated": "do not answer an accepted session.update",
    "refuse-voice": "refuse each session.update that sets a voice",
    "refuse-unnamed": "refuse each session.update that sets a voice, and do not say why",
    "refuse-function": "refuse each session.update that offers a function named odd…",
    "refuse-function-unnamed": "refuse each session.update that offers a function named odd…, and"
    " do not say why",
    "keep-deciding": "keep server_vad, which answers and interrupts, whatever the client asks for",
    "rate-16000": "speak at 16 kHz, and say so in the session",
    "late-transcript": f"transcribe each turn unasked, {LATE_S:g} s later than usual",
    "content-filter": "end each reply as incomplete because of the content filter",
    "no-answer-fields": "leave status_details, conversation_id, metadata and usage out of"
    " every response",
}

_ITEM_EVENTS: Final = ("conversation.item.added", "conversation.item.done")


class Twists:
    """The twists of one session that are on."""

    def __init__(self, names: Collection[str], omitted: Collection[str] = ()) -> None:
        """``omitted``: the types of the events that are not sent."""
        # In the order of _OUTGOING: "error-in-type" comes after the twist that changes a code.
        self._on = [twist for name, twist in _OUTGOING.items() if name in names]
        self._names = frozenset(names)
        self._omitted = frozenset(omitted)
        self._answered: set[str] = set()  # the items of responses
        self._truncated: set[str] = set()  # the items that were truncated
        self._resamplers: dict[str, Resampler] = {}  # with "rate-16000", by item
        #: How much later than usual transcripts come, s, although no client asked for them; 0: they
        #: come as the client asks.
        self.transcript_late_s = LATE_S if "late-transcript" in self._names else 0.0

    def outgoing(self, event: Event) -> list[Event]:
        """Return the events to send in place of an event of the emulator."""
        if event["type"] == "response.output_item.added":
            self._answered.add(event["item"]["id"])
        events = [self._slower(event) if "rate-16000" in self._names else event]
        for twist in self._on:
            events = [changed for one in events for changed in twist(one, self._answered)]
        return [event for event in events if event["type"] not in self._omitted]

    def swallows(self, event: Event) -> bool:
        """Return whether a client's event is accepted without an effect. Raises Refused."""
        kind = event["type"]
        if kind == "session.update":
            self._update(event["session"])
        refused = ("input_audio_buffer.clear", "conversation.item.retrieve")
        if "no-clear" in self._names and kind in refused:
            raise Refused("unknown_or_invalid_event", f"Unknown or invalid event: {kind}")
        if kind != "conversation.item.truncate":
            return False
        if "other-codes" in self._names and event["item_id"] in self._truncated:
            raise Refused("item_already_truncated", "The item was already truncated.")
        self._truncated.add(event["item_id"])
        return "silent-truncate" in self._names

    def _update(self, session: Any) -> None:
        """Change the session that a client asks for. Raises Refused."""
        voice = _within(session, "output").get("voice")
        if voice is not None and "refuse-voice" in self._names:
            param = "session.audio.output.voice"
            raise Refused("invalid_value", f"Invalid value: '{voice}'.", param)
        if voice is not None and "refuse-unnamed" in self._names:
            raise Refused("invalid_session", "The session is invalid.")
        self._offer(session)
        if "keep-deciding" in self._names:
            _within(session, "input").pop("turn_detection", None)

    def _offer(self, session: Any) -> None:
        """Refuse a function whose name begins with "odd". Raises Refused."""
        tools = session.get("tools") if isinstance(session, dict) else None
        for index, tool in enumerate(tools if isinstance(tools, list) else ()):
            name = str(tool.get("name")) if isinstance(tool, dict) else ""
            if not name.startswith("odd"):
                continue
            if "refuse-function" in self._names:
                why = f"Invalid schema for function '{name}': it is odd."
                param = f"session.tools[{index}].parameters"
                raise Refused("invalid_function_parameters", why, param)
            if "refuse-function-unnamed" in self._names:
                raise Refused("invalid_session", "The session is invalid.")

    def _slower(self, event: Event) -> Event:
        """Return an event with its audio at RATE."""
        if "session" in event:
            audio = event["session"]["audio"]
            slow = {**audio["output"], "format": {"type": "audio/pcm", "rate": RATE}}
            return {**event, "session": {**event["session"], "audio": {**audio, "output": slow}}}
        if event["type"] != "response.output_audio.delta":
            return event
        item_id = event["item_id"]
        if item_id not in self._resamplers:
            from shared.audio.resample import Resampler  # noqa: PLC0415 (slow to load)

            self._resamplers[item_id] = Resampler(pcm.RATE, RATE)
        samples = pcm.to_array(base64.b64decode(event["delta"]))
        spoken = pcm.from_array(self._resamplers[item_id].process(samples))
        return {**event, "delta": base64.b64encode(spoken).decode("ascii")}


def _within(session: Any, side: str) -> dict[str, Any]:
    """Return ``audio.input`` or ``audio.output`` of a session; {} if there is none."""
    audio = session.get("audio") if isinstance(session, dict) else None
    found = audio.get(side) if isinstance(audio, dict) else None
    return found if isinstance(found, dict) else {}


def _no_item_added(event: Event, answered: Container[str]) -> Iterator[Event]:
    if event["type"] not in _ITEM_EVENTS or event["item"]["id"] not in answered:
        yield event


def _item_created(event: Event, answered: Container[str]) -> Iterator[Event]:
    if event["type"] not in _ITEM_EVENTS or event["item"]["id"] in answered:
        yield event
    elif event["type"] == _ITEM_EVENTS[0]:
        yield {**event, "type": "conversation.item.created"}


def _committed_without_id(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "input_audio_buffer.committed":
        event = _without(event, "item_id", "previous_item_id")
    yield event


def _null_conversation(event: Event, _: Container[str]) -> Iterator[Event]:
    if "response" in event:
        event = {**event, "response": {**event["response"], "conversation_id": None}}
    yield event


def _error_in_type(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "error" and event["error"]["code"] is not None:
        error = event["error"]
        event = {**event, "error": {**error, "type": error["code"], "code": None}}
    yield event


def _other_codes(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "error" and event["error"]["code"] == "item_delete_invalid_item_id":
        event = {**event, "error": {**event["error"], "code": "conversation_item_not_found"}}
    yield event


def _response_cancelled(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "response.done" and event["response"]["status"] == "cancelled":
        yield {"type": "response.cancelled", "response_id": event["response"]["id"]}
    yield event


def _unpadded_base64(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "response.output_audio.delta":
        event = {**event, "delta": event["delta"].rstrip("=")}
    yield event


def _own_events(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] in ("response.created", "input_audio_buffer.speech_started"):
        yield {"type": "emulator.snapshot", "text": "an event of its own", "before": event["type"]}
    yield event


def _no_answer_fields(event: Event, _: Container[str]) -> Iterator[Event]:
    if "response" in event:
        names = ("status_details", "conversation_id", "metadata", "usage")
        event = {**event, "response": _without(event["response"], *names)}
    yield event


def _no_session_updated(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] != "session.updated":
        yield event


def _content_filter(event: Event, _: Container[str]) -> Iterator[Event]:
    if event["type"] == "response.done" and event["response"]["status"] == "completed":
        details = {"type": "incomplete", "reason": "content_filter"}
        ended = {**event["response"], "status": "incomplete", "status_details": details}
        event = {**event, "response": ended}
    yield event


def _without(event: Event, *names: str) -> Event:
    return {key: value for key, value in event.items() if key not in names}


_OUTGOING: Final[Mapping[str, Twist]] = {
    "no-item-added": _no_item_added,
    "item-created": _item_created,
    "committed-without-id": _committed_without_id,
    "null-conversation": _null_conversation,
    "other-codes": _other_codes,
    "error-in-type": _error_in_type,
    "response-cancelled": _response_cancelled,
    "unpadded-base64": _unpadded_base64,
    "own-events": _own_events,
    "no-session-updated": _no_session_updated,
    "content-filter": _content_filter,
    "no-answer-fields": _no_answer_fields,
}
