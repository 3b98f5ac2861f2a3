"""What the console shows, from the messages on the bus."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from commands.console.app import render
from commands.console.model import QUIET_DB, REMEMBERED, Entry, Model
from shared import codec, messages, registry
from shared.audio import pcm

pytestmark = pytest.mark.unit

RATE = 24_000
OPEN = messages.LinkState(state="open", session=1)
RUN = messages.ToolRun("call_1", "delete", "asking", number="3", summary="delete('a')")


def said(item_id: str, text: str, role: str = "assistant", **more: object) -> messages.Transcript:
    made = {"session": 1, "item_id": item_id, "role": role, "text": text, "final": True} | more
    return messages.Transcript(**made)  # type: ignore[arg-type]


def heard(item_id: str, *, playing: bool = True) -> messages.Heard:
    item = messages.HeardItem(item_id, 0, RATE, RATE, True)
    return messages.Heard(generation=1, session=1, playing=playing, items=[item])


def reply(*active: str, speaking: bool = False) -> messages.ReplyState:
    return messages.ReplyState(
        generation=1, session=1, active=list(active), items=[], speaking=speaking
    )


def shown(*taken: messages.Message) -> list[Entry]:
    model = Model()
    for message in taken:
        model.take(registry.of(type(message)), message, 0.0)
    return list(model.entries.values())


def test_the_state_is_in_words() -> None:
    model = Model()
    assert "bin/start" in model.state()
    states = []
    for message in (
        OPEN,
        reply(speaking=True),
        reply("resp_1"),
        heard("a"),
        messages.ToolState(calls=[messages.ToolRun("call_1", "clock", "running")]),
        messages.ToolState(calls=[RUN]),
        messages.ToolState(),
        heard("a", playing=False),
        reply(),
        messages.Panel(muted=True),
        messages.LinkState(state="waiting", reason="no network", retry_ms=2000),
        messages.LinkState(state="asleep", reason="the conversation sleeps"),
    ):
        model.take(registry.of(type(message)), message, 0.0)
        states.append(model.state())
    assert states == [
        "listening",
        "hearing you",
        "thinking",
        "speaking",
        "calling clock",
        "a function waits for your approval",
        "speaking",
        "thinking",
        "listening",
        "muted",
        "no connection: no network; trying again in 2 s",
        "the conversation sleeps",
    ]


def test_a_reply_that_was_cut_keeps_the_unheard_words_apart() -> None:
    [entry] = shown(said("a", "One two", heard="One", unheard=" two"))
    assert entry == Entry("a", "assistant", "One", " two")
    text = render(entry)
    assert text.plain == "assistant: One ✂ two"
    assert any("strike" in str(span.style) for span in text.spans)


def test_the_persons_words_stand_before_the_answer() -> None:
    question, answer = said("u", "What?", "user"), said("a", "That.")
    entries = shown(reply(speaking=True), reply(), answer, heard("a"), question)
    assert [(entry.key, entry.before) for entry in entries] == [("a", ""), ("u", "a")]
    *_, late = shown(answer, heard("a"), question, said("t", "typed", "user"))
    assert late == Entry("t", "you", "typed")


def test_a_function_and_its_outcome_are_one_entry() -> None:
    done = messages.ToolResult(call_id="call_1", name="delete", summary=RUN.summary, took_ms=1500)
    model = Model()
    for message in (messages.ToolState(calls=[RUN]), done, messages.ToolState()):
        model.take(registry.of(type(message)), message, 0.0)
    assert [entry.text for entry in model.changes()] == ["delete('a'): done after 1.5 s"]
    assert model.asking is None
    [waiting] = shown(messages.ToolState(calls=[RUN]))
    assert waiting.text == "delete('a'): waits for your approval"


@pytest.mark.parametrize(
    ("later", "text"),
    [
        ("", "waits for your approval"),
        ("approved", "approved"),
        ("approved runs", "runs"),
        ("approved runs outcome", "done after 1.5 s: a is gone"),
        ("approved runs outcome none", "done after 1.5 s: a is gone"),
        ("denied none", "denied"),
        # The bus has no order between the states of the calls and their results.
        ("none denied", "denied"),
        ("denied waits none", "denied"),
        ("approved outcome waits runs none", "done after 1.5 s: a is gone"),
        # Tools was started again: no result comes.
        ("none", "ended"),
        ("approved runs none", "ended"),
    ],
)
def test_a_call_that_a_button_approves_or_denies_shows_what_came_of_it(
    later: str, text: str
) -> None:
    def result(what: str, *, ok: bool = True, said: str = "") -> messages.ToolResult:
        return messages.ToolResult(
            what=what,  # type: ignore[arg-type]
            call_id="call_1",
            name="delete",
            summary=RUN.summary,
            ok=ok,
            took_ms=1500,
            payload=codec.write_output(messages.ToolOutput(said)),
        )

    told: dict[str, messages.Message] = {
        "waits": messages.ToolState(calls=[RUN]),
        "approved": result("approval"),
        "denied": result("approval", ok=False),
        "runs": messages.ToolState(calls=[replace(RUN, state="running")]),
        "outcome": result("outcome", said="a is\ngone"),
        "none": messages.ToolState(),
    }
    model = Model()
    for message in (result("model_only", said="ask"), told["waits"], *map(told.get, later.split())):
        assert message is not None
        model.take(registry.of(type(message)), message, 0.0)
    assert [entry.text for entry in model.changes()] == [f"delete('a'): {text}"]


def test_a_late_console_shows_what_was_said_before() -> None:
    turns = [
        messages.HistoryTurn("u", "message", "user", "What?"),
        messages.HistoryTurn("a", "message", "assistant", "That is"),
        messages.HistoryTurn("c", "function_call", "", "{}"),
    ]
    history = messages.History(session=1, payload=codec.write_turns(turns))
    later = messages.History(session=1, payload=codec.write_turns(turns[:1]))
    entries = shown(history, said("a", "That is a tower."), heard("a"), later)
    assert [(e.who, e.text) for e in entries] == [
        ("you", "What?"),
        ("assistant", "That is a tower."),
    ]


def test_only_changes_are_drawn_and_old_entries_are_forgotten() -> None:
    model = Model()
    for number in range(REMEMBERED + 5):
        model.add("note", str(number))
    assert len(model.entries) == len(model.changes()) == REMEMBERED
    assert model.changes() == []


def test_nothing_of_a_server_reaches_the_terminal() -> None:
    text = render(Entry("a", "assistant", "x\x1b[2J\n[red]y", "z\x9b"))
    assert text.plain == "assistant: x\\u001b[2J [red]y ✂ z\\u009b"


def test_a_meter_shows_the_level_and_falls() -> None:
    model = Model()
    loud = b"\xff\x3f" * 480  # half of full scale, -6 dBFS
    frame = messages.MicClean(stream=1, position=0, captured_ns=0, overflows=0, payload=loud)
    model.take(registry.of(messages.MicClean), frame, 10.0)
    assert model.you.level_db(10.0) == pytest.approx(pcm.dbfs(loud))
    assert model.you.bar(10, 10.0) == "█████████░"
    assert model.you.level_db(10.5) == pytest.approx(pcm.dbfs(loud) - 15)
    assert model.you.level_db(12.0) == QUIET_DB
    assert model.assistant.bar(4, 10.0) == "░░░░"
