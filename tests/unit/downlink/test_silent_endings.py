"""Responses whose end the server does not report."""

from __future__ import annotations

import pytest

from harness.downlink import Reader
from services.downlink import events, objects
from services.downlink.replies import Replies
from services.downlink.silent_endings import QUIET_NS

AUDIO = events.AudioDelta("resp_1", "item_1", "AAAA")
AUDIO_DONE = events.AudioDone("resp_1", "item_1")
ITEM_DONE = events.OutputItemDone("resp_1", objects.Item("item_1", "message", "assistant"))
SPEECH = events.SpeechStarted(0, "item_2")
NOT_ACTIVE = events.ErrorEvent(objects.ServerError("nothing", code="response_cancel_not_active"))


class Server:
    """A server that sends no response.done, and what downlink makes of its events."""

    def __init__(self, *sent: events.Event) -> None:
        self.replies = Replies(100, 1)
        self.reader = Reader(self.replies)
        self.now_ns = 1
        self.send(events.ResponseCreated(objects.Response("resp_1", "in_progress")), *sent)

    def send(self, *sent: events.Event) -> None:
        for event in sent:
            self.reader.read(event, self.now_ns)

    def let_pass(self, ns: int) -> None:
        """Let time pass as downlink does, in steps."""
        for _ in range(20):
            self.reader.end_silent(self.now_ns)
            self.now_ns += ns // 20
        self.reader.end_silent(self.now_ns)

    def active(self) -> bool:
        return self.replies.responses.any_active


@pytest.mark.parametrize("last", [AUDIO_DONE, ITEM_DONE], ids=["audio", "item"])
def test_a_response_ends_if_nothing_follows_the_end_of_a_part(last: events.Event) -> None:
    server = Server(AUDIO, last)
    server.let_pass(QUIET_NS // 2)
    assert server.active()
    server.let_pass(QUIET_NS)
    assert not server.active()
    assert [line for _, line in server.reader.reported] == [
        "the server does not say that its response has ended: taken for ended"
    ]


def test_a_response_in_the_middle_of_a_part_goes_on() -> None:
    server = Server(AUDIO)
    server.let_pass(20 * QUIET_NS)
    assert server.active()
    assert not server.reader.reported


def test_a_response_that_goes_on_after_a_pause_is_under_way_again() -> None:
    server = Server(AUDIO, AUDIO_DONE)
    server.let_pass(2 * QUIET_NS)
    server.send(events.OutputItemAdded("resp_1", objects.Item("item_3", "message", "assistant")))
    assert server.active()
    server.send(events.ResponseDone(objects.Response("resp_1", "completed")))
    assert not server.active()


def test_an_interrupted_response_ends_though_its_part_does_not() -> None:
    server = Server(AUDIO, SPEECH)
    server.let_pass(QUIET_NS // 2)
    assert server.active()
    server.let_pass(QUIET_NS)
    assert not server.active()


def test_an_interrupted_response_ends_if_the_server_has_none_to_cancel() -> None:
    server = Server(AUDIO, SPEECH, NOT_ACTIVE)
    assert not server.active()
    # A response that nobody has interrupted is another one.
    assert Server(AUDIO, NOT_ACTIVE).active()


def test_a_response_that_the_server_ends_is_reported_by_nobody() -> None:
    server = Server(AUDIO, AUDIO_DONE, events.ResponseDone(objects.Response("resp_1", "completed")))
    server.let_pass(3 * QUIET_NS)
    assert not server.reader.reported
