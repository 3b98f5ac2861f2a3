"""A session that is not as asked for: uplink asks again, and each difference is reported once."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from harness.downlink import Reader
from services.downlink import events, objects
from services.downlink.replies import Replies
from services.downlink.session_watch import SessionWatch
from shared import messages
from shared.audio import pcm
from shared.config import Config, Interruption, TurnDetection
from shared.config import Session as Settings
from shared.realtime.session import in_force, wanted


class Session:
    """A server's session and downlink's view of it."""

    def __init__(self, decide: Any = "server", **settings: Any) -> None:
        self.config = Config(interruption=Interruption(decide=decide), session=Settings(**settings))
        self.replies = Replies(100, 1)
        self.reader = Reader(self.replies, config=self.config)

    def updated(self, **changed: Any) -> None:
        told = wanted(in_force(self.config))
        told["audio"]["output"] |= changed.pop("output", {})
        told["audio"]["input"] |= changed
        self.reader.read(events.SessionUpdated(told))

    def error(self, code: str, param: str | None = None, event_id: str | None = None) -> None:
        error = objects.ServerError("No.", "invalid_request_error", code, param, event_id)
        self.reader.read(events.ErrorEvent(error))

    @property
    def watch(self) -> SessionWatch:
        return self.reader.session

    def begin(self, number: int, lost_answer: Any) -> None:
        self.reader.decisions.begin_session(number)
        self.replies.begin_session(number)
        self.watch.begin_session(number, lost_answer)

    def well(self) -> bool:
        return self.reader.stage.ok

    def requests(self) -> list[messages.SessionRequest]:
        found = self.reader.stage.published
        return [m for m in found if isinstance(m, messages.SessionRequest)]


def test_a_session_as_asked_for_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    session = Session()
    session.reader.read(events.SessionCreated({}))
    session.updated()
    session.reader.stage.pass_time()
    assert session.well()
    assert session.reader.shown == [""]
    assert caplog.messages == []


def test_a_refused_field_is_reported_once_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    session = Session()
    for _ in range(3):
        session.error("invalid_value", "session.audio.output.voice", "update_all")
    session.updated(output={"voice": "alloy"})
    session.reader.stage.pass_time()
    assert session.requests()[-1].refused == ["audio.output.voice"]
    assert len(session.requests()) <= 2
    lines = [line for line in caplog.messages if "session.audio.output.voice" in line]
    assert len(lines) == 1
    assert not session.well()
    assert session.reader.shown == ["the server refuses session.audio.output.voice"]
    # the error itself is not reported as well
    assert session.reader.reported == []


def test_differences_are_reported_when_the_updates_are_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = Session()
    session.updated(output={"voice": "alloy"})
    session.updated()
    session.reader.stage.pass_time()
    assert caplog.messages == []
    assert session.well()


def test_a_difference_is_logged_once_and_shown_as_long_as_it_lasts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = Session()
    for _ in range(2):
        session.updated(output={"voice": "alloy"})
        session.reader.stage.pass_time()
    assert not session.well()
    assert len(caplog.messages) == 1
    session.updated()
    session.reader.stage.pass_time()
    assert session.well()
    assert session.reader.shown[-1] == ""


def test_audio_at_another_rate_is_converted(caplog: pytest.LogCaptureFixture) -> None:
    session = Session()
    session.updated(output={"format": {"type": "audio/pcm", "rate": 16_000}})
    session.reader.stage.pass_time()
    assert session.well()
    assert caplog.messages == ["the server sends audio at 16000 Hz: it is converted"]
    tone = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000) * 12_000
    data = tone.astype("<i2").tobytes()
    sent = session.reader.read(events.ResponseCreated(objects.Response("resp_1", None, "conv")))
    for at in range(0, len(data), 999):  # cut within samples too
        delta = base64.b64encode(data[at : at + 999]).decode()
        sent += session.reader.read(events.AudioDelta("resp_1", "item_1", delta))
    sent += session.reader.read(events.AudioDone("resp_1", "item_1"))
    chunks = [m for m in sent if isinstance(m, messages.ReplyAudio)]
    at = 0
    for chunk in chunks:
        assert chunk.start == at
        at += len(chunk.payload) // 2
    assert chunks[-1].last
    assert pcm.RATE <= at <= pcm.RATE + 100
    heard = pcm.to_array(b"".join(chunk.payload for chunk in chunks)).astype(float)
    spectrum = np.abs(np.fft.rfft(heard[: pcm.RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert heard.std() == pytest.approx(12_000 / 2**0.5, rel=0.02)


def test_uplink_is_told_at_which_rate_the_server_listens() -> None:
    session = Session()
    session.updated(format={"type": "audio/pcm", "rate": 16_000})
    assert session.requests()[-1].input_rate == 16_000


def test_a_server_that_decides_by_itself_ends_the_reply_with_its_own_report() -> None:
    session = Session("client")
    speech = events.SpeechStarted(0, "item_2")
    session.reader.read(events.ResponseCreated(objects.Response("resp_1", None, "conv")))
    assert not [m for m in session.reader.read(speech) if isinstance(m, messages.Flush)]
    deciding = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    session.updated(turn_detection=deciding)
    assert [m for m in session.reader.read(speech) if isinstance(m, messages.Flush)]


def test_a_session_in_which_no_conversation_is_possible_ends_it() -> None:
    session = Session("push_to_talk")
    session.updated(turn_detection={"type": "server_vad"})
    session.reader.stage.pass_time()
    [why] = session.reader.shown
    assert "push to talk cannot work" in why


# what a lost session owes


def turn(name: str = "item_1") -> list[events.Event]:
    return [
        events.SpeechStarted(0, name),
        events.SpeechStopped(900, name),
        events.Committed(name),
    ]


def reply(*after: events.Event) -> list[events.Event]:
    begun = events.ResponseCreated(objects.Response("resp_1", "in_progress", "conv"))
    return [begun, events.AudioDelta("resp_1", "item_2", "AAAA"), *after]


ENDED = events.AudioDone("resp_1", "item_2")
DONE = events.ResponseDone(objects.Response("resp_1", "completed", "conv"))
CANCELLED = events.ResponseDone(objects.Response("resp_1", "cancelled", "conv"))
ASIDE = events.ResponseCreated(objects.Response("aside", "in_progress", None))


@pytest.mark.parametrize(
    ("happened", "lost_answer"),
    [
        ([], ""),
        (turn(), "answer"),
        ([*turn(), *reply()[:1]], "answer"),
        ([*turn(), *reply()], "continue"),
        ([*turn(), *reply(events.AudioDone("resp_1", "another"))], "continue"),
        ([*turn(), *reply(ENDED)], ""),
        ([*turn(), *reply(ENDED, DONE)], ""),
        ([*turn(), *reply(events.SpeechStarted(0, "item_3"))], ""),
        ([*turn(), *reply(events.SpeechStarted(0, "item_3"), CANCELLED)], ""),
        ([*turn(), *reply(ENDED, DONE), *turn("item_3")], "answer"),
        ([*turn(), *reply(ENDED, DONE), ASIDE], ""),
        ([*turn(), events.SpeechStarted(0, "item_3")], ""),
    ],
)
def test_a_lost_session_owes_an_answer_or_the_rest_of_one(
    happened: list[events.Event], lost_answer: str
) -> None:
    session = Session()
    for event in happened:
        session.reader.read(event, 7)
    assert session.watch.lost_answer(2.0) == lost_answer


@pytest.mark.parametrize(
    ("within_s", "lost_s", "lost_answer"),
    [(60.0, 59.0, "answer"), (60.0, 61.0, ""), (0.0, 0.0, ""), (0.5, 0.4, "answer")],
)
def test_after_a_while_nobody_waits_for_the_answer(
    within_s: float, lost_s: float, lost_answer: str
) -> None:
    session = Session(resume_within_s=within_s)
    for event in turn():
        session.reader.read(event, 7)
    assert session.watch.lost_answer(lost_s) == lost_answer


def test_no_answer_is_owed_without_create_response() -> None:
    session = Session(turn_detection=TurnDetection(create_response=False))
    for event in turn():
        session.reader.read(event, 7)
    assert session.watch.lost_answer(0) == ""


def test_a_lost_answer_stays_due_until_a_response_begins() -> None:
    session = Session()
    for event in turn():
        session.reader.read(event, 7)
    lost_answer = session.watch.lost_answer(1)
    session.begin(2, lost_answer)
    assert session.requests()[-1].lost_answer == "answer"
    assert session.requests()[-1].session == 2
    # lost again, before anything was answered
    lost_answer = session.watch.lost_answer(1)
    assert lost_answer == "answer"
    session.begin(3, lost_answer)
    for event in reply(ENDED, DONE):
        session.reader.read(event, 7)
    session.watch.lost_answer_begun()
    assert session.requests()[-1].lost_answer == ""
    assert session.watch.lost_answer(1) == ""
