"""A session is replaced before its time limit, if possible at a quiet moment. No audio is lost."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from pathlib import Path

import pytest

from harness import recordings
from services.downlink import renewal
from shared import messages
from shared.audio import pcm
from tests.support import servers
from tests.support.conversations import begin, restored, start
from tests.support.pipeline import UNHELD, Keeper, Pipeline
from tests.support.servers import Connection, Script, Server

pytestmark = pytest.mark.process

#: The session's time limit, and how long before the limit the renewal begins, in seconds. The real
#: limit of 60 minutes would be too long for a test.
LIMIT_S, BEFORE_S = 3.0, 2.0
SAID = {"type": "input_text", "text": "Hello."}
ITEM = {"id": "item_a", "type": "message", "role": "user", "status": "completed", "content": [SAID]}


def conversing(*events: str) -> Script:
    """Return a script of a server: the session has one user turn, then sends these events."""

    def script(connection: Connection) -> None:
        servers.begin(connection)
        for kind in ("added", "done"):
            connection.send(f"conversation.item.{kind}", item=ITEM, previous_item_id=None)
        for event in events:
            connection.send(event, item_id="item_b", audio_start_ms=1)
        servers.serve_on(connection)

    return script


def frames(connection: Connection) -> list[int]:
    """Return the numbers of the microphone frames that a server received."""
    appended = connection.of("input_audio_buffer.append")
    return [n for each in appended for n in recordings.appended(each.event)[:: pcm.FRAME]]


@pytest.mark.parametrize("forced", [False, True], ids=["at a quiet moment", "forced"])
def test_another_session_takes_over_between_two_frames(
    kept: Keeper, tmp_path: Path, *, forced: bool
) -> None:
    # "forced": the person speaks without a pause, so there is no quiet moment. The server refuses
    # the first attempt to open the second session.
    first = conversing(*(["input_audio_buffer.speech_started"] if forced else []))
    scripts = [first, servers.refuse("502 Bad Gateway"), servers.serve]
    with Pipeline(kept, UNHELD) as pipeline, Server(scripts) as server:
        pipeline.settings |= {
            "capture.device": recordings.numbered(tmp_path / "numbers.wav", 1000),
            "echo.enabled": False,
            "link.url": server.url,
            "link.session_limit_s": LIMIT_S,
            "link.renew_before_s": BEFORE_S,
        }
        # link last: the session's time is short, and the microphone is to be heard during all of it
        stages = pipeline.all_up("echo", "uplink", "downlink", "capture")
        stages["link"] = pipeline.up("link")
        opened = pipeline.bus.wait_for(messages.LinkState, lambda s: s.state == "open").message
        renew = pipeline.bus.wait_for(messages.Renew)
        asked_s = (renew.stamp.t - opened.opened_ns) / 1e9
        new = server.wait(3)
        new.wait("input_audio_buffer.append", 10)
        old = server.connections[0]
        pipeline.bus.wait_for(messages.LinkState, lambda s: s.cause == "renewed")
        states = pipeline.bus.all(messages.LinkState)
        stages["link"].wait_line("could not renew the session: HTTP 502")
        assert not stages["link"].matching("trying again")
    assert renew.message == messages.Renew(session=opened.session, forced=forced)
    assert asked_s >= LIMIT_S - (BEFORE_S / renewal.FORCED_SHARE if forced else BEFORE_S)
    # No frame is missing, and the frames are in order.
    assert len(frames(old)) > 20
    sent = frames(new) if forced else [*frames(old), *frames(new)]
    assert all(after == before + 1 for before, after in pairwise(sent))
    if forced:
        # The new session hears the turn in progress again, from the beginning of the turn.
        assert set(frames(old)) <= set(sent)
    # The new session got the conversation before any audio, and no response was requested.
    kinds = [arrival.event["type"] for arrival in new.events]
    before = kinds[: kinds.index("input_audio_buffer.append")]
    assert before == ["session.update", "conversation.item.create"]
    assert new.events[1].event["item"]["content"] == [SAID]
    assert "response.create" not in kinds
    # A connection was open all the time, and the old one was closed normally (code 1000).
    assert {s.state for s in states[states.index(opened) :]} == {"open"}
    assert states[-1].cause == "renewed"
    assert old.closed_with == 1000


def test_a_conversation_outlives_its_sessions(kept: Keeper, tmp_path: Path) -> None:
    with Pipeline(kept, UNHELD) as pipeline:
        emulator = begin(pipeline, tmp_path, "--reply", "tone:0.2", "--burst", "--expire", "9")
        # The person asks every 3.6 s, so that there are quiet moments between the questions.
        said = [(at, recordings.QUESTION) for at in (0.2, 3.8, 7.4)]
        pipeline.settings |= {
            "capture.device": recordings.microphone(tmp_path / "person.wav", said, 30),
            "link.session_limit_s": 9,
            "link.renew_before_s": 3.5,
        }
        stages, session = start(pipeline)
        renewed = pipeline.bus.wait_for(
            messages.LinkState, lambda s: s.state == "open" and s.session > session
        )
        pipeline.bus.wait_for(
            messages.Heard, lambda h: h.session > session and h.items and not h.playing
        )
        given = restored(pipeline, emulator, renewed.message.session)
        now = pipeline.bus.now
        assert not stages["link"].matching("trying again")
    assert {turn.role for turn in given} == {"user", "assistant"}
    heard = pipeline.bus.heard[:now]
    before = [each for each in heard if each.stamp.t < renewed.stamp.t]
    # At the renewal the person was silent, no response was in progress and nothing was played.
    kinds = [
        json.loads(d.message.payload)["type"]
        for d in before
        if isinstance(d.message, messages.ServerEvent)
    ]
    for begun, ended in [
        ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"),
        ("response.created", "response.done"),
    ]:
        # The test may have subscribed after the greeting began, so it compares only the last event.
        assert [kind for kind in kinds if kind in (begun, ended)][-1] == ended
    assert not [d.message for d in before if isinstance(d.message, messages.Heard)][-1].playing
    assert not any(renew.forced for renew in pipeline.bus.all(messages.Renew))
    # The audio sent to both sessions is one piece of the recorded microphone, without a gap.
    sent = b"".join(
        pcm.from_array(pcm.to_array(_pcm(d.message)))
        for d in heard
        if isinstance(d.message, messages.ClientEvent) and b"append" in d.message.payload[:40]
    )
    recorded = b"".join(f.payload for f in pipeline.bus.all(messages.MicFrame))
    recordings.place(sent, recorded)
    assert (
        len({d.message.session for d in heard if isinstance(d.message, messages.ClientEvent)}) >= 2
    )


def _pcm(event: messages.ClientEvent) -> bytes:
    return base64.b64decode(json.loads(event.payload)["audio"])
