"""The conversation as heard: what is in it, in which order, and how long it may become."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink import events, history, history_item, objects
from services.downlink.history import History
from shared import codec, messages
from shared.audio.pcm import RATE

pytestmark = pytest.mark.unit

TEXT = "one two three four five six seven eight nine ten"


def item(
    item_id: str, role: str | None = "user", kind: str = "message", **fields: Any
) -> objects.Item:
    return objects.Item(item_id, kind, role if kind == "message" else None, **fields)


def heard_item(name: str, heard: int, received: int, *, done: bool = True) -> messages.HeardItem:
    return messages.HeardItem(name, 0, heard, received, done)


class Rig:
    """A history, and methods that let things happen to it."""

    def __init__(self, session: int = 1) -> None:
        self.history = History()
        self.history.begin_session(session)

    def person(self, name: str, text: str | None = None, ms: int = 0) -> None:
        """Let the person speak, for ``ms``. ``text``: the server's transcript, if there is one."""
        if ms:
            self.history.speech_started(events.SpeechStarted(1000, name))
            self.history.speech_stopped(events.SpeechStopped(1000 + ms, name))
        content = [objects.Content("input_audio")]
        self.history.item_added(events.ItemAdded(item(name, content=content)))
        self.history.item_done(events.ItemDone(item(name, content=content)))
        if text is not None:
            self.words(name, text, role="user")

    def words(self, name: str, text: str, *, role: Any = "assistant", final: bool = True) -> None:
        self.history.transcript(
            messages.Transcript(session=1, item_id=name, role=role, text=text, final=final)
        )

    def reply(
        self, name: str, text: str = TEXT, seconds: float = 10, *, final: bool = True
    ) -> None:
        """Let the assistant speak. With ``final`` false, more audio and words may come."""
        self.history.item_added(events.ItemAdded(item(name, "assistant", content=[])))
        self.words(name, text, final=final)
        self.received(name, seconds, done=final)

    def received(self, name: str, seconds: float, *, done: bool, late: bool = False) -> None:
        state = messages.ItemState("r", name, 0, round(seconds * RATE), done, False, False, late)
        self.history.reply_state(
            messages.ReplyState(generation=1, session=1, active=[], items=[state])
        )

    def heard(self, name: str, seconds: float, of: float = 10, *, done: bool = True) -> None:
        seen = heard_item(name, round(seconds * RATE), round(of * RATE), done=done)
        self.history.heard(messages.Heard(generation=1, session=1, playing=True, items=[seen]))

    def flush_report(self, name: str, seconds: float, of: float = 10, *, done: bool = True) -> None:
        seen = heard_item(name, round(seconds * RATE), round(of * RATE), done=done)
        self.history.flush_report(
            messages.FlushReport(
                generation=2,
                session=1,
                cause="speech_started",
                event_ns=1,
                flush_ns=2,
                received_ns=3,
                silent_ns=4,
                latency_ns=5,
                items=[seen],
            )
        )

    def flush(self, *names: str, session: int = 1) -> None:
        received = [messages.Received(name, 0, 10 * RATE, True) for name in names]
        self.history.flushed(
            messages.Flush(
                generation=2,
                session=session,
                cause="speech_started",
                event_ns=1,
                received=received,
                interrupted=[],
                active=[],
            )
        )

    def call(self, name: str, call_id: str, *, status: str = "completed") -> None:
        fields = {"call_id": call_id, "name": "weather"}
        self.history.item_added(events.ItemAdded(item(name, None, "function_call", **fields)))
        fields |= {"arguments": '{"city":"Bern"}', "status": status}
        self.history.item_done(events.ItemDone(item(name, None, "function_call", **fields)))

    def output(self, name: str, call_id: str, output: str = "rain") -> None:
        given = item(name, None, "function_call_output", call_id=call_id, output=output)
        self.history.item_added(events.ItemAdded(given))

    def turns(self) -> dict[str, messages.HistoryTurn]:
        """Return the turns that a session gets, by item, after a way over the bus."""
        turns = self.history.turns()
        assert codec.read_turns(codec.write_turns(turns)) == turns
        return {turn.item_id: turn for turn in turns if turn.told}

    def said(self, name: str) -> str:
        turn = self.turns().get(name)
        return "" if turn is None else turn.text


# the person


def test_the_words_of_the_person_are_kept() -> None:
    rig = Rig()
    rig.person("a", "What is the tide?", ms=1500)
    turn = rig.turns()["a"]
    assert (turn.kind, turn.role, turn.text) == ("message", "user", "What is the tide?")


def test_a_turn_without_a_transcript_gets_a_placeholder() -> None:
    rig = Rig()
    rig.person("a", ms=2340)
    rig.person("b")
    assert rig.said("a") == "[the person spoke for 2.3 s; no transcript]"
    assert rig.said("b") == "[the person spoke; no transcript]"
    # A transcript that comes later replaces the placeholder.
    rig.words("a", "Hello.", role="user")
    assert rig.said("a") == "Hello."


def test_a_noise_in_which_there_were_no_words_is_left_out() -> None:
    rig = Rig()
    rig.person("a", " ", ms=300)
    assert rig.turns() == {}


def test_words_that_come_before_their_item_are_kept_for_it() -> None:
    rig = Rig()
    rig.words("a", "Early.", role="user")
    rig.person("a")
    assert rig.said("a") == "Early."


def test_the_history_has_written_turns_and_no_pictures() -> None:
    rig = Rig()
    rig.history.item_done(
        events.ItemDone(item("a", content=[objects.Content("input_text", "Hello")]))
    )
    rig.history.item_done(
        events.ItemDone(item("b", "system", content=[objects.Content("input_text", "Be")]))
    )
    rig.history.item_done(events.ItemDone(item("c", content=[objects.Content("input_image")])))
    assert {name: (t.role, t.text) for name, t in rig.turns().items()} == {
        "a": ("user", "Hello"),
        "b": ("system", "Be"),
    }


# the assistant, as heard


def test_a_reply_that_was_heard_whole_is_kept_whole() -> None:
    rig = Rig()
    rig.reply("a")
    rig.heard("a", 10)
    assert rig.said("a") == TEXT


def test_a_cut_reply_keeps_the_words_that_were_heard() -> None:
    rig = Rig()
    rig.reply("a")
    rig.heard("a", 4)
    rig.flush("a")
    rig.flush_report("a", 5)
    assert TEXT.startswith(rig.said("a"))
    assert len(rig.said("a")) == pytest.approx(len(TEXT) / 2, abs=7)


def test_a_reply_that_was_not_heard_is_left_out() -> None:
    rig = Rig()
    rig.reply("a")
    rig.flush_report("a", 0)
    rig.reply("b")
    rig.received("b", 10, done=True, late=True)
    assert rig.turns() == {}
    # Both are listed as not told, so that uplink can take them out of a session.
    assert [turn.item_id for turn in rig.history.turns()] == ["a", "b"]


def test_the_history_has_a_playing_reply_as_far_as_it_has_come() -> None:
    rig = Rig()
    rig.reply("a")
    rig.heard("a", 2)
    assert rig.said("a") == TEXT
    # After a flush and before its report, what playback reported last counts.
    rig.flush("a")
    assert 0 < len(rig.said("a")) < len(TEXT) / 2
    rig.flush_report("a", 9)
    assert len(rig.said("a")) > len(TEXT) / 2


def test_the_history_has_a_reply_that_the_loss_cut_up_to_its_last_audio() -> None:
    rig = Rig()
    # 1 s of audio came, and the text ran ahead of it.
    rig.reply("a", TEXT, 1, final=False)
    rig.history.begin_session(2)
    # Playback learns that no more will come, and plays the item to its end.
    rig.heard("a", 1, of=1)
    assert 0 < len(rig.said("a")) < len(TEXT) / 2


def test_a_reply_of_an_older_session_can_still_be_talked_over() -> None:
    rig = Rig()
    rig.reply("a")
    rig.heard("a", 1)
    rig.history.begin_session(2)
    assert rig.said("a") == TEXT
    before = rig.turns()["a"].new_id
    # Replies of the new session has no items, so the flush lists none.
    rig.flush(session=2)
    rig.flush_report("a", 5)
    assert len(rig.said("a")) == pytest.approx(len(TEXT) / 2, abs=7)
    assert rig.turns()["a"].new_id != before


def test_the_first_flush_report_fixes_the_playhead() -> None:
    rig = Rig()
    rig.reply("a")
    rig.flush_report("a", 5)
    said = rig.said("a")
    rig.heard("a", 10)
    rig.flush_report("a", 8)
    assert rig.said("a") == said


def test_a_playback_that_was_restarted_takes_nothing_back() -> None:
    rig = Rig()
    rig.reply("a")
    rig.heard("a", 5)
    rig.flush_report("a", 0)
    assert len(rig.said("a")) == pytest.approx(len(TEXT) / 2, abs=7)


def test_a_reply_in_writing_is_kept_whole() -> None:
    rig = Rig()
    rig.history.item_added(events.ItemAdded(item("a", "assistant", content=[])))
    rig.words("a", "Written.")
    assert rig.said("a") == "Written."


# calls


def test_a_call_is_kept_with_what_came_of_it() -> None:
    rig = Rig()
    rig.call("a", "call_1")
    rig.output("b", "call_1")
    call, output = rig.turns().values()
    assert (call.kind, call.name, call.call_id) == ("function_call", "weather", "call_1")
    assert call.text == '{"city":"Bern"}'
    assert (output.kind, output.call_id, output.text) == ("function_call_output", "call_1", "rain")


def test_the_history_has_neither_an_interrupted_call_nor_its_output() -> None:
    rig = Rig()
    rig.call("a", "call_1", status="incomplete")
    rig.output("b", "call_1")
    rig.output("c", "call_2")
    assert rig.turns() == {}


def test_the_history_has_an_empty_output() -> None:
    rig = Rig()
    rig.call("a", "call_1")
    rig.output("b", "call_1", "")
    assert list(rig.turns()) == ["a", "b"]


# order


def test_items_are_where_the_server_has_them() -> None:
    rig = Rig()
    for name, previous in [("a", None), ("c", "a"), ("b", "a"), ("d", "c"), ("e", "unknown")]:
        rig.history.item_added(
            events.ItemAdded(item(name, content=[objects.Content("input_audio")]), previous)
        )
    assert list(rig.turns()) == ["a", "b", "c", "d", "e"]


def test_turns_that_a_new_session_lacks_come_before_its_own_turns() -> None:
    rig = Rig()
    rig.person("a", "One.")
    rig.reply("b")
    rig.flush_report("b", 0)
    restored(rig, 2)
    known_as = rig.turns()["a"].known_as
    for name in ("c", "d"):
        rig.history.item_added(
            events.ItemAdded(item(name, content=[objects.Content("input_audio")]), known_as)
        )
        known_as = name
    assert [turn.item_id for turn in rig.history.turns()] == ["a", "b", "c", "d"]


def test_a_deleted_item_is_gone() -> None:
    rig = Rig()
    rig.person("a", "One.")
    rig.person("b", "Two.")
    rig.history.item_deleted(events.ItemDeleted("a"))
    assert list(rig.turns()) == ["b"]


# sessions


def restored(rig: Rig, session: int) -> None:
    """Put the turns into another session, as uplink does."""
    turns = rig.turns().values()
    rig.history.begin_session(session)
    for turn in turns:
        rig.history.item_added(events.ItemAdded(item(turn.new_id, turn.role, turn.kind)))


def test_a_restored_turn_is_the_same_turn() -> None:
    rig = Rig()
    rig.person("a", "One.")
    rig.reply("b")
    before = list(rig.turns())
    restored(rig, 2)
    turns = rig.turns()
    assert list(turns) == before
    for turn in turns.values():
        assert (turn.session, turn.known_as) == (2, turn.new_id)
    # An item that follows a restored one is placed after it.
    rig.history.item_added(
        events.ItemAdded(item("c", content=[objects.Content("input_audio")]), turns["b"].new_id)
    )
    assert list(rig.turns()) == ["a", "b", "c"]
    assert (rig.turns()["c"].session, rig.turns()["c"].known_as) == (2, "c")


def test_a_deleted_turn_is_held_by_no_session() -> None:
    rig = Rig()
    rig.person("a", "One.")
    restored(rig, 2)
    rig.history.item_deleted(events.ItemDeleted(rig.turns()["a"].known_as))
    assert rig.turns()["a"].known_as == ""


def test_another_process_learns_it_all_again() -> None:
    rig = Rig()
    rig.person("a", "One.", ms=900)
    rig.person("b", ms=900)
    rig.reply("c")
    rig.flush_report("c", 5)
    rig.reply("d")
    rig.call("e", "call_1")
    rig.output("f", "call_1")
    rig.call("g", "call_2", status="incomplete")
    rig.reply("h")
    rig.flush_report("h", 0)
    kept = rig.history.turns()
    again = Rig()
    # The turns that this downlink read itself come after the saved ones.
    again.person("i", "Later.")
    again.history.relearn(kept)
    assert again.history.turns()[:-1] == kept
    assert list(again.turns()) == ["a", "b", "c", "d", "e", "f", "i"]
    # A reply that still plays can be cut.
    again.flush_report("d", 5)
    assert len(again.said("d")) == pytest.approx(len(TEXT) / 2, abs=7)
    # Replies that uplink puts into a new session are recognised.
    restored(again, 2)
    assert {turn.session for turn in again.turns().values()} == {2}


def test_the_end_of_a_text_does_not_replace_what_was_known_of_it() -> None:
    rig = Rig()
    rig.reply("a", "one two three", final=False)
    again = Rig()
    again.history.relearn(rig.history.turns())
    again.words("a", " four", final=False)
    assert again.said("a") == "one two three"
    again.words("a", "one two three four")
    assert again.said("a") == "one two three four"


def test_the_same_words_of_the_same_item_get_the_same_id() -> None:
    one, two = Rig(), Rig(7)
    for rig in (one, two):
        rig.person("a", "Yes.")
        rig.person("b", "Yes.")
    ids = [turn.new_id for turn in one.turns().values()]
    assert [turn.new_id for turn in two.turns().values()] == ids
    assert len(set(ids)) == 2
    # The server accepts ids of up to 32 characters.
    assert all(len(each) <= 32 for each in ids)


def test_an_item_does_not_become_another() -> None:
    rig = Rig()
    rig.call("a", "call_1")
    rig.output("a", "call_1", "rain")
    assert [(turn.kind, turn.text) for turn in rig.turns().values()] == [
        ("function_call", '{"city":"Bern"}')
    ]


# limits


def test_the_oldest_are_dropped_first() -> None:
    rig = Rig()
    for number in range(history.MAX_TURNS + 5):
        rig.person(f"item {number}", "Yes.")
    assert list(rig.turns()) == [f"item {n}" for n in range(5, history.MAX_TURNS + 5)]


def test_a_long_text_is_cut_and_takes_no_more_than_its_share() -> None:
    rig = Rig()
    rig.person("a", "First.")
    rig.call("b", "call_1")
    rig.output("c", "call_1", "x" * 1_000_000)
    assert len(rig.said("c")) == history_item.MAX_TEXT
    assert list(rig.turns()) == ["a", "b", "c"]


def test_a_call_with_endless_arguments_is_left_out_with_its_output() -> None:
    rig = Rig()
    endless = {"call_id": "call_1", "arguments": '"' + "x" * history_item.MAX_TEXT + '"'}
    call = item("a", None, "function_call", name="f", status="completed", **endless)
    rig.history.item_done(events.ItemDone(call))
    rig.output("b", "call_1")
    assert rig.turns() == {}


# in any order


def named(kind: str) -> st.SearchStrategy[str]:
    return st.integers(0, 5).map(lambda number: f"{kind}_{number}")


people, replies = named("person"), named("reply")
names = st.one_of(people, replies, named("call"), named("output"))
texts = st.sampled_from(["", "Yes.", TEXT, "x" * 3000, "word " * 3000])
times = st.integers(0, 10)
STEPS = {
    "person": st.tuples(people, st.none() | texts, st.integers(0, 5000)),
    "reply": st.tuples(replies, texts, times),
    "words": st.tuples(names, texts),
    "received": st.tuples(names, times),
    "heard": st.tuples(names, times),
    "flush_report": st.tuples(names, times),
    "flush": st.tuples(names),
    "call": st.tuples(named("call"), st.sampled_from(["call_1", "call_2"])),
    "output": st.tuples(named("output"), st.sampled_from(["call_1", "call_2"]), texts),
    "delete": st.tuples(names),
    "restored": st.tuples(),
    "relearn": st.tuples(),
}
steps = st.lists(
    st.sampled_from(sorted(STEPS)).flatmap(
        lambda step: STEPS[step].map(lambda arguments: (step, arguments))
    ),
    max_size=60,
)


@given(steps)
def test_messages_in_any_order_stay_in_order_and_within_the_limits(
    came: list[tuple[str, tuple[Any, ...]]],
) -> None:
    rig = Rig()
    order: list[str] = []
    before: list[messages.HistoryTurn] = []
    for step, arguments in came:
        if step == "received":
            rig.received(*arguments, done=True)
        elif step == "delete":
            rig.history.item_deleted(events.ItemDeleted(*arguments))
        elif step == "restored":
            restored(rig, rig.history.session + 1)
        elif step == "relearn":
            session, kept = rig.history.session, rig.history.turns()
            rig = Rig(session)
            rig.history.relearn(kept)
        else:
            getattr(rig, step)(*arguments)
        changed = rig.history.changed
        turns = rig.history.turns()
        # Without a change there is nothing to publish.
        assert changed or turns == before
        before = turns
        found = [turn.item_id for turn in turns]
        assert len(set(found)) == len(found) <= history.MAX_TURNS
        assert sum(len(turn.text) for turn in turns) <= history.MAX_CHARS
        assert all(len(turn.text) <= history_item.MAX_TEXT for turn in turns)
        assert len({turn.new_id for turn in turns}) == len(turns)
        # The items that stay keep their order, and new items come after them.
        assert [name for name in order if name in found] == [n for n in found if n in order]
        assert found[: len([n for n in found if n in order])] == [n for n in found if n in order]
        order = found
        calls: set[str] = set()
        for turn in turns:
            if turn.kind == "function_call" and turn.told:
                calls.add(turn.call_id)
            elif turn.kind == "function_call_output":
                assert turn.call_id in calls
            if turn.known_as not in ("", turn.item_id):
                assert turn.session <= rig.history.session
        rig.turns()
