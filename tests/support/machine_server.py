"""The model of a server in the conversation machine: its events, its audio and its beliefs."""

from __future__ import annotations

import base64
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.playback.player import Player
from shared import messages
from shared.audio.pcm import samples_to_ms
from shared.realtime.event_ids import OUT_OF_BAND

#: How much less of an item the server has than it sent, in ms, as observed on the live service.
SKEW_MS = 85


def sound(item: int, start: int, samples: int) -> NDArray[np.int16]:
    """Return samples of an item. None is 0, and each value identifies the item and the place."""
    places = np.arange(start, start + samples) % 1024
    return (1024 * (item % 31 + 1) + places).astype(np.int16)


class Asked:
    """A player that remembers how many samples the duck requested."""

    def __init__(self, player: Player) -> None:
        self.player, self.samples = player, 0
        self.playing = player.playing

    def render(self, samples: int) -> bytes:
        """Return the player's next samples."""
        self.samples = samples
        return self.player.render(samples)


@dataclass(eq=False)
class Reply:
    """A response, with the server's state and with the truth that no stage knows entirely.

    Downlink processes are numbered from 1.
    """

    name: str
    session: int
    out_of_band: bool
    state: str = "active"  # then "cancelled" if it is cancelled, and "done" at its end
    late: bool = False  # cancelled, but the server still sends audio of it
    items: list[Item] = field(default_factory=list)
    known: set[int] = field(default_factory=set)  # downlinks that have read one of its events
    over: set[int] = field(default_factory=set)  # downlinks that have read its response.done
    flushed: dict[int, int] = field(default_factory=dict)  # downlink -> generation of its flush
    ended: bool = False  # a playback has carried out its interruption


@dataclass(eq=False)
class Item:
    """An item with audio: how much the server has, and how much each stage published or played."""

    number: int
    name: str
    reply: Reply
    sent: int = 0  # bytes that the server sent
    length: int = 0  # bytes that the server counts: not those sent after the cancellation
    open: bool = True  # the server may send more audio of it
    kept_ms: int | None = None  # the end of the last truncation; None: not truncated
    deleted: bool = False
    asked: list[str] = field(default_factory=list)  # types of uplink's requests for it
    refused: bool = False  # the server refused a truncation past the end of what it has
    read: int = 0  # bytes that downlink has read
    complete: bool = False  # downlink has read that no more audio follows
    published: int = 0  # true place of the next sample to be published, in samples
    counted: int | None = 0  # downlink's place of that sample; None: not known since a restart
    ahead: int = 0  # samples by which downlink's count is ahead of the audio that it has read
    heard: int = 0  # true place after the last sample played, in samples
    unbroken: int = 0  # true place until which every sample was played
    lost: bool = False  # a stage that was restarted lost part of it

    @property
    def length_ms(self) -> int:
        """How much of the item the server has, in ms."""
        return max(0, samples_to_ms(self.length // 2) - SKEW_MS)

    @property
    def believed_ms(self) -> int:
        """How much of the item the server believes was heard, in ms."""
        if self.deleted:
            return 0
        return samples_to_ms(self.length // 2) if self.kept_ms is None else self.kept_ms


@dataclass(frozen=True)
class Wire:
    """A server event that downlink has not read yet."""

    text: bytes
    reply: Reply | None = None
    item: Item | None = None
    size: int = 0  # bytes of audio in it
    late: bool = False  # sent after its response was cancelled


@dataclass
class Stretch:
    """Consecutive samples that playback has to render."""

    item: Item
    start: int  # true place of the first sample in the item
    place: int  # place of the first sample by playback's count
    samples: int

    def take(self, samples: int) -> Stretch:
        """Remove the first ``samples`` samples, or all if there are fewer, and return them."""
        taken = Stretch(self.item, self.start, self.place, min(samples, self.samples))
        self.start += taken.samples
        self.place += taken.samples
        self.samples -= taken.samples
        return taken


@dataclass
class Flushed:
    """A flush that playback has not received yet, and the facts that its outcome must match."""

    flush: messages.Flush
    interrupted: list[Reply]
    known: dict[Item, tuple[int, bool]]  # samples that downlink has read, and whether that is all


class Server:
    """A model of a Realtime server in one session. It has no clock: the test calls each step.

    ``cancels``: the server cancels its current response when it detects speech.
    """

    def __init__(self, session: int, *, cancels: bool) -> None:
        self.session = session
        self.cancels = cancels
        self.replies: list[Reply] = []
        self.items: dict[str, Item] = {}
        self.out: deque[Wire] = deque()

    @property
    def current(self) -> Reply | None:
        """The response in progress that belongs to the conversation, or None."""
        under_way = (r for r in self.replies if not r.out_of_band and r.state != "done")
        return next(under_way, None)

    def say(
        self,
        kind: str,
        reply: Reply | None = None,
        item: Item | None = None,
        size: int = 0,
        **fields: Any,
    ) -> None:
        """Send an event. If an item is given, add the ids of the item and its response."""
        if reply is not None and item is not None:
            fields |= {"response_id": reply.name, "item_id": item.name, "content_index": 0}
        text = json.dumps({"type": kind, "event_id": "event_1", **fields}).encode()
        late = reply is not None and reply.late
        self.out.append(Wire(text, reply, item, size, late))

    def create(self, out_of_band: bool) -> Reply:
        """Begin a response and return it."""
        name = f"resp_{self.session}_{len(self.replies)}"
        reply = Reply(name, self.session, out_of_band)
        self.replies.append(reply)
        self.say("response.created", reply, response=self._resource(reply))
        return reply

    def begin(self, reply: Reply, number: int) -> Item:
        """Begin an item of a response and return the item."""
        item = Item(number, f"item_{self.session}_{number}", reply)
        reply.items.append(item)
        self.items[item.name] = item
        return item

    def speak(self, item: Item, size: int) -> None:
        """Send a delta of ``size`` bytes, which may end inside a sample."""
        first, last = item.sent // 2, (item.sent + size + 1) // 2
        data = sound(item.number, first, last - first).tobytes()[item.sent - 2 * first :][:size]
        item.sent += size
        if not item.reply.late:
            item.length = item.sent
        delta = base64.b64encode(data).decode()
        self.say("response.output_audio.delta", item.reply, item, size, delta=delta)

    def close(self, item: Item) -> None:
        """End an item's audio."""
        item.open = False
        self.say("response.output_audio.done", item.reply, item)

    def finish(self, reply: Reply, *, close: bool = True) -> None:
        """End a response. Without ``close``, leave out the events that end its open items."""
        for item in reply.items:
            if item.open and close:
                self.close(item)
            item.open = False
        reply.state = "done"
        self.say("response.done", reply, response=self._resource(reply))

    def hear(self) -> None:
        """Detect that the person begins to speak, and cancel the response if configured."""
        self.say("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_person")
        if self.cancels and self.current is not None:
            self.current.state, self.current.late = "cancelled", True

    def take(self, request: bytes) -> None:
        """Carry out a client's request. Answer with an error if the live service would refuse."""
        asked: dict[str, Any] = json.loads(request)
        if asked["type"] == "response.cancel":
            for reply in self.replies:
                if reply.name == asked["response_id"] and reply.state == "active":
                    reply.state, reply.late = "cancelled", True
            return
        item = self.items.get(asked["item_id"])
        if item is None or item.deleted:
            self.say("error", error={"type": "invalid_request_error", "message": "not found"})
            return
        if asked["type"] == "conversation.item.delete":
            item.deleted = True
            self.say("conversation.item.deleted", item_id=item.name)
            return
        end_ms = asked["audio_end_ms"]
        assert type(end_ms) is int
        assert end_ms > 0
        if end_ms > item.length_ms:
            message = f"Audio content of {item.length_ms}ms is already shorter than {end_ms}ms"
            # Audio sent after a cancellation reaches downlink, but the server does not keep it.
            assert item.lost or item.sent > item.length, message
            item.refused = True
            self.say("error", error={"type": "invalid_request_error", "message": message})
            return
        item.kept_ms = end_ms
        self.say(
            "conversation.item.truncated",
            item_id=item.name,
            content_index=asked["content_index"],
            audio_end_ms=end_ms,
        )

    def _resource(self, reply: Reply) -> dict[str, Any]:
        status = {"active": "in_progress", "cancelled": "cancelled", "done": "completed"}
        return {
            "id": reply.name,
            "status": status[reply.state],
            "conversation_id": None if reply.out_of_band else "conv_1",
            # The mark of our request: a restarted downlink has not read that other responses have a
            # conversation, so null alone tells it nothing.
            "metadata": {OUT_OF_BAND: "yes"} if reply.out_of_band else None,
        }
