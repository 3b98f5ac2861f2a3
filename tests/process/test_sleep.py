"""The conversation falls asleep, stays asleep while stages are restarted, and wakes as it was."""

from __future__ import annotations

import base64
import json
import signal
import sys
from pathlib import Path

import pytest

from harness import recordings
from shared import messages
from shared.audio import pcm
from tests.support.conversations import begin, restored, start
from tests.support.pipeline import UNHELD, Keeper, Pipeline

pytestmark = pytest.mark.process

#: When the person speaks, s after a microphone was opened: the second microphone is opened in the
#: sleep, when all restarts are over.
FIRST_S, AGAIN_S = 0.5, 1.0
IDLE_S = 3.0


def test_the_speech_of_the_person_wakes_the_conversation(kept: Keeper, tmp_path: Path) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, tmp_path, "--reply", "tone:0.2", "--burst")
        early, again = (
            recordings.microphone(tmp_path / f"{at}.wav", [(at, recordings.QUESTION)], 60)
            for at in (FIRST_S, AGAIN_S)
        )
        pipeline.settings |= {
            "capture.device": early,
            "limits.idle_minutes": IDLE_S / 60,
            "session.greeting": "",
            "session.transcription_model": "gpt-transcribe",
        }
        pipeline.up("vad")
        stages, session = start(pipeline)
        asleep = pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "asleep")
        since = pipeline.bus.now
        assert asleep.message.cause == "idle"
        assert "limits.idle_minutes" in asleep.message.reason
        usage = pipeline.bus.wait_for(
            messages.Usage, lambda u: u.conversation.responses and u.conversation.transcripts
        ).message
        assert usage.conversation.transcript_ms > 0
        assert usage.conversation.cost_micros > 0
        assert usage.day == usage.conversation  # a new home directory, so the day begins here

        # uplink may have published a frame while this state was on its way.
        silent = pipeline.bus.wait_for(
            messages.Health,
            lambda h: h.state == "link is asleep",
            topic="uplink.health",
            since=since,
        )
        # Each of the three stages is killed, and goes on sleeping.
        for name in ("link", "downlink", "uplink"):
            stages[name].send(signal.SIGKILL)
            stages[name].wait()
            stages[name] = pipeline.up(name)
        # link ends as systemd asks it to, and goes on sleeping.
        stages["link"].end()
        pipeline.up("link")
        states = pipeline.bus.all(messages.LinkState, since=since)
        assert {state.state for state in states} == {"asleep"}
        sleeping = pipeline.bus.wait_for(messages.Sleep, since=pipeline.bus.now).message
        assert (sleeping.asleep, sleeping.cause) == (True, "idle")
        assert [e["code"] for e in emulator.entries("closed")] == [1000]

        stages["capture"].end()
        stages["capture"] = pipeline.up("capture", {"capture.device": again})
        woken = pipeline.bus.wait_for(messages.Sleep, lambda s: not s.asleep and s.since_ns)
        opened = pipeline.bus.wait_for(
            messages.LinkState, lambda s: s.state == "open" and s.session > session
        )
        new = opened.message.session
        pipeline.bus.wait_for(
            messages.Transcript, lambda t: t.session == new and t.role == "assistant" and t.final
        )
        given = restored(pipeline, emulator, new)
        now = pipeline.bus.now
        assert len(emulator.entries("opened")) == 2
    # The history was kept, also by the downlink that was started in the sleep.
    assert {turn.role for turn in given} == {"user", "assistant"}
    heard = pipeline.bus.heard[:now]
    events = [d for d in heard if isinstance(d.message, messages.ClientEvent)]
    # Nothing was sent during the sleep.
    assert not [d for d in events if silent.stamp.t < d.stamp.t < opened.stamp.t]
    # The new session hears the person from before the first word, without a gap.
    sent = b"".join(
        base64.b64decode(json.loads(d.message.payload)["audio"])
        for d in events
        if isinstance(d.message, messages.ClientEvent)
        and d.message.session == new
        and b"append" in d.message.payload[:40]
    )
    frames = [d.message for d in heard if isinstance(d.message, messages.MicFrame)]
    captured = b"".join(frame.payload for frame in frames)
    first = recordings.place(sent, captured) // pcm.FRAME
    speech = recordings.spoken(recordings.QUESTION)
    word = recordings.place(pcm.from_array(speech[: pcm.RATE]), captured) // pcm.FRAME
    assert first < word
    assert frames[first].captured_ns < woken.message.since_ns


def test_at_a_limit_the_assistant_says_goodbye_and_a_typed_line_wakes_it(
    kept: Keeper, tmp_path: Path
) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        begin(pipeline, tmp_path, "--reply", "tone:0.3", "--burst")
        pipeline.settings |= {
            "capture.device": "null",
            "limits.farewell": "Say goodbye to the person.",
            "limits.max_minutes": 1 / 60,
            "monitor.port": 0,
            "session.greeting": "",
        }
        pipeline.up("monitor")
        _, session = start(pipeline)
        asleep = pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "asleep")
        assert asleep.message.cause == "limit"
        assert "limits.max_minutes" in asleep.message.reason
        # The goodbye was asked for once, and heard before the session was closed.
        events = pipeline.bus.all(messages.ClientEvent)
        assert sum(b"Say goodbye to the person." in e.payload for e in events) == 1
        heard = pipeline.bus.deliveries(messages.Heard)
        assert any(
            d.message.items and d.message.items[-1].whole and d.stamp.t < asleep.stamp.t
            for d in heard
        )
        typed = pipeline.python("commands.control", "type", "Are you there?", *pipeline.options({}))
        said = pipeline.bus.wait_for(
            messages.Transcript, lambda t: t.role == "user" and t.text == "Are you there?"
        ).message
        assert said.session > session
        pipeline.bus.wait_for(
            messages.Transcript,
            lambda t: t.role == "assistant" and t.final and t.session == said.session,
        )
        assert typed.wait() == 0


def test_a_limit_can_end_the_conversation_and_what_started_it(kept: Keeper) -> None:
    with Pipeline(kept) as pipeline:
        settings = {"limits.max_minutes": 1 / 60, "limits.then": "end", "limits.farewell": ""}
        env = {**pipeline.env, **pipeline.environment(settings)}
        begun = pipeline.run(sys.executable, "-u", "-m", "commands", "start", "--emulator", env=env)
        assert begun.wait() == 0
        assert begun.matching(r"limits\.max_minutes")
