"""The registry of topics: what is said on the bus, by whom, how often, and what a queue may do to
it.

Everything else asks this table: endpoints, queue sizes, ages, gap checks, health, the tap, the
tests.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shared import messages

#: The stages of a conversation, in the order of a frame's way; ``vad`` listens beside uplink.
STAGES = ("capture", "echo", "vad", "uplink", "link", "downlink", "playback")

#: Processes that look on at the bus and are not needed for a conversation: nothing waits for them.
LISTENERS = ("recorder",)

#: Who publishes ``control``: a person's page or command line, not a stage.
CONTROL = "control"


class Queue(enum.Enum):
    """What may become of a message that its reader has not taken yet.

    The value is how many may wait: with the largest message of its topic, how much memory.
    """

    LIVE = 100  # only the newest matter: a short queue, and the reader drops what is too old
    LOSSLESS = 10_000  # nothing may be lost: a long queue, which waits; a gap is an error, and seen
    STATE = 200  # the last one says all: repeated every second and to each new reader


@dataclass(frozen=True)
class Topic:
    """One row of the registry."""

    name: str
    type: type[messages.Message]
    publisher: str  # the one stage that publishes it
    queue: Queue
    rate_hz: float  # nominal while the conversation runs; 0: when something happens
    max_age_ms: int = 0  # LIVE: the reader drops what is older; 0: never
    own_endpoint: bool = False  # never queued behind its publisher's other topics

    @property
    def endpoint(self) -> str:
        """The name of the socket it is published on."""
        return self.name if self.own_endpoint else self.publisher


TOPICS: tuple[Topic, ...] = (
    Topic("mic.frame", messages.MicFrame, "capture", Queue.LIVE, 50),
    Topic("mic.clean", messages.MicClean, "echo", Queue.LIVE, 50),
    Topic("mic.speech", messages.Speech, "vad", Queue.STATE, 1),
    Topic("client.event", messages.ClientEvent, "uplink", Queue.LOSSLESS, 50),
    Topic("interruption", messages.Interruption, "uplink", Queue.LOSSLESS, 0),
    Topic("history.mirror", messages.HistoryMirror, "uplink", Queue.STATE, 1),
    Topic("server.event", messages.ServerEvent, "link", Queue.LOSSLESS, 0),
    Topic("link.state", messages.LinkState, "link", Queue.STATE, 1),
    Topic("reply.audio", messages.ReplyAudio, "downlink", Queue.LOSSLESS, 0),
    Topic("reply.state", messages.ReplyState, "downlink", Queue.STATE, 1),
    Topic("transcript", messages.Transcript, "downlink", Queue.LOSSLESS, 0),
    Topic("history.heard", messages.History, "downlink", Queue.STATE, 1),
    Topic("session.renew", messages.Renew, "downlink", Queue.STATE, 0),
    Topic("flush", messages.Flush, "downlink", Queue.LOSSLESS, 0, own_endpoint=True),
    Topic("turn.decision", messages.TurnDecision, "downlink", Queue.STATE, 1),
    Topic("control", messages.Control, CONTROL, Queue.LOSSLESS, 0),
    Topic("speaker.frame", messages.SpeakerFrame, "playback", Queue.LIVE, 50, max_age_ms=2000),
    Topic("heard", messages.Heard, "playback", Queue.STATE, 1),
    Topic("report.flush", messages.FlushReport, "playback", Queue.LOSSLESS, 0),
    *(
        Topic(f"{stage}.health", messages.Health, stage, Queue.STATE, 1)
        for stage in (*STAGES, *LISTENERS)
    ),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
BY_TYPE: dict[type[messages.Message], Topic] = {
    t.type: t for t in TOPICS if t.type is not messages.Health
}


def of(kind: type[messages.Message]) -> Topic:
    """Give the topic of a message type (a Health has one per stage: see ``health``)."""
    return BY_TYPE[kind]


def health(stage: str) -> Topic:
    """Give a stage's health topic."""
    return BY_NAME[f"{stage}.health"]


def published_by(stage: str) -> tuple[Topic, ...]:
    """Give the topics a stage publishes."""
    return tuple(topic for topic in TOPICS if topic.publisher == stage)
