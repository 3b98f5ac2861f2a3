"""Replies behind the dispatch of downlink, and the server events that they read."""

from __future__ import annotations

import base64

from harness.downlink import Reader
from services.downlink import events, objects
from services.downlink.replies import Replies
from shared import codec, messages

STAMP = messages.Stamp(0, 0, 0)
SPEECH = events.SpeechStarted(0, "item_person")


def created(response: str = "resp_1", *, out_of_band: bool = False) -> events.Event:
    return events.ResponseCreated(
        objects.Response(response, "in_progress", None if out_of_band else "conv")
    )


def done(response: str = "resp_1", status: str = "completed") -> events.Event:
    return events.ResponseDone(objects.Response(response, status, "conv"))


def delta(
    pcm: bytes | int, item: str = "item_1", response: str = "resp_1", part: int = 0
) -> events.Event:
    """Return a delta with this audio, or with silence of this many samples."""
    data = bytes(2 * pcm) if isinstance(pcm, int) else pcm
    return events.AudioDelta(response, item, base64.b64encode(data).decode(), part)


def ended(item: str = "item_1", response: str = "resp_1", part: int = 0) -> events.Event:
    return events.AudioDone(response, item, part)


class Rig:
    """Replies behind downlink's own dispatch of events."""

    def __init__(self, generation: int = 100, session: int = 1) -> None:
        self.replies = Replies(generation, session)
        self.reader = Reader(self.replies)

    def read(self, *events: events.Event) -> list[messages.Message]:
        """Read events. Return the messages that follow, each of which can be sent over the bus."""
        out = [message for event in events for message in self.reader.read(event, 7)]
        for message in [*out, self.replies.state()]:
            assert sent(message) == message
        return out

    def audio(self, *events: events.Event) -> list[messages.ReplyAudio]:
        return [out for out in self.read(*events) if isinstance(out, messages.ReplyAudio)]

    def flush(self) -> messages.Flush:
        [flush] = self.read(SPEECH)
        assert isinstance(flush, messages.Flush)
        return flush

    def heard(self, *items: messages.HeardItem, generation: int = 100) -> list[messages.Message]:
        heard = messages.Heard(generation=generation, session=1, playing=True, items=list(items))
        return self.replies.heard(heard)


def sent(message: messages.Message) -> messages.Message:
    """Return a message as a reader of the bus gets it."""
    header, payload = codec.encode(message, STAMP)
    return codec.decode(type(message), header, payload)[0]


def pcm_of(frames: list[messages.ReplyAudio]) -> bytes:
    """Join the frames of one item, in which no sample may be missing."""
    at = frames[0].start if frames else 0
    for frame in frames:
        assert frame.start == at
        at += len(frame.payload) // 2
    return b"".join(frame.payload for frame in frames)


def words(out: list[messages.Message]) -> messages.Transcript:
    """Return the one transcript among these messages."""
    [transcript] = [message for message in out if isinstance(message, messages.Transcript)]
    return transcript
