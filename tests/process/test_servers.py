"""Servers that leave out, refuse or change what was asked for, and connections that are lost.

The servers are the emulator with twists, or a script of events. Downlink, uplink and link are real.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from harness import recordings
from shared import messages
from shared.audio import pcm
from tests.support import servers
from tests.support.links import wait_state
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process

#: The stages that talk with the server, without link.
STAGES = ("uplink", "downlink")


def sent(pipeline: Pipeline, kind: str) -> list[dict[str, Any]]:
    """Return the events of a type that were sent to the server."""
    events = [json.loads(event.payload) for event in pipeline.bus.all(messages.ClientEvent)]
    return [event for event in events if event["type"] == kind]


def started(pipeline: Pipeline, *twists: str, **settings: Any) -> None:
    """Start the emulator with twists and the stages with settings.

    uplink comes last: it makes the server act, and the test hears all others by then.
    """
    options = [part for twist in twists for part in ("--twist", twist)]
    pipeline.emulator("--reply", "tone:1", "--burst", "--delta-bytes", "4000", *options)
    pipeline.settings |= settings
    pipeline.all_up("downlink", "link")
    session = wait_state(pipeline, "open").session
    pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session == session)
    pipeline.up("uplink")


def updated(event: messages.ServerEvent) -> dict[str, Any]:
    """Return the session of a session.updated, or {} for another event."""
    told = json.loads(event.payload)
    session: dict[str, Any] = told["session"] if told["type"] == "session.updated" else {}
    return session


@pytest.mark.parametrize(
    ("twists", "voice"), [([], "nosuch"), (["refuse-unnamed"], "cedar")], ids=["named", "unnamed"]
)
def test_a_refused_voice_costs_neither_the_instructions_nor_the_decisions(
    pipeline: Pipeline, twists: list[str], voice: str
) -> None:
    settings = {
        "session.voice": voice,
        "session.instructions": "Speak like a pirate.",
        "interruption.decide": "client",
    }
    started(pipeline, *twists, **settings)

    def as_asked(event: messages.ServerEvent) -> bool:
        session = updated(event)
        return (
            session.get("instructions") == "Speak like a pirate."
            and session["audio"]["input"]["turn_detection"]["create_response"] is False
        )

    pipeline.bus.wait_for(messages.ServerEvent, as_asked)
    health = pipeline.bus.health("downlink", lambda h: not h.ok)
    assert "the server refuses session.audio.output.voice" in health.state
    [downlink] = [child for child in pipeline.children if child.name == "services.downlink"]
    assert len(downlink.matching(" W .*the server refuses session.audio.output.voice")) == 1
    assert not downlink.matching("the server says")


def test_a_server_that_keeps_deciding_is_followed(pipeline: Pipeline) -> None:
    started(pipeline, "keep-deciding", **{"interruption.decide": "client"})
    health = pipeline.bus.health("downlink", lambda h: not h.ok)
    assert "interruption.decide = 'client' has no effect" in health.state


def test_push_to_talk_ends_on_a_server_that_keeps_deciding(pipeline: Pipeline) -> None:
    started(pipeline, "keep-deciding", **{"interruption.decide": "push_to_talk"})
    [downlink] = [child for child in pipeline.children if child.name == "services.downlink"]
    assert downlink.wait() == 1
    assert "push to talk cannot work: set interruption.decide" in downlink.lines[-1]


def test_a_reply_at_another_rate_without_padding_and_cut_by_a_filter(pipeline: Pipeline) -> None:
    settings = {"session.greeting": "Hello."}
    twists = ("rate-16000", "unpadded-base64", "no-item-added", "null-conversation")
    started(pipeline, *twists, "content-filter", **settings)
    pipeline.bus.wait_for(messages.ReplyAudio, lambda audio: audio.last)
    chunks = pipeline.bus.all(messages.ReplyAudio)
    assert [c.start for c in chunks] == [
        sum(len(c.payload) // 2 for c in chunks[:number]) for number in range(len(chunks))
    ]
    assert pcm.RATE <= sum(len(c.payload) // 2 for c in chunks) <= pcm.RATE * 1.01
    [downlink] = [child for child in pipeline.children if child.name == "services.downlink"]
    downlink.wait_line("the server sends audio at 16000 Hz: it is converted")
    downlink.wait_line("the server's content filter cut a reply off")
    # the reply belongs to the conversation, and a command interrupts it
    history = pipeline.bus.wait_for(messages.History, lambda h: b'"assistant"' in h.payload)
    assert b'"message"' in history.message.payload
    assert not any(chunk.out_of_band for chunk in chunks)
    assert pipeline.bus.health("downlink", since=pipeline.bus.now).ok


def test_push_to_talk_with_a_cascade_that_names_little(kept: Keeper, tmp_path: Path) -> None:
    twists = (
        *("committed-without-id", "late-transcript", "no-item-added", "null-conversation"),
        *("no-clear", "error-in-type", "no-session-updated"),
    )
    with Pipeline(kept, UNHELD) as pipeline:
        said = [(at, recordings.QUESTION) for at in (0.1, 2.6, 5.1, 7.6)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "person.wav", said, 30),
            "echo.enabled": False,
            "interruption.decide": "push_to_talk",
            "session.answer_after": "transcript",
        }
        options = [part for twist in twists for part in ("--twist", twist)]
        pipeline.emulator("--reply", "tone:30", "--burst", *options)
        pipeline.all_up("echo", "vad", "uplink", "downlink", "playback", "monitor")
        pipeline.up("link")
        pipeline.meet()
        pipeline.up("capture")

        def button(command: str) -> None:
            child = pipeline.python("commands.control", command, *pipeline.options({}))
            assert child.wait() == 0

        button("talk")
        pipeline.bus.health("uplink", lambda h: h.counters.get("frames_sent", 0) > 25)
        button("release")
        heard = pipeline.bus.wait_for(messages.Heard, lambda h: h.items and h.items[-1].heard)
        button("interrupt")
        record = pipeline.bus.wait_for(messages.Interruption).message
        # the answer was asked for after the transcript, and belongs to the conversation
        [asked] = [
            event.stamp.t
            for event in pipeline.bus.deliveries(messages.ClientEvent)
            if b'"response.create"' in event.message.payload
        ]
        [transcribed] = [
            event.stamp.t
            for event in pipeline.bus.deliveries(messages.ServerEvent)
            if b"input_audio_transcription.completed" in event.message.payload
        ]
        assert asked > transcribed
        [report] = record.reports
        assert report.item_id == heard.message.items[-1].item_id
        assert report.action == "truncate"
        pipeline.bus.wait_for(messages.History, lambda h: b'"assistant"' in h.payload)
        health = pipeline.bus.health("downlink", since=pipeline.bus.now)
        assert health.ok
        assert health.counters["benign_errors"] >= 1
        assert "bad_events" not in health.counters
        for child in pipeline.children:
            assert not child.matching(r"^\d\d:\d\d:\d\d\.\d{3} [WE] .*(server|event)")


def test_a_server_that_never_says_that_a_reply_has_ended_is_asked_again(
    pipeline: Pipeline,
) -> None:
    pipeline.emulator("--reply", "tone:1", "--burst", "--omit", "response.done")
    pipeline.settings |= {"interruption.decide": "client", "playback.device": "null"}
    pipeline.all_up("downlink", "uplink", "playback", "monitor")
    pipeline.up("link")
    pipeline.meet()

    def whole(heard: messages.Heard) -> int:
        return len([item for item in heard.items if item.whole])

    for question in (1, 2):
        child = pipeline.python("commands.control", "type", "Hello.", *pipeline.options({}))
        assert child.wait() == 0
        pipeline.bus.wait_for(messages.Heard, whole if question == 1 else lambda h: whole(h) == 2)
    # Nobody interrupts the second reply: it ends by itself.
    pipeline.bus.health("downlink", lambda h: h.counters.get("responses_ended_silently", 0) > 0)


# a connection that is lost


def begin(connection: Connection) -> None:
    """Begin a session, and read the settings."""
    servers.begin(connection)
    connection.read(lambda event: event["type"] == "session.update")
    connection.send("session.updated", session={})


def response(name: str, status: str = "in_progress") -> dict[str, Any]:
    return {"id": name, "status": status, "conversation_id": "conv_1"}


def item(name: str, role: str) -> dict[str, Any]:
    content = [{"type": "input_audio", "transcript": None}] if role == "user" else []
    return {"id": name, "type": "message", "role": role, "content": content}


def ask(connection: Connection) -> None:
    """Put a turn of the person into the conversation."""
    connection.send("input_audio_buffer.speech_started", item_id="item_1", audio_start_ms=0)
    connection.send("input_audio_buffer.speech_stopped", item_id="item_1", audio_end_ms=900)
    connection.send("input_audio_buffer.committed", item_id="item_1", previous_item_id=None)
    connection.send("conversation.item.added", item=item("item_1", "user"))


def speak(connection: Connection) -> None:
    """Begin to answer."""
    at = {"response_id": "resp_1", "item_id": "item_2"}
    connection.send("response.created", response=response("resp_1"))
    connection.send(
        "response.output_item.added", response_id="resp_1", item=item("item_2", "assistant")
    )
    connection.send("conversation.item.added", item=item("item_2", "assistant"))
    connection.send("response.output_audio_transcript.delta", **at, delta="The tide is")
    connection.send("response.output_audio.delta", **at, delta="AAAA" * 20_000)


class Fragile:
    """A script of acts in a first session. The test says when they begin, and when they end in a
    broken connection.
    """

    def __init__(self, *acts: Any) -> None:
        self._acts = acts
        self._act, self._break = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        begin(connection)
        self._act.wait(PATIENCE_S)
        for act in self._acts:
            act(connection)
        connection.send("test")
        self._break.wait(PATIENCE_S)
        connection.reset()

    def act(self) -> None:
        """Begin the acts."""
        self._act.set()

    def lose(self) -> None:
        """Break the connection."""
        self._break.set()


@pytest.mark.parametrize(
    ("acts", "told"),
    [
        ([ask], "The connection was lost before you answered."),
        ([ask, speak], "The connection was lost while you were speaking."),
    ],
    ids=["unanswered", "cut off"],
)
def test_a_new_session_is_asked_again_for_what_the_last_one_owes(
    pipeline: Pipeline, acts: list[Any], told: str
) -> None:
    fragile = Fragile(*acts)
    with Server([fragile, servers.serve]) as server:
        pipeline.settings["link.url"] = server.url
        pipeline.all_up(*STAGES)
        pipeline.up("link")
        # The test and downlink hear link before the server acts: otherwise they could miss events.
        first = wait_state(pipeline, "open").session
        pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session == first)
        fragile.act()
        pipeline.bus.wait_for(
            messages.ServerEvent, lambda event: json.loads(event.payload)["type"] == "test"
        )
        pipeline.bus.health("downlink", since=pipeline.bus.now)
        fragile.lose()
        second = server.wait(2)
        pipeline.bus.wait_for(messages.ReplyState, lambda state: state.session > first)
        asked = second.wait("response.create").event
        assert told in asked["response"]["instructions"]
        # the conversation came first, and nothing is asked twice
        kinds = [arrival.event["type"] for arrival in second.events]
        assert kinds.index("response.create") > kinds.index("conversation.item.create")
        pipeline.bus.health("uplink", since=pipeline.bus.now)
        assert len(second.of("response.create")) == 1
        restored = [a.event["item"] for a in second.of("conversation.item.create")]
        words = [part["text"] for turn in restored for part in turn["content"]]
        assert any("the person spoke" in text for text in words)
        assert ("The tide is" in words) == (speak in acts)
