"""After each kind of network failure a new session continues the same conversation.

The person asks again and again, and so interrupts every answer. A proxy between link and the
emulator causes the failures. The emulator's journal says what the server's conversation contains.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from harness import recordings
from harness.proxy import Proxy
from shared import messages
from shared.audio import pcm
from tests.support import servers
from tests.support.conversations import REPLY_S, Witness, begin, history, restored, start
from tests.support.pipeline import PATIENCE_S, UNHELD, Child, Keeper, Pipeline
from tests.support.servers import Connection, Server

pytestmark = pytest.mark.process


@dataclass
class Talk:
    """A conversation that goes on through all tests of this module."""

    pipeline: Pipeline
    proxy: Proxy
    emulator: Witness
    stages: dict[str, Child]
    session: int


@pytest.fixture(scope="module")
def talk(kept: Keeper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """Begin a conversation through a proxy, and wait for its first interruption."""
    directory = tmp_path_factory.mktemp("network")
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, directory, "--reply", f"tone:{REPLY_S}", "--burst")
        with Proxy(str(pipeline.settings["link.url"])) as proxy:
            pipeline.settings["link.url"] = proxy.url
            stages, session = start(pipeline)
            interrupted_anew(pipeline)
            yield Talk(pipeline, proxy, emulator, stages, session)


def interrupted_anew(pipeline: Pipeline, since: int | None = None) -> messages.Interruption:
    """Wait until a reply is interrupted and uplink truncates it. Return uplink's record."""
    since = pipeline.bus.now if since is None else since
    told = pipeline.bus.wait_for(
        messages.Interruption, lambda i: any(r.action == "truncate" for r in i.reports), since=since
    )
    return told.message


def refused(proxy: Proxy) -> None:
    """Reset the connection, and refuse the next two attempts with HTTP 502."""
    proxy.answer("502 Bad Gateway", 2)
    proxy.reset()


#: How to cause each kind of failure, by the cause that link publishes.
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "reset": lambda proxy: proxy.reset(),
    "silent": lambda proxy: proxy.freeze(),
    "closed": lambda proxy: proxy.say_close(1011, "oops"),
    "busy": refused,
}


@pytest.mark.parametrize(
    ("cause", "stage"),
    [
        ("reset", ""),
        ("silent", "downlink"),
        ("closed", "uplink"),
        ("busy", "playback"),
        ("", "link"),
    ],
)
def test_the_conversation_goes_on_whatever_dies(talk: Talk, cause: str, stage: str) -> None:
    pipeline = talk.pipeline
    begun = pipeline.bus.now
    if stage:
        # The conversation survives the death of any single stage.
        talk.stages[stage].end(signal.SIGKILL)
        talk.stages[stage] = pipeline.up(stage)
    if cause:
        interrupted_anew(pipeline, begun)
        FAULTS[cause](talk.proxy)
        pipeline.bus.wait_for(
            messages.LinkState, lambda s: s.state == "waiting" and s.cause == cause, since=begun
        )
    opened = pipeline.bus.wait_for(
        messages.LinkState, lambda s: s.state == "open" and s.session > talk.session, since=begun
    ).message
    talk.session = opened.session
    before = [turn.item_id for turn in history(pipeline, opened.opened_ns)]
    record = interrupted_anew(pipeline, pipeline.bus.now)
    assert record.session == opened.session
    given = restored(pipeline, talk.emulator, opened.session)
    # No turn is lost, and the order is unchanged.
    now = history(pipeline)
    deleted = {entry["item_id"] for entry in talk.emulator.entries("delete")}
    assert {turn.item_id for turn in now} | deleted >= set(before)
    begin = now[: len([turn for turn in now if turn.item_id in before])]
    assert [turn.item_id for turn in begin] == [n for n in before if n not in deleted]
    assert begin
    # The server has the same turns, except those of which nothing was heard.
    heard = [turn.item_id for turn in begin if turn.told]
    assert [turn.item_id for turn in given][: len(heard)] == heard
    # At least one turn of each side has its text. The last turn before a failure may have none.
    assert [t for t in given if t.role == "user" and t.text.endswith("s of speech]")]
    assert [t for t in given if t.role == "assistant" and t.text.startswith("0")]
    # Uplink requests no response in the new session: neither a greeting nor an unasked answer.
    asked = [c for c in pipeline.bus.all(messages.ClientEvent) if b'"response.create"' in c.payload]
    assert opened.session not in {event.session for event in asked}
    health = pipeline.bus.health("downlink", since=pipeline.bus.now)
    assert not {k: n for k, n in health.counters.items() if k.startswith("error.") and n}


def test_a_session_whose_time_is_over_is_followed_by_another(kept: Keeper, tmp_path: Path) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, tmp_path, "--reply", "tone:1", "--burst", "--expire", "4")
        stages, session = start(pipeline)
        pipeline.bus.wait_for(
            messages.LinkState, lambda s: s.state == "waiting" and s.cause == "expired"
        )
        opened = pipeline.bus.wait_for(
            messages.LinkState, lambda s: s.state == "open" and s.session > session
        )
        assert restored(pipeline, emulator, opened.message.session)
        assert stages["link"].matching(r"60 minutes.\); trying again")
        assert not stages["downlink"].matching("session_expired")


def test_a_name_that_is_not_found_is_reported_and_looked_up_again(pipeline: Pipeline) -> None:
    pipeline.settings |= {
        "link.url": "ws://nowhere.invalid/v1/realtime",
        "link.allow_insecure": True,
        "link.retry_first_ms": 10,
    }
    child = pipeline.stage("link", env={"OPENAI_API_KEY": "sk-test"})
    pipeline.bus.wait_for(
        messages.LinkState, lambda s: s.state == "waiting" and s.cause == "unresolved"
    )
    child.wait_line("trying again in", 2)
    waits = [s for s in pipeline.bus.all(messages.LinkState) if s.state == "waiting"]
    assert {wait.cause for wait in waits} == {"unresolved"}
    assert child.running


def test_a_turn_in_which_the_connection_breaks_is_heard_in_one_piece(
    kept: Keeper, tmp_path: Path
) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, tmp_path, "--reply", "tone:1", "--burst")
        said = [(1.0, recordings.TIDES)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "tides.wav", said, 60),
            "session.turn_detection.silence_duration_ms": 500,
            "session.greeting": "",
        }
        with Proxy(str(pipeline.settings["link.url"])) as proxy:
            pipeline.settings["link.url"] = proxy.url
            _, session = start(pipeline)
            state = pipeline.bus.wait_for(messages.ReplyState, lambda s: s.speaking).message
            half = state.speech_ms / 1000 + recordings.seconds(recordings.TIDES) / 2
            # Uplink has sent every frame since the first one, so this counts the session's audio.
            first = pipeline.bus.wait_for(messages.MicFrame).message.position
            pipeline.bus.wait_for(messages.MicFrame, lambda f: f.position - first > half * pcm.RATE)
            proxy.reset()
            told = pipeline.bus.wait_for(
                messages.Transcript, lambda t: t.role == "user" and t.final and t.session > session
            ).message
            # The server answers the turn.
            pipeline.bus.wait_for(messages.Heard, lambda h: h.items and not h.playing)
            # Ask now: the emulator reports the conversation only while a session is open.
            heard = [i for i in emulator.items() if i.get("role") == "user"]
    # The emulator's transcript says how long the turn is, in seconds.
    assert len(heard) == 1
    assert float(told.text.strip("[").split()[0]) > recordings.seconds(recordings.TIDES) - 0.3


def test_a_turn_without_a_transcript_is_heard_again_if_it_had_no_answer(
    kept: Keeper, tmp_path: Path
) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, tmp_path, "--reply", "tone:1", "--burst", "--latency", "1500")
        said = [(1.0, recordings.QUESTION)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "question.wav", said, 60),
            "session.transcription_model": "",
            "session.greeting": "",
        }
        with Proxy(str(pipeline.settings["link.url"])) as proxy:
            pipeline.settings["link.url"] = proxy.url
            _, session = start(pipeline)
            # The turn is committed, and the answer has no sound yet.
            pipeline.bus.wait_for(messages.ReplyState, lambda s: s.active and not s.speaking)
            proxy.reset()
            pipeline.bus.wait_for(messages.Heard, lambda h: h.items and not h.playing)
            items = emulator.items()
    sent = [e for e in pipeline.bus.all(messages.ClientEvent) if e.session > session]
    # The server hears the turn and answers it by itself.
    assert not [event for event in sent if b'"response.create"' in event.payload]
    created = [e for e in pipeline.bus.all(messages.ServerEvent) if e.session > session]
    assert len([e for e in created if b'"response.created"' in e.payload]) == 1
    assert [item["role"] for item in items] == ["user", "assistant"]
    assert "no transcript" not in str(items)


def test_nothing_that_was_said_before_the_loss_arrives_after_it(
    kept: Keeper, tmp_path: Path
) -> None:
    def vanishes(connection: Connection) -> None:
        servers.begin(connection)
        connection.read(lambda event: event["type"] == "input_audio_buffer.append")
        # The server stops reading, so that audio queues up, and then resets the connection.
        over.wait(PATIENCE_S)
        connection.reset()

    over = threading.Event()
    with Pipeline(kept, UNHELD) as pipeline, Server([vanishes, servers.serve]) as server:
        pipeline.settings |= {
            "capture.device": recordings.numbered(tmp_path / "numbers.wav", 1000),
            "echo.enabled": False,
            "link.url": server.url,
            "link.retry_first_ms": 200,
        }
        pipeline.all_up("echo", "uplink", "link", "capture")
        server.wait().wait("input_audio_buffer.append")
        frames = [f.position for f in pipeline.bus.all(messages.MicFrame)]
        pipeline.bus.wait_for(messages.MicFrame, lambda f: f.position > max(frames) + pcm.RATE // 2)
        over.set()
        lost = pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "waiting")
        second = server.wait(2)
        second.wait("input_audio_buffer.append", 20)
        arrivals = second.of("input_audio_buffer.append")
        sent = [recordings.appended(arrival.event)[0] for arrival in arrivals]
        # The test may receive a frame from the bus later than the server does.
        pipeline.bus.wait_for(messages.MicFrame, lambda f: recordings.number(f.payload) == sent[-1])
        captured = {recordings.number(f.payload): f for f in pipeline.bus.all(messages.MicFrame)}
    assert len(sent) >= 20
    assert min(captured[number].captured_ns for number in sent) > lost.stamp.t - 100_000_000
    # No frame after the first one is missing.
    assert all(after == before + 1 for before, after in pairwise(sent))
