"""The dispatch of server events: what other servers leave out, name otherwise, or do."""

from __future__ import annotations

from typing import Any

import pytest

from harness.downlink import Reader
from services.downlink import events, objects
from services.downlink.replies import Replies
from shared import messages
from shared.realtime.event_ids import ASKS, CLEARS

DELTA = "AAAA"


class Server:
    """A server whose events are read, and the conversation that follows from them."""

    def __init__(self) -> None:
        self.replies = Replies(100, 1)
        self.reader = Reader(self.replies)

    def send(self, *sent: events.Event) -> list[messages.Message]:
        return [message for event in sent for message in self.reader.read(event, 7)]

    def ends(self, status: str | None, reason: str | None = None, **details: Any) -> None:
        why = objects.StatusDetails(status, reason, **details) if status else None
        self.send(events.ResponseDone(objects.Response("resp_1", status, "conv", why)))

    @property
    def said(self) -> list[str]:
        """The lines that were logged so far."""
        return [line for _, line in self.reader.reported if line]

    def turns(self) -> list[tuple[str, str, str, str]]:
        """Return the id, the kind, the role and the text of each turn of the conversation."""
        turns = self.reader.history.turns()
        return [(turn.item_id, turn.kind, turn.role, turn.text) for turn in turns]


def created(name: str = "resp_1", conversation: str | None = "conv") -> events.Event:
    return events.ResponseCreated(objects.Response(name, "in_progress", conversation))


def message(name: str, role: str | None = "assistant", text: str = "") -> objects.Item:
    content = [objects.Content("output_audio", transcript=text)] if text else []
    return objects.Item(name, "message", role, "completed", content)


# how a response ends


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        ("completed", None, ""),
        (None, None, ""),
        ("cancelled", "turn_detected", ""),
        ("cancelled", "client_cancelled", ""),
        ("cancelled", "overload", "the server cancelled a reply: overload"),
        ("cancelled", None, "the server cancelled a reply: it does not say why"),
        ("incomplete", "content_filter", "the server's content filter cut a reply off"),
        ("incomplete", "max_output_tokens", "limit for its length (max_output_tokens)"),
        ("incomplete", "turn_detected", ""),
        ("incomplete", "sleepy", "the server left a reply incomplete: sleepy"),
        ("incomplete", None, "the server left a reply incomplete: it does not say why"),
        ("melted", None, "a reply ended as 'melted'"),
    ],
)
def test_an_ending_that_nobody_wanted_is_reported_in_words(
    status: str | None, reason: str | None, line: str
) -> None:
    server = Server()
    server.send(created())
    server.ends(status, reason)
    if line:
        [said] = server.said
        assert line in said
    else:
        assert server.said == []


def test_an_ending_without_a_reason_is_ours_after_an_interruption() -> None:
    server = Server()
    server.send(created(), events.SpeechStarted(0, "item_2"))
    server.ends("cancelled")
    assert server.said == []


def test_a_content_filter_is_reported_although_the_person_interrupted() -> None:
    server = Server()
    server.send(created(), events.SpeechStarted(0, "item_2"))
    server.ends("incomplete", "content_filter")
    assert len(server.said) == 1


def test_a_failed_response_is_reported_with_its_error() -> None:
    server = Server()
    server.send(created())
    server.ends("failed", error=objects.ServerError("Pay first.", code="insufficient_quota"))
    assert server.said == ["the server says insufficient_quota: Pay first."]


def test_a_failed_transcription_is_reported() -> None:
    server = Server()
    server.send(events.TranscriptionFailed("item_2", objects.ServerError("too short", "odd_audio")))
    server.send(events.TranscriptionFailed())
    said = "the server could not transcribe what the person said"
    assert server.said == [f"{said}: odd_audio: too short", f"{said}: error: "]


def test_a_server_that_says_cancelled_where_the_api_says_done_has_ended_the_response() -> None:
    server = Server()
    server.send(created(), events.ResponseCancelled("resp_1"), events.ResponseCancelled())
    assert not server.replies.responses.any_active
    assert server.said == []


# errors and unknown events


@pytest.mark.parametrize(
    "error",
    [
        objects.ServerError("no such item", code="conversation_item_not_found"),
        objects.ServerError("again", type="item_already_truncated"),
        objects.ServerError("nothing", type="response_cancel_not_active"),
        objects.ServerError(
            "Unknown or invalid event: input_audio_buffer.clear", "unknown_or_invalid_event"
        ),
        objects.ServerError("?", "unknown_or_invalid_event", event_id=CLEARS),
    ],
)
def test_the_races_of_other_servers_are_counted_and_not_logged(error: objects.ServerError) -> None:
    server = Server()
    server.send(events.ErrorEvent(error))
    assert server.reader.reported == [("benign_errors", "")]


def test_an_error_has_the_name_that_stands_in_its_type() -> None:
    server = Server()
    server.send(events.ErrorEvent(objects.ServerError("Really?", "unknown_or_invalid_event")))
    assert server.reader.reported == [
        ("error.unknown_or_invalid_event", "the server says unknown_or_invalid_event: Really?")
    ]


def test_an_unknown_event_is_reported_once_for_each_type() -> None:
    server = Server()
    for name in ("response.mind", "response.mind", "session.mood", "response.mind"):
        server.send(events.Unknown(name))
    assert [counter for counter, _ in server.reader.reported] == ["unknown_events"] * 2
    assert "'response.mind'" in server.said[0]
    assert "'session.mood'" in server.said[1]


def test_the_types_that_a_server_invents_are_not_reported_without_end() -> None:
    server = Server()
    for number in range(1000):
        server.send(events.Unknown(f"type_{number}"))
    assert len(server.said) == 50


# items that no event adds to the conversation


def test_items_that_only_the_response_announces_are_in_the_conversation() -> None:
    server = Server()
    call = objects.Item("item_3", "function_call", None, "completed", None, "weather", "c1", "{}")
    server.send(
        created(),
        events.OutputItemAdded("resp_1", message("item_2")),
        events.OutputItemDone("resp_1", message("item_2", text="Good day.")),
        events.OutputItemAdded("resp_1", objects.Item("item_3", "function_call")),
        events.OutputItemDone("resp_1", call),
    )
    assert server.turns() == [
        ("item_2", "message", "assistant", "Good day."),
        ("item_3", "function_call", "", "{}"),
    ]


def test_a_text_that_is_only_done_is_in_the_conversation_and_answered() -> None:
    server = Server()
    text = objects.Item(
        f"{ASKS}1", "message", "user", content=[objects.Content("input_text", "Hi.")]
    )
    server.send(events.ItemDone(text))
    assert server.turns() == [(f"{ASKS}1", "message", "user", "Hi.")]
    assert server.reader.decisions.question_open


def test_an_item_that_is_only_spoken_is_in_the_conversation() -> None:
    server = Server()
    server.send(
        created(),
        events.AudioDelta("resp_1", "item_2", DELTA),
        events.TranscriptDone("resp_1", "item_2", "Good day."),
        events.CallDone("resp_1", "item_3", "c1", "weather", "{}"),
    )
    assert [turn[:3] for turn in server.turns()] == [
        ("item_2", "message", "assistant"),
        ("item_3", "function_call", ""),
    ]


def test_an_item_without_a_role_is_the_assistants() -> None:
    server = Server()
    server.send(created(), events.OutputItemDone("resp_1", message("item_2", None, "Yes.")))
    assert server.turns() == [("item_2", "message", "assistant", "Yes.")]


def test_an_item_out_of_band_is_not_in_the_conversation() -> None:
    server = Server()
    server.send(
        created("reply"),
        created("aside", None),
        events.OutputItemAdded("aside", message("item_2")),
        events.AudioDelta("aside", "item_2", DELTA),
        events.OutputItemDone("aside", message("item_2", text="Aside.")),
    )
    assert server.turns() == []


def test_a_deleted_item_does_not_come_back_with_late_audio() -> None:
    server = Server()
    server.send(
        created(),
        events.ItemAdded(message("item_2")),
        events.AudioDelta("resp_1", "item_2", DELTA),
        events.SpeechStarted(0, "item_3"),
        events.ItemDeleted("item_2"),
        events.AudioDelta("resp_1", "item_2", DELTA),
        events.TextDelta("resp_1", "item_2", "Good"),
    )
    assert server.turns() == []


def test_an_item_of_a_response_that_nobody_saw_begin_is_not_made_up() -> None:
    server = Server()
    server.send(events.AudioDelta("resp_0", "item_2", DELTA))
    assert server.turns() == []


def test_the_place_that_the_server_names_afterwards_counts() -> None:
    server = Server()
    server.send(
        events.ItemAdded(message("item_1", "user")),
        created(),
        events.OutputItemAdded("resp_1", message("item_2")),
        events.Committed("item_3", "item_1"),
        events.ItemAdded(message("item_3", "user"), "item_1"),
        events.ItemAdded(message("item_2"), "item_3"),
        events.OutputItemDone("resp_1", message("item_2", text="Good day.")),
        events.ItemDone(message("item_2", text="Good day."), "item_3"),
    )
    assert [turn[0] for turn in server.turns()] == ["item_1", "item_3", "item_2"]


def test_a_turn_that_is_only_committed_is_in_the_conversation() -> None:
    server = Server()
    server.send(events.Committed("item_1"), events.UserTranscript("item_1", "What is the tide?"))
    assert server.turns() == [("item_1", "message", "user", "What is the tide?")]


def test_a_turn_that_is_only_committed_and_has_no_words_is_reported() -> None:
    server = Server()
    server.send(
        events.SpeechStarted(0, "item_1"),
        events.SpeechStopped(1500, "item_1"),
        events.Committed("item_1"),
    )
    [turn] = server.reader.history.turns()
    assert turn.told
    assert turn.text == "[the person spoke for 1.5 s; no transcript]"


# turns without a name


def test_speech_without_a_place_or_a_name_interrupts() -> None:
    server = Server()
    server.send(created(), events.AudioDelta("resp_1", "item_2", DELTA))
    [flush] = [m for m in server.send(events.SpeechStarted()) if isinstance(m, messages.Flush)]
    assert flush.cause == "speech_started"
    assert not server.replies.state().speaking
    server.send(events.SpeechStopped(), events.Committed())
    assert [turn[0] for turn in server.turns()] == ["item_2"]


# texts that a person types


def text(name: str, role: str, words: str) -> objects.Item:
    content = [objects.Content("output_text" if role == "assistant" else "input_text", words)]
    return objects.Item(name, "message", role, "completed", content)


def asking(server: Server) -> bool:
    return bool(server.reader.decisions.decision().answer)


def test_a_text_is_shown_and_only_one_that_asks_is_answered() -> None:
    server = Server()
    for name, role in (("text_1", "user"), ("text_2", "assistant"), ("item_9", "user")):
        server.send(events.ItemAdded(text(name, role, "It rains.")))
    server.send(events.ItemAdded(text("text_3", "system", "Be brief.")))
    assert not asking(server)
    shown = server.send(events.ItemAdded(text("ask_4", "user", "Hello?")))
    assert [m.text for m in shown if isinstance(m, messages.Transcript)] == ["Hello?"]
    assert asking(server)
    assert [turn[0] for turn in server.turns()] == ["text_1", "text_2", "item_9", "text_3", "ask_4"]


def test_a_text_that_the_server_adds_twice_is_answered_once() -> None:
    server = Server()
    added = events.ItemAdded(text("ask_1", "user", "Hello?"))
    server.send(added, created(), events.ResponseDone(objects.Response("resp_1", "completed")))
    server.send(added)
    assert not asking(server)


# functions


def function(name: str = "call_1", status: str | None = "completed") -> objects.Item:
    return objects.Item(
        f"item_{name}", "function_call", None, status, name="clock", call_id=name, arguments="{}"
    )


def called(found: list[messages.Message]) -> list[str]:
    return [m.call_id for m in found if isinstance(m, messages.ToolCall)]


def test_a_call_is_run_when_its_item_is_complete() -> None:
    server = Server()
    server.send(created())
    arguments = events.CallDone("resp_1", "item_call_1", "call_1", "clock", "{}")
    assert called(server.send(arguments)) == []
    assert called(server.send(events.OutputItemDone("resp_1", function()))) == ["call_1"]
    # However often the server repeats it.
    again = (events.OutputItemDone("resp_1", function()), events.ItemDone(function()))
    assert called(server.send(*again)) == []
    done = events.ResponseDone(objects.Response("resp_1", "completed", "conv"))
    assert called(server.send(done)) == []


@pytest.mark.parametrize(("status", "run"), [("completed", ["call_1"]), ("cancelled", [])])
def test_a_call_that_only_its_arguments_end_is_run_with_its_response(
    status: str, run: list[str]
) -> None:
    server = Server()
    arguments = events.CallDone("resp_1", "item_call_1", "call_1", "clock", "{}")
    assert called(server.send(created(), arguments)) == []
    done = events.ResponseDone(objects.Response("resp_1", status, "conv"))
    assert called(server.send(done)) == run


@pytest.mark.parametrize(("status", "run"), [("completed", ["call_1"]), ("incomplete", [])])
def test_an_interrupted_responses_call_is_run_if_it_is_complete(
    status: str, run: list[str]
) -> None:
    server = Server()
    server.send(created())
    server.reader.flush("speech_started", 0)
    item = events.OutputItemDone("resp_1", function(status=status))
    assert called(server.send(item)) == run


def test_a_call_outside_the_conversation_is_not_run() -> None:
    server = Server()
    aside = objects.Response("resp_2", "in_progress", None)
    server.send(created(), events.ResponseCreated(aside))
    arguments = events.CallDone("resp_2", "item_call_1", "call_1", "clock", "{}")
    done = events.OutputItemDone("resp_2", function())
    assert called(server.send(arguments, done)) == []


def test_a_call_that_a_new_session_gets_with_the_history_is_not_run() -> None:
    assert called(Server().send(events.ItemAdded(function()), events.ItemDone(function()))) == []


MCP_ASKS = objects.Item(
    "mcpr_1", "mcp_approval_request", name="search", arguments="{}", server_label="docs"
)
MCP_CALL = objects.Item("mcp_1", "mcp_call", name="search", server_label="docs")


def tool_calls(sent: list[messages.Message]) -> list[messages.ToolCall]:
    return [each for each in sent if isinstance(each, messages.ToolCall)]


def test_a_servers_request_for_an_approval_is_passed_on_once_however_it_is_announced() -> None:
    announced = (
        events.ItemAdded(MCP_ASKS),
        events.ItemDone(MCP_ASKS),
        events.OutputItemDone("resp_1", MCP_ASKS),
    )
    for order in (announced, announced[::-1], announced[1:2], announced[2:]):
        [call] = tool_calls(Server().send(created(), *order))
        assert (call.action, call.call_id, call.name) == ("ask", "mcpr_1", "search")


def test_a_function_that_the_server_runs_is_shown_and_answered() -> None:
    server = Server()
    sent = server.send(
        created(),
        events.OutputItemAdded("resp_1", MCP_CALL),
        events.McpArguments("resp_1", "mcp_1", '{"word":"tea"}'),
        events.ResponseDone(objects.Response("resp_1", "completed", "conv")),
        events.McpBegan("mcp_1"),
    )
    [began] = tool_calls(sent)
    assert (began.action, began.server, began.payload) == ("server_runs", "docs", b'{"word":"tea"}')
    calls = server.reader.decisions.calls
    assert not calls.ready()
    [ended] = tool_calls(server.send(events.McpCompleted("mcp_1"), events.McpFailed("mcp_1")))
    assert (ended.action, ended.call_id, ended.ok) == ("server_ran", "mcp_1", True)
    assert calls.ready()


def test_a_failure_at_the_servers_own_mcp_servers_is_reported_once() -> None:
    server = Server()
    fine = objects.Item("mcpl_1", "mcp_list_tools", server_label="docs")
    failed = objects.Item("mcpl_2", "mcp_list_tools", server_label="docs", error={"message": "no"})
    broken = objects.Item(
        "mcp_1", "mcp_call", name="search", server_label="docs", error="it is away"
    )
    server.send(events.ItemDone(fine), events.ItemDone(failed), events.McpListFailed("mcpl_2"))
    server.send(events.OutputItemDone("resp_1", broken), events.ItemDone(broken))
    silent = objects.Item("mcpl_3", "mcp_list_tools", server_label="files")
    server.send(events.ItemAdded(silent), events.McpListFailed("mcpl_3"))
    assert server.said == [
        "MCP server 'docs': its list of functions failed: no",
        "MCP server 'docs': its function search failed: it is away",
        "MCP server 'files': its list of functions failed",
    ]


# audio without names


def played(sent: list[messages.Message]) -> list[tuple[str, str]]:
    return [
        (each.response_id, each.item_id) for each in sent if isinstance(each, messages.ReplyAudio)
    ]


@pytest.mark.parametrize(("response_id", "item_id"), [("", ""), ("resp_1", ""), ("", "item_1")])
def test_audio_without_names_belongs_to_the_response_under_way(
    response_id: str, item_id: str
) -> None:
    server = Server()
    server.send(created(), events.OutputItemAdded("resp_1", message("item_1")))
    sent = server.send(events.AudioDelta(response_id, item_id, DELTA))
    assert played(sent) == [("resp_1", "item_1")]
    server.send(events.TextDelta("", "", "Hello"), events.AudioDone("", ""))
    assert [item.done for item in server.replies.state().items] == [True]
    assert server.turns() == [("item_1", "message", "assistant", "Hello")]
    # An interruption ends it like any other audio.
    server.send(events.SpeechStarted(audio_start_ms=0))
    assert played(server.send(events.AudioDelta("", "", DELTA))) == []
    assert server.said == []


def test_an_item_that_the_server_never_names_has_a_name_of_ours() -> None:
    server = Server()
    delta = events.AudioDelta("", "", DELTA)
    assert played(server.send(created(), delta, delta)) == [
        ("resp_1", "item_without_id_of_resp_1"),
        ("resp_1", "item_without_id_of_resp_1"),
    ]


@pytest.mark.parametrize("responses", [[], ["resp_1", "resp_2"]])
def test_audio_without_names_is_dropped_unless_one_response_is_under_way(
    responses: list[str],
) -> None:
    server = Server()
    server.send(*(created(name) for name in responses))
    assert played(server.send(events.AudioDelta("", "", DELTA))) == []
    assert server.said == [
        "the server does not say to which of its responses audio or words belong"
    ]
