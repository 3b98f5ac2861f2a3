"""Messages for a stage that is not running are held, and the stage acts on them once it is back.

No message is lost, and no audio counts as heard that was not.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path

import msgspec
import pytest

from harness import recordings
from services.downlink.history_file import NAME, Saved
from shared import bus, codec, messages, registry
from shared.audio import pcm
from shared.poller import Poller
from tests.support.conversations import Witness, history
from tests.support.forger import command, forging
from tests.support.pipeline import PATIENCE_S, UNHELD, Keeper, Pipeline
from tests.support.readers import attend, join

pytestmark = pytest.mark.process

#: Length of each reply of the emulator, in seconds.
REPLY_S = 2


def test_a_reply_that_comes_while_no_downlink_runs_is_played_and_reported_as_heard(
    kept: Keeper, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.jsonl"
    with Pipeline(kept, UNHELD) as pipeline:
        said = [(0.3, recordings.QUESTION)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "person.wav", said, 60),
            "echo.enabled": False,
            "session.turn_detection.silence_duration_ms": 200,
        }
        options = ("--reply", f"tone:{REPLY_S}", "--burst", "--skew", "0")
        emulator = Witness(pipeline.emulator(*options, "--journal", str(journal)), journal)
        stages = pipeline.all_up("echo", "uplink", "downlink", "playback")
        stages |= pipeline.all_up("link")
        pipeline.meet()

        def asked() -> tuple[int, str]:
            """Ask a question while no downlink runs, wait for the answer, and restart downlink.

            Return the time of the restart, as an index for ``since``, and the answer's item id.
            """
            stages["downlink"].end(signal.SIGKILL)
            now = pipeline.bus.now
            capture = pipeline.up("capture")
            done = pipeline.bus.wait_for(
                messages.ServerEvent,
                lambda e: json.loads(e.payload)["type"] == "response.done",
                since=now,
            )
            assert capture.end() == 0
            assert not pipeline.bus.all(messages.ReplyAudio, since=now)
            back = pipeline.bus.now
            stages["downlink"] = pipeline.up("downlink")
            [item] = json.loads(done.message.payload)["response"]["output"]
            return back, item["id"]

        # Nobody interrupts the first answer.
        back, first = asked()
        whole = pipeline.bus.wait_for(
            messages.Heard,
            lambda h: [i for i in h.items if i.item_id == first and i.whole],
            since=back,
        ).message
        [heard] = [item for item in whole.items if item.item_id == first]
        assert heard.heard == heard.received == REPLY_S * pcm.RATE
        # A command interrupts the second answer.
        back, second = asked()
        pipeline.bus.wait_for(
            messages.Heard,
            lambda h: h.items and h.items[-1].item_id == second and h.playing,
            since=back,
        )
        command(pipeline, "interrupt")
        record = pipeline.bus.wait_for(
            messages.Interruption, lambda r: r.cause == "control"
        ).message
        pipeline.bus.health("uplink", since=pipeline.bus.now)
        held = {item["id"]: item for item in emulator.items()}
        truncated = emulator.entries("truncate")
        turns = {turn.item_id: turn for turn in history(pipeline)}
        for name in ("link", "downlink", "playback"):
            assert not stages[name].matching("lost")
    [report] = record.reports
    assert (report.item_id, report.action) == (second, "truncate")
    [entry] = truncated
    assert (entry["ok"], entry["item_id"]) == (True, second)
    assert held[first]["audio_ms"] == REPLY_S * 1000
    assert held[second]["audio_ms"] == report.audio_end_ms < REPLY_S * 1000
    # The history has fewer words of the interrupted answer as well.
    assert len(turns[first].text) > len(turns[second].text)


def test_audio_that_was_flushed_while_no_playback_ran_is_not_heard(kept: Keeper) -> None:
    """The flush message arrives after the audio, on another socket, or does not arrive at all."""
    with Pipeline(kept, UNHELD) as pipeline:
        publisher = bus.Publisher("downlink", pipeline.bus_directory)
        with contextlib.closing(publisher):

            def say(generation: int, item_id: str) -> None:
                for start in range(0, pcm.RATE, pcm.FRAME):
                    publisher.publish(
                        messages.ReplyAudio(
                            generation=generation,
                            session=1,
                            response_id=item_id,
                            item_id=item_id,
                            content_index=0,
                            start=start,
                            last=start == pcm.RATE - pcm.FRAME,
                            payload=b"\1\0" * pcm.FRAME,
                        )
                    )

            def tell(generation: int) -> None:
                publisher.publish(
                    messages.ReplyState(generation=generation, session=1, active=[], items=[])
                )

            tell(1)
            say(1, "flushed")
            tell(2)
            say(2, "valid")
            playback = pipeline.stage("playback")
            join(publisher, "reply.audio")
            heard = pipeline.bus.wait_for(
                messages.Heard, lambda h: [i for i in h.items if i.item_id == "valid" and i.whole]
            ).message
            counters = pipeline.bus.health("playback", since=pipeline.bus.now).counters
            # Playback plays the valid item from its first sample, and nothing else.
            assert [item.item_id for item in heard.items] == ["valid"]
            assert counters["flushed_meanwhile"] == pcm.RATE // pcm.FRAME
            # Messages that are published after playback's death are held for the next playback.
            playback.end(signal.SIGKILL)
            waits = {"reply.audio", "flush"}
            attend(publisher, lambda: waits <= publisher.held, "the messages are not held")


def test_a_command_from_before_it_ran_ends_no_reply(kept: Keeper) -> None:
    with Pipeline(kept) as pipeline:
        downlink = pipeline.up("downlink")
        with forging("monitor", pipeline, "control") as person:
            # A command that was sent 2 s ago and held, because no downlink ran.
            late = messages.Stamp(seq=0, epoch=0, t=time.monotonic_ns() - 2_000_000_000)
            person.send("control", *codec.encode(messages.Control(command="interrupt"), late))
            person.publish(messages.Control(command="interrupt"))
            pipeline.bus.wait_for(messages.Flush)
            health = pipeline.bus.health("downlink", lambda h: h.counters.get("commands_refused"))
        assert len(pipeline.bus.all(messages.Flush)) == health.counters["flushes"] == 1
        assert len(downlink.matching(r"interrupt: it came \d+ ms late")) == 1
        assert downlink.end() == 0


def test_the_server_is_told_of_what_was_cut_while_no_uplink_ran(kept: Keeper) -> None:
    """Uplink receives the flush report first, before it knows that a session is open."""
    item = messages.HeardItem("item", 0, heard=pcm.RATE, received=5 * pcm.RATE, done=True, cut=True)
    flush_report = messages.FlushReport(
        generation=2,
        session=1,
        cause="speech_started",
        event_ns=1,
        flush_ns=1,
        received_ns=1,
        silent_ns=1,
        latency_ns=0,
        items=[item],
    )
    wanted = (registry.health("uplink"), registry.of(messages.ClientEvent))
    with Pipeline(kept, wanted) as pipeline, contextlib.ExitStack() as stack:
        playback = stack.enter_context(
            contextlib.closing(bus.Publisher("playback", pipeline.bus_directory))
        )
        playback.publish(flush_report)
        uplink = pipeline.up("uplink")
        join(playback, "report.flush")
        pipeline.bus.health("uplink", since=pipeline.bus.now)
        link = stack.enter_context(
            contextlib.closing(bus.Publisher("link", pipeline.bus_directory))
        )
        link.publish(messages.LinkState(state="open", session=1))
        join(link, "link.state")
        event = pipeline.bus.wait_for(
            messages.ClientEvent, lambda e: b"truncate" in e.payload
        ).message
        told = json.loads(event.payload)
        assert (told["item_id"], told["audio_end_ms"]) == ("item", 1000)
        assert uplink.end() == 0


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "is over"])
def test_the_saved_history_is_that_of_a_conversation_that_goes_on(
    kept: Keeper, *, goes_on: bool
) -> None:
    """A session that link opened before link itself was started belongs to another conversation."""
    turn = messages.HistoryTurn(
        item_id="a", kind="message", role="user", text="Hi.", session=5, known_as="a", new_id="n"
    )
    with Pipeline(kept, UNHELD) as pipeline, contextlib.ExitStack() as stack:
        publisher = bus.Publisher("link", pipeline.bus_directory)
        link = stack.enter_context(contextlib.closing(publisher))
        session = time.time_ns() // 1000
        saved = Saved(session if goes_on else 5, [turn])
        (pipeline.bus_directory / NAME).write_bytes(msgspec.json.encode(saved))
        link.publish(messages.LinkState(state="open", session=session))
        downlink = pipeline.up("downlink")
        join(link, "link.state")
        told = pipeline.bus.wait_for(messages.History, lambda h: h.session == session).message
        found = [(turn.item_id, turn.text) for turn in codec.read_turns(told.payload)]
        assert found == ([("a", "Hi.")] if goes_on else [])
        assert downlink.end() == 0


def test_an_observer_sees_held_messages_and_takes_none_of_them(kept: Keeper) -> None:
    text = messages.Transcript(session=1, item_id="item", role="user", text="Hello?", final=True)
    with Pipeline(kept, UNHELD) as pipeline:
        pipeline.settings["recorder.directory"] = pipeline.directory
        options = pipeline.options({})
        tap = pipeline.python("commands.tap", "echo", "transcript", *options)
        recorder = pipeline.up("recorder")
        with contextlib.closing(bus.Publisher("downlink", pipeline.bus_directory)) as publisher:
            poller = Poller()
            for socket in publisher.sockets:
                poller.watch(socket)
            wanted = 2  # subscriptions: the tap's and the recorder's
            while wanted:
                assert poller.wait(PATIENCE_S), "the tap and the recorder did not both subscribe"
                wanted -= publisher.welcome().count("transcript")
            publisher.publish(text)
            tap.wait_line(r"^you: Hello\?$")
            assert publisher.held == {"reply.audio", "transcript", "tool.call", "flush"}
            pipeline.bus.health("recorder", since=pipeline.bus.now)
            assert recorder.end() == 0
        recorded = json.loads((pipeline.directory / "conversation.json").read_bytes())
    assert [said["text"] for said in recorded["transcripts"]] == ["Hello?"]
