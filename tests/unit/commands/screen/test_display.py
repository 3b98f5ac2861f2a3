"""What a conversation shows, from the messages on the bus."""

from __future__ import annotations

import pytest

from commands.screen.__main__ import rows
from commands.screen.captions import CUT_S, Caption, Captions
from commands.screen.display import READY_S, UNTRANSCRIBED, WORDS_S, Display
from commands.screen.writing import Pipe
from shared import codec, messages, registry

pytestmark = pytest.mark.unit

WORDS = "The tide comes in twice a day."
RATE = 24_000
READY = "Speak: I'm listening."


def said(text: str = WORDS, role: str = "assistant", **fields: object) -> messages.Transcript:
    made = {"session": 1, "item_id": "a", "final": True, "role": role, "text": text} | fields
    return messages.Transcript(**made)  # type: ignore[arg-type]


def heard(seconds: float, of: float = 4.0, *, done: bool = True) -> messages.Heard:
    item = messages.HeardItem("a", 0, int(seconds * RATE), int(of * RATE), done)
    return messages.Heard(generation=1, session=1, playing=True, items=[item])


def cut(
    heard_ms: int = 5192, received_ms: int = 20850, silent_ns: int = 10**9 + 4_000_000
) -> messages.Interruption:
    return messages.Interruption(
        generation=2,
        session=1,
        cause="speech_started",
        flush_ns=0,
        received_ns=0,
        reports=[messages.ItemReport("a", 0, heard_ms, received_ms, "truncate", heard_ms)],
        cancelled=[],
        event_ns=10**9,
        silent_ns=silent_ns,
        latency_ns=8_000_000,
    )


class Screen:
    """A display that writes into a pipe, and its clock."""

    def __init__(self, *, ready: bool = True, transcribes: bool = True) -> None:
        self.display = Display(Pipe(), ready=READY, transcribes=transcribes)
        self.now = 0.0
        if ready:
            self.take(messages.LinkState(state="open", session=1))
            self.well()

    def take(self, message: messages.Message, topic: registry.Topic | None = None) -> str:
        row = topic or registry.of(type(message))
        return self.display.take(row, message, self.now)

    def well(self, stages: tuple[str, ...] = registry.STAGES) -> str:
        health = messages.Health(pid=1, ok=True, state="", counters={})
        return "".join(self.take(health, registry.health(stage)) for stage in stages)

    def wait(self, seconds: float) -> str:
        self.now += seconds
        return self.display.tick(self.now)


def test_a_caption_grows_as_it_is_heard() -> None:
    captions = Captions()
    assert captions.transcript(said()) == []
    lengths = []
    for tenth in range(0, 41, 4):
        lengths += [len(c.text) for c in captions.heard(heard(tenth / 10))]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == len(WORDS)
    assert captions.heard(heard(4.0)) == []
    # downlink says again what was heard
    assert captions.transcript(said(heard=WORDS)) == []


def test_a_caption_that_was_cut_keeps_the_rest_apart() -> None:
    captions = Captions()
    captions.transcript(said(final=False))
    captions.heard(heard(2.0, done=False))
    [caption] = captions.transcript(said(heard="The tide comes", unheard=" in twice a day."))
    assert caption == Caption("a", "assistant", "The tide comes", " in twice a day.", over=True)
    assert captions.heard(heard(2.5)) == []


def test_the_words_of_a_server_that_sends_them_late_are_not_over_too_soon() -> None:
    captions = Captions()
    [half] = captions.transcript(said("The tide", heard="The tide", final=False))
    assert not half.over
    [whole] = captions.transcript(said(heard=WORDS))
    assert whole.over


def test_words_that_nobody_speaks_are_shown_as_they_come() -> None:
    captions = Captions()
    for words, final in (("The tide", False), (WORDS, True)):
        [caption] = captions.transcript(said(words, written=True, final=final))
        assert caption == Caption("a", "assistant", words, over=final)


def test_it_is_ready_when_all_stages_are_well_and_the_session_is_open() -> None:
    screen = Screen(ready=False)
    assert screen.well(registry.STAGES[:-1]) == ""
    assert screen.take(messages.LinkState(state="open", session=1)) == ""
    unwell = messages.Health(pid=1, ok=False, state="no speaker", counters={})
    assert screen.take(unwell, registry.health(registry.STAGES[-1])) == ""
    assert screen.well(registry.STAGES[-1:]) == f"{READY}\n"
    assert screen.well() == ""


def test_it_says_why_the_persons_words_are_not_shown() -> None:
    screen = Screen(ready=False, transcribes=False)
    screen.take(messages.LinkState(state="open", session=1))
    assert screen.well() == f"{READY}\n{UNTRANSCRIBED}\n"


def test_a_greeting_comes_after_the_line_that_says_ready() -> None:
    screen = Screen(ready=False)
    screen.take(messages.LinkState(state="open", session=1))
    assert screen.take(said()) + screen.take(heard(4.0)) == ""
    assert screen.well() == f"{READY}\nassistant: {WORDS}\n"
    broken = Screen(ready=False)
    broken.take(said())
    broken.take(heard(4.0))
    assert broken.wait(READY_S + 0.1) == f"assistant: {WORDS}\n"


def test_an_interruption_comes_after_the_words_that_were_heard() -> None:
    words = said(heard="The tide comes", unheard=" in twice a day.")
    line = "assistant: The tide comes …\n  (stopped in 12 ms, heard 5.2 of 20.9 s)\n"
    for first, second in ((words, cut()), (cut(), words)):
        screen = Screen()
        screen.take(said())
        screen.take(heard(2.0))
        assert screen.take(first) + screen.take(second) == line
    without = Screen()
    assert without.take(cut(heard_ms=0, silent_ns=0)) == ""
    shown = without.wait(CUT_S + 0.1)
    assert shown == "  (stopped (in a time that is not known), nothing was heard)\n"


def test_an_answer_waits_for_the_words_that_it_answers() -> None:
    speaking = messages.ReplyState(generation=1, session=1, active=[], items=[], speaking=True)
    silent = messages.ReplyState(generation=1, session=1, active=[], items=[])
    question = said("What is the tide?", "user", item_id="u")
    answered = f"assistant: {WORDS}\n"
    for transcribes, at_once in ((True, ""), (False, answered)):
        screen = Screen(transcribes=transcribes)
        screen.take(speaking)
        screen.take(silent)
        screen.take(said())
        assert screen.take(heard(4.0)) == at_once
        assert screen.wait(WORDS_S / 2) == ""
        rest = answered if transcribes else ""
        assert screen.take(question) == f"you: What is the tide?\n{rest}"


def test_a_fault_is_shown_with_what_to_do() -> None:
    screen = Screen()
    assert screen.display.process("log", "vad", "the speaker is too loud: lower it", 1.0) == ""
    assert screen.wait(5.0) == "! vad: the speaker is too loud: lower it\n"
    shown = screen.display.process("launcher", "vad", "is started again in 0.2 s", 6.0)
    assert shown == "! vad is started again in 0.2 s\n"
    screen.display.process("log", "link", "wss://x: the key is wrong", 7.0)
    assert screen.display.end() == "! link: wss://x: the key is wrong\n"


def test_a_fault_of_a_process_that_no_conversation_needs_is_shown() -> None:
    screen = Screen()
    topic = next(row for row in rows() if row.name == "tools.health")
    state = "no functions; home: no connection to this MCP server"
    assert screen.take(messages.Health(pid=1, ok=False, state=state, counters={}), topic) == ""
    assert screen.wait(4.0) == f"! tools: {state}\n"
    assert screen.take(messages.Health(pid=1, ok=True, state="", counters={}), topic) == (
        "! tools: well again\n"
    )


def test_a_function_and_what_it_returned_are_one_line() -> None:
    display = Display(Pipe(), ready=READY, transcribes=False)
    topic = registry.of(messages.ToolResult)
    for output in (messages.ToolOutput("It is\nnoon."), messages.ToolOutput("x" * 500)):
        result = messages.ToolResult(name="clock", payload=codec.write_output(output))
        shown = display.take(topic, result, 0.0)
        assert shown.startswith("  (function clock: ")
        assert shown.endswith(")\n")
        assert len(shown.splitlines()) == 1
        assert len(shown) < 160
    # A notice of a function is heard.
    notice = messages.ToolResult(
        what="notice", payload=codec.write_output(messages.ToolOutput("x"))
    )
    assert display.take(topic, notice, 0.0) == ""
    assert display.take(topic, messages.ToolResult(payload=b"{"), 0.0) == ""


def test_the_persons_answer_and_what_came_of_it_are_lines() -> None:
    screen = Screen()
    done = codec.write_output(messages.ToolOutput("a is gone"))
    model_only = messages.ToolResult(what="model_only", name="delete", payload=done)
    assert screen.take(model_only) == ""
    for ok, word in ((True, "approved"), (False, "denied")):
        answer = messages.ToolResult(what="approval", name="delete", ok=ok)
        assert screen.take(answer) == f"  (function delete: {word})\n"
    outcome = messages.ToolResult(what="outcome", name="delete", payload=done)
    assert screen.take(outcome) == "  (function delete: a is gone)\n"


def test_a_call_that_waits_is_shown_and_at_the_end_what_was_used() -> None:
    screen = Screen()
    asking = messages.ToolRun("call_1", "delete", "asking", number="3", summary="delete('a')")
    shown = "! delete('a') waits for your approval: bargein control approve 3 (or deny 3)\n"
    assert screen.take(messages.ToolState(calls=[asking])) == shown
    assert screen.take(messages.ToolState(calls=[asking])) == ""
    spent = messages.Spent(responses=1, input_audio=1034, output_audio=99)
    screen.take(messages.Usage(session=1, conversation=spent, awake_ms=61_000))
    assert screen.display.end() == "used: 1:01 min, 1,034 tokens in, 99 out\n"


def test_sleep_is_shown_with_what_ends_it() -> None:
    screen = Screen()
    reason = "the conversation sleeps, because nobody spoke. To wake it, speak"
    asleep = messages.LinkState(state="asleep", reason=reason)
    assert screen.take(asleep) == f"{reason}\n"
    assert screen.take(asleep) == ""
    assert screen.take(messages.LinkState(state="connecting")) == ""
    awake = messages.LinkState(state="open", session=2)
    assert screen.take(awake) == "awake again\n"
    assert screen.take(awake) == ""
