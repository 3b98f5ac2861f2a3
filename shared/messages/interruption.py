"""Messages about an interruption: the decision, the flush, and what was heard."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.messages.base import Count, Message, Name, Text
from shared.messages.replies import Received


class TurnDecision(Message, frozen=True, kw_only=True):
    """Downlink's decision about the person's speech, and its requests to uplink."""

    session: Count
    """The session that the decision is about."""
    judged: Literal["", "interrupt", "scrap"] = ""
    """The last judgement. ``interrupt``: the speech interrupts the reply; ``scrap``: the reply goes
    on; empty: none."""
    onset_ns: Count = 0
    """When the judged speech began, as in Speech, ns; 0: only the server heard the speech."""
    answer: Count = 0
    """The number of the response that uplink has to ask for. Each new request has a larger number;
    0: there is no request now."""
    after: Count = 0
    """The generation of the flush about which uplink tells the server before that request; 0:
    none."""
    unwanted: Annotated[list[Name], Meta(max_length=64)] = []
    """The ids of items that uplink has to delete. An id is listed until its item is gone."""
    talk: bool = False
    """Push to talk: whether the microphone is open."""
    talk_ns: Count = 0
    """Push to talk: when the microphone was last opened or closed, ns."""


class Flush(Message, frozen=True, kw_only=True):
    """The order to be silent now: every stage drops the audio of older generations.

    A *generation* is the audio between two flushes. Each chunk of audio says to which one it
    belongs, so that a stage can tell stale audio from new audio in whichever order they arrive.
    """

    generation: Count
    """The generation that begins now. It only grows, and only downlink advances it."""
    session: Count
    """The session that the flushed replies belong to."""
    cause: Name
    """``speech_started``: the server heard the person; ``judged``: downlink decided that the person
    interrupts; ``control``: a command, or the button of push to talk; ``limit``: the conversation
    is about to sleep or to end, and has waited long enough for the reply; ``abandoned``: nothing
    plays, and nobody will hear the rest of the audio that has come."""
    event_ns: Count
    """When the flush was caused, ns. ``speech_started``: when link received that event; ``judged``:
    when downlink decided; ``control``: when the command was published. If a command or the button
    comes before the answer that it ends, downlink flushes that answer when it begins: then this is
    the time of that beginning, and with ``client`` the cause is ``judged``. ``abandoned``: 0."""
    received: Annotated[list[Received], Meta(max_length=64)]
    """The items that, as far as downlink knows, were not heard to their end."""
    interrupted: Annotated[list[Name], Meta(max_length=64)]
    """The ids of the responses that playback must never play again."""
    active: Annotated[list[Name], Meta(max_length=64)]
    """The ids of those interrupted responses that were under way."""


class HeardItem(msgspec.Struct, frozen=True):
    """How far an item was heard."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    heard: Count
    """The audio that counts as heard, samples: up to the playhead, or to the first gap if that is
    sooner."""
    received: Count
    """The audio that playback knows of, samples."""
    done: bool
    """Whether no more audio will come."""
    broken: bool = False
    """Whether a part of the audio never came: then ``heard`` ends at the gap at the latest."""
    cut: bool = False
    """Whether a flush has ended the item."""

    @property
    def whole(self) -> bool:
        """Whether all of the item was heard."""
        return self.done and not self.broken and self.heard >= self.received


class Heard(Message, frozen=True, kw_only=True):
    """The playhead: how much of each item playback has given to the device."""

    generation: Count
    """The newest generation that playback knows of: see Flush. 0 at the start."""
    session: Count
    """The session of the last chunk that came; 0 before the first."""
    playing: bool
    """Whether anything is left to give to the device: queued audio (also while it waits), or a
    fade."""
    items: Annotated[list[HeardItem], Meta(max_length=64)]
    """The last items, in playing order."""


class FlushTimes(Message, frozen=True, kw_only=True):
    """One flush and the time of each hop: the fields that FlushReport and Interruption share."""

    generation: Count
    """The generation that began with the flush."""
    session: Count
    """The session that the interrupted reply belongs to."""
    cause: Name
    """The flush's cause, or ``lost flush`` if newer audio arrived without its flush. In an
    Interruption also ``told late``: a restarted uplink told the server about an earlier flush."""
    event_ns: Count
    """When the flush was caused, ns: as in Flush; 0: not known, as for a lost flush."""
    flush_ns: Count
    """When downlink published the flush, ns; 0: not known, as for a lost flush."""
    received_ns: Count
    """When playback received the flush, or noticed that it was lost, ns; 0: playback did not report
    it."""
    silent_ns: Count
    """When playback gave, or will give, the device the first silence, ns; 0: playback did not
    report it."""
    latency_ns: Count
    """The device's own delay, ns: the silence can be heard this much later. This is a duration, not
    a time. 0: not known."""
    onset_ns: Count = 0
    """When the person began to speak, as in Speech, ns; 0: vad did not hear the person, or the
    cause is not ``speech_started`` or ``judged``."""
    ducked_ns: Count = 0
    """When playback gave the device the first lowered sample, ns; 0: playback did not duck."""

    @property
    def silence_ms(self) -> float | None:
        """The time from the cause to the first silence that can be heard, ms; None: not known."""
        if not (self.event_ns and self.silent_ns):
            return None
        return (self.silent_ns + self.latency_ns - self.event_ns) / 1e6

    def hops_ms(self, zero_ns: int = 0) -> dict[str, float]:
        """Return when each hop happened whose time is known, in ms after the cause, in their order.

        If the time of the cause is not known, the time of the flush takes its place, or else
        ``zero_ns``. The silence is the one that can be heard.
        """
        zero_ns = self.event_ns or self.flush_ns or zero_ns
        times = {
            "onset": self.onset_ns,
            "ducked": self.ducked_ns,
            "event": self.event_ns,
            "flush_sent": self.flush_ns,
            "flush_received": self.received_ns,
            "silent": self.silent_ns and self.silent_ns + self.latency_ns,
        }
        return {name: (at_ns - zero_ns) / 1e6 for name, at_ns in times.items() if at_ns and zero_ns}


class FlushReport(FlushTimes, frozen=True, kw_only=True):
    """The result of a flush at playback, with the time of each hop.

    Playback publishes it once for each flush that it did not ignore, and for a lost flush that cut
    something.
    """

    items: Annotated[list[HeardItem], Meta(max_length=64)]
    """The items that the flush cut and that were not whole, in playing order."""


class ItemReport(msgspec.Struct, frozen=True):
    """Uplink's report to the server about one item of an interrupted reply."""

    item_id: Name
    """The server's id of the item."""
    content_index: Count
    """The index of the audio in the item's content."""
    heard_ms: Count
    """The audio that was heard, ms."""
    received_ms: Count
    """The audio that had come, ms."""
    action: Literal["truncate", "delete", "none"]
    """What uplink asked the server to do with the item."""
    audio_end_ms: Count
    """With ``truncate``: where the server cuts the audio, ms."""
    heard_text: Text = ""
    """The words that were heard, as nearly as the transcript tells."""


class Interruption(FlushTimes, frozen=True, kw_only=True):
    """The record of one interruption: the time of each hop, and what uplink told the server."""

    reports: Annotated[list[ItemReport], Meta(max_length=64)]
    """What uplink told the server, item by item."""
    cancelled: Annotated[list[Name], Meta(max_length=64)]
    """The ids of the responses that uplink cancelled."""
