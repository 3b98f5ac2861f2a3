"""The registry: one row per stage and one row per topic.

A stage's row states the topics that the stage publishes and the topics that it reads. A topic's row
states the message type, the queue and the rate. Endpoints, queue sizes, age limits, health checks,
the tap and the tests are derived from these rows, or are checked against them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from shared import messages


class Role(enum.Enum):
    """The purpose of a process on the bus."""

    #: A conversation needs it. It consumes the lossless topics that it reads.
    STAGE = enum.auto()
    #: It runs beside every conversation, which goes on without it. It consumes the lossless topics
    #: that it reads, unless its row says `observes`.
    OPTIONAL = enum.auto()
    #: It runs only if somebody starts it. It observes, and publishes nothing but its health.
    LISTENER = enum.auto()


@dataclass(frozen=True)
class StageRow:
    """One row: a process on the bus, the topics that it publishes and the topics that it reads.

    Its health topic, ``<name>.health``, is not listed: each row has one. ``observes``: it takes no
    lossless message away from another reader, and none is held for it.
    """

    name: str
    publishes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    role: Role = Role.STAGE
    observes: bool = False

    @property
    def health(self) -> str:
        """The name of this stage's health topic."""
        return f"{self.name}.health"


#: The stages of a conversation in the order of a frame's way (``vad`` runs beside uplink), then the
#: processes that a conversation can do without.
ROWS: tuple[StageRow, ...] = (
    StageRow("capture", publishes=("mic.frame",)),
    StageRow("echo", publishes=("mic.clean",), reads=("mic.frame", "speaker.frame", "panel")),
    StageRow("vad", publishes=("mic.speech",), reads=("mic.clean",)),
    StageRow(
        "uplink",
        publishes=("client.event", "interruption"),
        reads=(
            "mic.clean",
            "link.state",
            "reply.state",
            "transcript",
            "flush",
            "report.flush",
            "heard",
            "turn.decision",
            "history.heard",
            "session.request",
            "session.sleep",
            "tool.offer",
            "tool.result",
            "tool.state",
            "control",
            "panel",
        ),
    ),
    StageRow(
        "link",
        publishes=("server.event", "link.state"),
        reads=("client.event", "session.renew", "session.sleep"),
    ),
    StageRow(
        "downlink",
        publishes=(
            "reply.audio",
            "reply.state",
            "transcript",
            "history.heard",
            "session.renew",
            "session.request",
            "session.sleep",
            "usage",
            "flush",
            "turn.decision",
            "tool.call",
        ),
        reads=(
            "server.event",
            "link.state",
            "mic.speech",
            "heard",
            "report.flush",
            "control",
            "panel",
            "tool.state",
        ),
    ),
    StageRow(
        "playback",
        publishes=("speaker.frame", "speaker.calls", "heard", "report.flush"),
        reads=(
            "reply.audio",
            "reply.state",
            "flush",
            "mic.speech",
            "turn.decision",
            "link.state",
            "panel",
        ),
    ),
    StageRow(
        "tools",
        publishes=("tool.offer", "tool.result", "tool.state"),
        reads=("tool.call", "control"),
        role=Role.OPTIONAL,
    ),
    StageRow(
        "monitor",
        publishes=("control", "panel"),
        reads=(
            "link.state",
            "mic.speech",
            "reply.state",
            "heard",
            "transcript",
            "session.sleep",
            "usage",
            "flush",
            "report.flush",
            "interruption",
            "turn.decision",
            "tool.state",
            "tool.result",
            "capture.health",
            "echo.health",
            "vad.health",
            "uplink.health",
            "link.health",
            "downlink.health",
            "playback.health",
            "tools.health",
        ),
        role=Role.OPTIONAL,
        observes=True,
    ),
    StageRow(
        "recorder",
        reads=("mic.clean", "speaker.frame", "interruption", "transcript"),
        role=Role.LISTENER,
        observes=True,
    ),
)

#: The names of the stages of a conversation.
STAGES: tuple[str, ...] = tuple(row.name for row in ROWS if row.role is Role.STAGE)
#: The names of the processes that a conversation can use and does not need.
OPTIONAL: tuple[str, ...] = tuple(row.name for row in ROWS if row.role is Role.OPTIONAL)
#: The names of the processes that run only if somebody starts them.
LISTENERS: tuple[str, ...] = tuple(row.name for row in ROWS if row.role is Role.LISTENER)
#: The names of all processes on the bus, in the order of the rows.
PROCESSES: tuple[str, ...] = tuple(row.name for row in ROWS)

#: Each row by its stage's name.
BY_STAGE: dict[str, StageRow] = {row.name: row for row in ROWS}
#: The row whose stage publishes a topic, by the topic's name.
_PUBLISHERS: dict[str, StageRow] = {topic: row for row in ROWS for topic in row.publishes} | {
    row.health: row for row in ROWS
}


class Queue(enum.Enum):
    """What may happen to a message while it waits for its reader.

    The value is the number of messages that may wait. Together with the largest message of the
    topic it limits the memory.
    """

    #: Only the newest messages matter: a short queue, and the reader drops messages that are too
    #: old.
    LIVE = 100
    #: No message may be lost: a long queue. The publisher holds messages while nobody consumes the
    #: topic, and a gap is reported as an error.
    LOSSLESS = 10_000
    #: Each message replaces the one before: it is repeated every second and to each new reader.
    STATE = 200


#: A reader that consumes a lossless topic subscribes to the topic's name with this prefix. A reader
#: that subscribes to the bare name observes: no message is held for it.
CONSUMED = "!"


@dataclass(frozen=True)
class Topic:
    """One row: a topic, the type of its messages, and how they are queued."""

    name: str
    type: type[messages.Message]
    queue: Queue
    #: The nominal rate during a conversation, Hz; 0: a message is published when something happens.
    #: A stage judges the live and the state topics that it reads by this rate: shared/arrivals.py.
    rate_hz: float
    #: LIVE only: the reader drops messages older than this, ms; 0: no limit.
    max_age_ms: int = 0
    #: True: the topic has a socket of its own, so that it never waits behind its publisher's other
    #: topics.
    own_endpoint: bool = False

    @property
    def publisher(self) -> str:
        """The name of the stage that publishes this topic."""
        return _PUBLISHERS[self.name].name

    @property
    def endpoint(self) -> str:
        """The name of the socket that this topic is published on."""
        return self.name if self.own_endpoint else self.publisher

    @property
    def consumed_name(self) -> str:
        """The name under which a consumer gets this topic's messages."""
        return CONSUMED + self.name if self.queue is Queue.LOSSLESS else self.name


TOPICS: tuple[Topic, ...] = (
    Topic("mic.frame", messages.MicFrame, Queue.LIVE, 50),
    Topic("mic.clean", messages.MicClean, Queue.LIVE, 50),
    Topic("mic.speech", messages.Speech, Queue.STATE, 1),
    Topic("client.event", messages.ClientEvent, Queue.LOSSLESS, 50),
    Topic("interruption", messages.Interruption, Queue.LOSSLESS, 0),
    Topic("server.event", messages.ServerEvent, Queue.LOSSLESS, 0),
    Topic("link.state", messages.LinkState, Queue.STATE, 1),
    Topic("reply.audio", messages.ReplyAudio, Queue.LOSSLESS, 0),
    Topic("reply.state", messages.ReplyState, Queue.STATE, 1),
    Topic("transcript", messages.Transcript, Queue.LOSSLESS, 0),
    Topic("history.heard", messages.History, Queue.STATE, 1),
    Topic("session.renew", messages.Renew, Queue.STATE, 0),
    Topic("session.request", messages.SessionRequest, Queue.STATE, 0),
    Topic("session.sleep", messages.Sleep, Queue.STATE, 0),
    Topic("usage", messages.Usage, Queue.STATE, 0),
    Topic("flush", messages.Flush, Queue.LOSSLESS, 0, own_endpoint=True),
    Topic("turn.decision", messages.TurnDecision, Queue.STATE, 1),
    Topic("tool.call", messages.ToolCall, Queue.LOSSLESS, 0),
    Topic("control", messages.Control, Queue.LOSSLESS, 0),
    Topic("panel", messages.Panel, Queue.STATE, 0),
    Topic("speaker.frame", messages.SpeakerFrame, Queue.LIVE, 50, max_age_ms=2000),
    Topic("speaker.calls", messages.SpeakerCalls, Queue.LIVE, 10),
    Topic("heard", messages.Heard, Queue.STATE, 1),
    Topic("report.flush", messages.FlushReport, Queue.LOSSLESS, 0),
    Topic("tool.offer", messages.ToolOffer, Queue.STATE, 0),
    Topic("tool.result", messages.ToolResult, Queue.LOSSLESS, 0),
    Topic("tool.state", messages.ToolState, Queue.STATE, 0),
    *(Topic(row.health, messages.Health, Queue.STATE, 1) for row in ROWS),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
BY_TYPE: dict[type[messages.Message], Topic] = {
    t.type: t for t in TOPICS if t.type is not messages.Health
}


def stage(name: str) -> StageRow:
    """Return a stage's row. Raises KeyError."""
    return BY_STAGE[name]


def of(kind: type[messages.Message]) -> Topic:
    """Return the topic of a message type. Health has one topic per stage: see ``health``."""
    return BY_TYPE[kind]


def health(name: str) -> Topic:
    """Return a stage's health topic."""
    return BY_NAME[BY_STAGE[name].health]


def published_by(name: str) -> tuple[Topic, ...]:
    """Return the topics that a stage publishes, in the order of the registry."""
    return tuple(topic for topic in TOPICS if topic.publisher == name)


def read_by(name: str) -> tuple[Topic, ...]:
    """Return the topics that a stage reads, in the order of the stage's row."""
    return tuple(BY_NAME[topic] for topic in BY_STAGE[name].reads)
