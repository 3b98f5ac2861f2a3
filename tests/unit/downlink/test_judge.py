"""What interrupts, what is let go, and what is asked of the server: scenes with explicit times.

A scene has a person, whom vad hears 60 ms after an onset and 300 ms after an end; a server, which
hears later, and ends a turn after 500 ms of silence; and an assistant, which does as it is told.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downlink import events
from services.downlink.judge import ASK_NS, COMMAND_NS, SILENT_NS, Judge
from shared import messages
from shared.config import Config, Interruption, Session, TurnDetection

pytestmark = pytest.mark.unit

MS = 1_000_000
ONSET_MS, HANGOVER_MS = 60, 300
STARTED_MS, SILENCE_MS, PADDING_MS = 150, 500, 300
LAG_MS = 40  # the network, there or back


class Scene:
    """A judge, and those around it; times are in ms from the beginning."""

    def __init__(
        self,
        *,
        words: bool = False,
        create_response: bool = True,
        silence_ms: int = SILENCE_MS,
        **rules: Any,
    ) -> None:
        rules = {"decide": "client"} | rules
        self.judge = Judge(
            Config(
                interruption=Interruption(**rules),
                session=Session(
                    transcription_model="gpt-transcribe" if words else "",
                    turn_detection=TurnDetection(
                        create_response=create_response, silence_duration_ms=silence_ms
                    ),
                ),
            ),
            100,
        )
        self.judge.begin_session(1)
        self.now = 0
        self.latency = 200  # of the assistant: from the asking to its voice
        self.reply_ms = 3000
        self.answers = True  # the server does what it is asked
        # what came of it: when the assistant was interrupted, brought back, asked; what was removed
        self.interrupted: list[int] = []
        self.resumed: list[int] = []
        self.asked: list[int] = []
        self.removed: list[str] = []
        self.errors = 0
        # the assistant
        self.active: str = ""
        self.generating = self.playing = False
        self._playing_until = 0
        self._responses = itertools.count(1)
        self._generation = itertools.count(1000)
        self._order = itertools.count()
        self._plan: list[tuple[int, int, Callable[[], object]]] = []
        self._decision = self.judge.decision()

    # the script

    def at(self, ms: int, what: Callable[[], object]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._plan, (ms, next(self._order), what))

    def voice(self, begin: int, end: int) -> None:
        """The person speaks, and vad hears it."""
        self.at(begin + ONSET_MS, lambda: self.hear(begin, speaking=True))
        self.at(end + HANGOVER_MS, lambda: self.hear(end, speaking=False))

    def turn(self, begin: int, end: int, name: str = "item", says: str = "") -> None:
        """And the server hears it."""
        padded, over = begin - PADDING_MS, end + SILENCE_MS
        self.at(begin + STARTED_MS, lambda: self.read(events.SpeechStarted(padded, name)))
        self.at(over + LAG_MS, lambda: self.read(events.SpeechStopped(over, name)))
        self.at(over + LAG_MS, lambda: self.read(events.Committed(name)))
        if says:
            self.at(over + 300, lambda: self.read(events.UserTranscript(name, says)))

    def says(self, begin: int, end: int, name: str = "item", says: str = "") -> None:
        """Both."""
        self.voice(begin, end)
        self.turn(begin, end, name, says)

    def reply(self, begin: int, end: int, *, generated: int = 0) -> None:
        """The assistant speaks; the response is done long before, or at ``generated``."""
        name = f"resp_{next(self._responses)}"
        self.at(begin - 100, lambda: self._create(name))
        self.at(begin, lambda: self._play(name, end))
        self.at(generated or begin + 300, lambda: self._done(name))

    def run(self, until: int = 20_000) -> None:
        """Let all of it happen, and what time alone decides."""
        while True:
            due = self.judge.due_ns(self.now * MS)
            planned = self._plan[0][0] if self._plan else until + 1
            tick = due // MS + 1 if due else until + 1
            self.now = min(planned, tick)
            if self.now > until:
                self.now = until
                return
            if planned <= tick:
                heapq.heappop(self._plan)[2]()
            else:
                self.look()

    # its people

    def hear(self, at: int, *, speaking: bool, until: int = 0) -> None:
        said = messages.Speech(speaking=speaking, at_ns=at * MS, until_ns=until * MS)
        self.judged(self.judge.hear(said, self.now * MS))

    def read(self, event: events.Event) -> None:
        self.judged(self.judge.read(event, self.now * MS))

    def look(self) -> None:
        """Downlink tells what the assistant does."""
        self.judged(
            self.judge.assistant(
                playing=self.playing,
                generating=self.generating,
                active=bool(self.active),
                now_ns=self.now * MS,
            )
        )

    def judged(self, interrupts: bool) -> None:
        """Downlink and uplink do what was judged."""
        if interrupts:
            self.interrupted.append(self.now)
            self.flush()
        before, self._decision = self._decision, self.judge.decision()
        decision = self._decision
        if decision.judged == "resume" and decision.onset_ns != before.onset_ns:
            self.resumed.append(self.now)
        for name in set(decision.unwanted) - set(before.unwanted):
            self.removed.append(name)
            self.at(self.now + 2 * LAG_MS, lambda n=name: self.read(events.ItemDeleted(n)))  # type: ignore[misc]
        if decision.answer and decision.answer != before.answer:
            self.asked.append(self.now)
            if self.answers:
                self.at(self.now + LAG_MS, self._asked_to)

    def flush(self) -> None:
        """The assistant falls silent; what it was generating is cancelled."""
        self.judge.flushed(next(self._generation), self.now * MS)
        self.playing = self.generating = False
        if name := self.active:
            self.at(self.now + 2 * LAG_MS, lambda: self._done(name))

    def _asked_to(self) -> None:
        if self.active:
            self.errors += 1
            self.read(
                events.ErrorEvent(events.Failure(code="conversation_already_has_active_response"))
            )
            return
        name = f"resp_{next(self._responses)}"
        self._create(name)
        self.at(self.now + self.latency, lambda: self._play(name, self.now + self.reply_ms))
        self.at(self.now + self.latency + 300, lambda: self._done(name))

    def _create(self, name: str) -> None:
        self.active, self.generating = name, True
        self.read(events.ResponseCreated(events.Response(name)))
        self.look()

    def _play(self, name: str, until: int) -> None:
        if self.active == name and self.generating:
            self.playing, self._playing_until = True, until
            self.at(until, lambda: self._end(until))
            self.look()

    def _end(self, until: int) -> None:
        if self.playing and self._playing_until == until:
            self.playing = False
            self.look()

    def _done(self, name: str) -> None:
        if self.active == name:
            self.active, self.generating = "", False
            self.read(events.ResponseDone(events.Response(name)))
            self.look()


def test_a_cough_over_a_reply_is_let_go_and_leaves_the_conversation() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 3250)
    scene.run()
    assert scene.interrupted == []
    # as soon as vad knows that it is over
    assert scene.resumed == [3250 + HANGOVER_MS]
    assert scene.removed == ["item"]
    assert scene.asked == []
    assert scene.judge.decision().unwanted == []


def test_speech_over_a_reply_interrupts_it_and_is_answered() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 5000)
    scene.run()
    [at] = scene.interrupted
    # once it has surely lasted
    assert at == pytest.approx(3000 + 500 + HANGOVER_MS + ONSET_MS, abs=2)
    assert scene.asked == [5000 + SILENCE_MS + LAG_MS]
    assert not any((scene.removed, scene.resumed))
    assert scene.judge.decision().judged == "interrupt"
    assert scene.judge.decision().onset_ns == 3000 * MS


def test_speech_that_is_long_enough_interrupts_even_when_it_is_over_when_that_is_known() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    scene.says(3000, 3510)
    scene.run()
    assert len(scene.interrupted) == 1
    assert len(scene.asked) == 1
    assert scene.removed == []


def test_a_microphone_that_comes_late_makes_no_cough_longer() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    # all of it 400 ms later than it should
    scene.at(3000 + ONSET_MS + 400, lambda: scene.hear(3000, speaking=True))
    scene.at(3400 + HANGOVER_MS + 400, lambda: scene.hear(3400, speaking=False))
    scene.turn(3400, 3800)
    scene.run()
    assert scene.interrupted == []
    assert scene.removed == ["item"]


def test_what_vad_says_of_how_far_it_goes_on_is_what_counts() -> None:
    scene = Scene()
    scene.reply(1000, 8000)
    for until in range(3060, 4000, 60):
        scene.at(until + 10, lambda u=until: scene.hear(3000, speaking=True, until=u))  # type: ignore[misc]
    scene.says(3000, 4000)
    scene.run()
    # no later than its word comes, and not by the time that passed
    assert scene.interrupted == [3540 + 10]
    stalled = Scene()
    stalled.reply(1000, 8000)
    stalled.at(3070, lambda: stalled.hear(3000, speaking=True, until=3060))
    stalled.at(5000, lambda: stalled.hear(3240, speaking=False))
    stalled.run()
    assert stalled.interrupted == []
    assert stalled.resumed == [5000]


def test_while_the_assistant_is_silent_any_turn_is_a_turn() -> None:
    scene = Scene()
    scene.says(1000, 1200, "yes")
    scene.run()
    assert scene.asked == [1200 + SILENCE_MS + LAG_MS]
    assert not any((scene.removed, scene.interrupted))


def test_a_reply_that_comes_to_its_end_meanwhile_makes_it_a_turn() -> None:
    scene = Scene()
    scene.reply(1000, 3100)
    scene.says(3000, 3250)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_a_long_speech_over_the_end_of_a_reply_interrupts_nothing() -> None:
    scene = Scene()
    scene.reply(1000, 3400)
    scene.says(3000, 5000)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_a_scrap_that_ended_before_the_reply_did_is_still_one() -> None:
    scene = Scene()
    scene.reply(1000, 3400)
    scene.says(3000, 3250)
    scene.run()
    assert scene.removed == ["item"]
    assert scene.asked == []


def test_two_scraps_in_a_row_both_go() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    scene.says(4200, 4400, "two")
    # two in one turn of the server's
    scene.voice(6000, 6200)
    scene.voice(6600, 6800)
    scene.turn(6000, 6800, "both")
    scene.run()
    assert not any((scene.interrupted, scene.asked))
    assert scene.removed == ["one", "two", "both"]
    assert len(scene.resumed) == 4


def test_a_scrap_that_is_joined_with_a_turn_is_part_of_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(3000, 3200)
    scene.voice(3600, 5000)
    scene.turn(3000, 5000)
    scene.run()
    assert scene.resumed == [3500]
    assert len(scene.interrupted) == 1
    assert scene.removed == []
    assert len(scene.asked) == 1


@pytest.mark.parametrize(
    ("pause", "silence_ms", "interrupts"),
    [(480, SILENCE_MS, True), (560, SILENCE_MS, False), (560, 700, False), (480, 450, False)],
)
def test_a_sentence_that_is_heard_in_pieces_is_as_long_as_they_are_together(
    pause: int, silence_ms: int, *, interrupts: bool
) -> None:
    scene = Scene(silence_ms=silence_ms)
    scene.reply(1000, 9000)
    scene.voice(3000, 3200)
    scene.voice(3200 + pause, 3400 + pause)
    begin = 3400 + 2 * pause
    scene.voice(begin, begin + 400)
    scene.turn(3000, begin + 400)
    scene.run()
    # the third makes it long enough
    long_enough = begin + 100 + ONSET_MS + HANGOVER_MS
    assert scene.interrupted == pytest.approx([long_enough] if interrupts else [], abs=2)
    assert scene.removed == ([] if interrupts else ["item"])
    assert len(scene.asked) == interrupts


def test_what_was_said_before_a_reply_does_not_count_towards_its_interruption() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(100, 850)
    scene.voice(1100, 1400)
    scene.run()
    assert scene.interrupted == []


def test_a_scrap_after_an_interruption_is_a_turn_of_its_own() -> None:
    scene = Scene()
    scene.latency = 2500
    scene.reply(1000, 9000)
    scene.says(3000, 4000, "turn")
    # the answer is asked for, and not heard yet
    scene.says(5200, 5400, "scrap")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["scrap"]
    assert len(scene.asked) == 1


def test_what_is_generated_and_not_heard_yet_is_interrupted_too() -> None:
    scene = Scene()
    scene.latency = 1500
    scene.says(1000, 2000, "first")
    scene.says(2700, 4500, "second")
    scene.run()
    assert len(scene.interrupted) == 1
    # it never came to be heard
    assert scene.interrupted[0] < 2000 + SILENCE_MS + LAG_MS + 1500
    assert len(scene.asked) == 2
    assert scene.errors == 0


def test_what_was_asked_for_is_interrupted_as_soon_as_it_is_there() -> None:
    scene = Scene()
    scene.says(1000, 2000, "first")
    asked = 2000 + SILENCE_MS + LAG_MS
    # the server takes its time to begin
    scene.answers = False
    scene.at(asked + 2500, lambda: scene._create("late"))
    scene.at(asked + 2600, lambda: scene._done("late"))
    scene.voice(2700, 6000)
    scene.turn(2700, 6000, "second")
    scene.run(6000)
    assert scene.interrupted == [pytest.approx(2700 + 860, abs=2), asked + 2500]
    scene.answers = True
    scene.run()
    assert scene.asked == [asked, 6000 + SILENCE_MS + LAG_MS]


def test_an_answer_that_comes_after_the_next_turn_is_for_both() -> None:
    scene = Scene()
    scene.says(1000, 2000, "first")
    scene.answers = False
    asked = 2000 + SILENCE_MS + LAG_MS
    scene.says(2700, 4000, "second")
    scene.at(asked + 3000, lambda: scene._create("late"))
    scene.at(asked + 3100, lambda: scene._done("late"))
    scene.run()
    # it was made knowing the second one as well
    assert scene.asked == [asked]
    assert scene.interrupted == [pytest.approx(2700 + 860, abs=2)]


def test_an_answer_waits_until_the_other_response_is_done() -> None:
    scene = Scene()
    scene.reply(1000, 9000, generated=8000)
    scene.says(3000, 5000)
    # what is cancelled takes its time to be done
    late = 5900

    def slow() -> None:
        scene.active = "resp_1"
        scene.look()

    scene.at(3960, slow)
    scene.at(late, lambda: scene._done("resp_1"))
    scene.run()
    assert scene.asked == [late]
    assert scene.errors == 0


def test_a_server_that_has_another_response_is_asked_again_when_that_is_done() -> None:
    scene = Scene()
    scene.says(1000, 2000)
    scene.answers = False
    error = events.ErrorEvent(events.Failure(code="conversation_already_has_active_response"))
    asked = 2000 + SILENCE_MS + LAG_MS
    scene.at(asked + 50, lambda: scene.read(error))
    scene.at(asked + 60, scene.look)
    scene.run(asked + 900)
    assert scene.asked == [asked]
    scene.answers = True
    scene.at(asked + 1000, lambda: scene.read(events.ResponseDone(events.Response("unknown"))))
    scene.run()
    assert scene.asked == [asked, asked + 1000]


def test_an_answer_that_never_comes_does_not_block_the_next() -> None:
    scene = Scene()
    scene.answers = False
    scene.says(1000, 2000, "first")
    later = 2000 + ASK_NS // MS + 3000
    scene.says(later, later + 1000, "second")
    scene.run(later + 5000)
    assert len(scene.asked) == 2
    assert not any((scene.removed, scene.interrupted))


# who hears what


@pytest.mark.parametrize(("length", "interrupts"), [(250, False), (1500, True)])
def test_what_the_server_alone_hears_is_judged_by_its_account(
    length: int, interrupts: bool
) -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.turn(3000, 3000 + length)
    scene.run()
    assert len(scene.interrupted) == interrupts
    assert len(scene.asked) == interrupts
    assert scene.removed == ([] if interrupts else ["item"])
    if interrupts:
        # it cannot be told from a short sound before its silence would have ended it
        assert scene.interrupted[0] == pytest.approx(3000 + STARTED_MS + 500 + SILENCE_MS, abs=2)


def test_what_is_heard_here_alone_interrupts_and_nothing_is_asked() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.voice(3000, 4500)
    scene.run()
    assert len(scene.interrupted) == 1
    assert not any((scene.asked, scene.removed))
    # nor is it taken for part of what is said later
    scene.reply(11_000, 19_000)
    scene.says(13_000, 13_200, "scrap")
    scene.run(30_000)
    assert len(scene.interrupted) == 1
    assert scene.removed == ["scrap"]


def test_a_scrap_that_the_server_missed_is_no_part_of_a_later_turn() -> None:
    scene = Scene()
    scene.reply(1000, 4000)
    scene.voice(3000, 3200)
    # vad misses this one
    scene.turn(6000, 6300, "turn")
    scene.run()
    assert scene.resumed == [3500]
    assert scene.removed == []
    assert len(scene.asked) == 1


def test_a_vad_that_dies_in_mid_speech_does_not_interrupt_for_ever() -> None:
    scene = Scene()
    scene.at(1060, lambda: scene.hear(1000, speaking=True))
    scene.reply(1060 + SILENT_NS // MS + 1000, 12_000)
    scene.run()
    assert scene.interrupted == []


def test_a_turn_is_answered_although_vad_never_says_that_it_is_over() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.at(2990 + ONSET_MS, lambda: scene.hear(2990, speaking=True))
    for again in range(4000, 12_000, 1000):
        scene.at(again, lambda: scene.hear(2990, speaking=True))
    scene.turn(3000, 4500)
    scene.run(12_000)
    assert len(scene.interrupted) == 1
    assert len(scene.asked) == 1


def test_a_turn_whose_beginning_was_told_to_another_downlink_is_answered() -> None:
    scene = Scene()
    scene.at(1000, lambda: scene.read(events.Committed("item")))
    scene.run()
    assert scene.asked == [1000]


def test_a_silence_that_the_server_answers_by_itself_is_not_answered_twice() -> None:
    scene = Scene()
    scene.at(1000, lambda: scene.read(events.TimeoutTriggered("silence")))
    scene.at(1000, lambda: scene.read(events.Committed("silence")))
    scene.run()
    assert scene.asked == []


def test_another_session_knows_nothing_of_what_was_wanted() -> None:
    scene = Scene()
    scene.reply(1000, 4000)
    scene.says(3000, 3200)
    scene.at(3800, lambda: scene.judge.begin_session(2))
    scene.run(3801)
    decision = scene.judge.decision()
    assert (decision.session, decision.answer, decision.unwanted) == (2, 0, [])


# words


@pytest.mark.parametrize(
    ("says", "rules", "interrupts"),
    [
        ("Stop!", {}, True),
        ("Mm-hm.", {}, False),
        ("Yeah, right. Okay…", {}, False),
        ("Okay, but why?", {}, True),
        ("Stop!", {"min_words": 2}, False),
        ("Stop it!", {"min_words": 2}, True),
        ("Genau.", {"backchannels": ["genau"]}, False),
        ("GENAU", {"backchannels": ["Genau"]}, False),
        (".", {}, False),
    ],
)
def test_short_speech_is_judged_by_its_words(
    says: str, rules: dict[str, Any], interrupts: bool
) -> None:
    scene = Scene(words=True, **rules)
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says=says)
    scene.run()
    assert scene.interrupted == ([3300 + SILENCE_MS + 300] if interrupts else [])
    assert scene.removed == ([] if interrupts else ["item"])
    assert scene.resumed == ([] if interrupts else [3300 + SILENCE_MS + 300])
    assert len(scene.asked) == interrupts
    if interrupts:
        # the server is to know how far it was heard before it answers
        assert scene.asked[0] >= scene.interrupted[0]


def test_words_that_never_come_are_not_waited_for_longer_than_they_may_take() -> None:
    scene = Scene(words=True, words_limit_ms=1200)
    scene.reply(1000, 9000)
    scene.says(3000, 3300)
    scene.run()
    assert scene.resumed == [pytest.approx(3300 + 1200, abs=1)]
    assert scene.removed == ["item"]


def test_without_a_transcription_words_are_not_waited_for() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says="Stop!")
    scene.run()
    assert scene.interrupted == []
    assert scene.removed == ["item"]


def test_a_word_that_has_only_begun_does_not_count() -> None:
    scene = Scene(words=True)
    scene.reply(1000, 9000)
    scene.says(3000, 3300)
    for at, delta in ((3500, "ye"), (3550, "ah, "), (3600, "wa")):
        scene.at(at, lambda d=delta: scene.read(events.UserTranscriptDelta("item", d)))  # type: ignore[misc]
    scene.run(3700)
    assert scene.interrupted == []
    scene.at(3750, lambda: scene.read(events.UserTranscriptDelta("item", "it ")))
    scene.run()
    assert scene.interrupted == [3750]


def test_an_answer_to_words_comes_after_the_interruptions_outcome() -> None:
    scene = Scene(words=True)
    scene.reply(1000, 9000)
    scene.says(3000, 3300, says="Stop!")
    scene.run(3300 + SILENCE_MS + 300)
    decision = scene.judge.decision()
    assert decision.answer
    assert decision.after == 1000
    later = Scene()
    later.says(1000, 2000)
    later.run(2000 + SILENCE_MS + LAG_MS)
    assert later.judge.decision().after == 0


# one thing after another


def test_speech_whose_end_was_lost_ends_with_the_next() -> None:
    scene = Scene()
    scene.at(1060, lambda: scene.hear(1000, speaking=True))
    scene.voice(1800, 1950)
    scene.reply(2100, 9000)
    scene.run()
    assert scene.interrupted == []


@pytest.mark.parametrize("begin", [1000, 1900])
def test_what_began_while_the_assistant_was_silent_is_a_turn_however_it_ends(begin: int) -> None:
    scene = Scene()
    scene.reply(2100, 4000)
    scene.says(begin, 2200)
    scene.run()
    assert not any((scene.interrupted, scene.removed))
    assert len(scene.asked) == 1


def test_a_reply_that_falters_is_talked_over_all_the_same() -> None:
    scene = Scene()
    scene.reply(1000, 9000)

    def play(playing: bool) -> None:
        scene.playing = playing
        scene.look()

    scene.at(3400, lambda: play(False))
    scene.at(3500, lambda: play(True))
    scene.says(3000, 6000)
    scene.run()
    assert scene.interrupted == [pytest.approx(3860, abs=2)]


def test_no_turn_waits_for_ever_for_vad() -> None:
    scene = Scene()
    scene.reply(1000, 3100)
    for again in range(3060, 12_000, 1000):
        scene.at(again, lambda: scene.hear(3000, speaking=True))
    scene.turn(3000, 3300)
    scene.run(12_000)
    committed = 3300 + SILENCE_MS + LAG_MS
    assert scene.asked == [pytest.approx(committed + HANGOVER_MS + 800, abs=2)]


def test_a_turn_is_not_judged_by_the_speech_before_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    # vad misses this one
    scene.turn(3800, 5400, "two")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["one"]
    assert len(scene.asked) == 1


def test_a_turn_is_not_judged_by_the_speech_after_it() -> None:
    scene = Scene()
    scene.reply(1000, 9000)
    scene.says(3000, 3200, "one")
    # it began while the server told of the end of the first
    scene.says(3660, 6000, "two")
    scene.run()
    assert len(scene.interrupted) == 1
    assert scene.removed == ["one"]
    assert len(scene.asked) == 1


def test_a_server_that_is_quicker_than_vad_is_not_kept_waiting() -> None:
    scene = Scene()
    scene.voice(1000, 2000)
    scene.at(1150, lambda: scene.read(events.SpeechStarted(700, "item")))
    scene.at(2240, lambda: scene.read(events.SpeechStopped(2200, "item")))
    scene.at(2240, lambda: scene.read(events.Committed("item")))
    scene.run()
    assert scene.asked == [2240]
    assert not any((scene.interrupted, scene.removed))


def test_pressed_again_what_was_said_before_is_answered_with_the_rest() -> None:
    scene = Scene(decide="push_to_talk")
    scene.reply(1000, 9000, generated=8000)
    scene.at(2000, lambda: scene.read(events.Committed("one")))
    scene.at(2500, lambda: scene.judged(scene.judge.talk(talking=True, at_ns=scene.now * MS)))
    scene.at(4000, lambda: scene.read(events.Committed("two")))
    scene.run()
    assert scene.asked == [4000]


def test_what_was_asked_of_another_session_is_not_asked_of_this_one() -> None:
    scene = Scene()
    scene.answers = False
    scene.says(1000, 2000)
    scene.run(2600)
    assert scene.judge.decision().answer
    scene.judge.begin_session(2)
    assert not scene.judge.decision().answer


# the other ways


def test_where_nothing_interrupts_every_turn_is_answered_in_its_time() -> None:
    scene = Scene(decide="never")
    scene.reply(1000, 9000, generated=8000)
    scene.says(3000, 5000, "long")
    scene.says(6000, 6200, "short")
    scene.run()
    assert not any((scene.interrupted, scene.removed, scene.resumed))
    # once, when the response under way is done
    assert scene.asked == [8000]
    assert scene.errors == 0


def test_where_answers_are_not_wanted_none_is_asked_for() -> None:
    scene = Scene(decide="never", create_response=False)
    scene.says(3000, 5000)
    scene.run()
    assert scene.asked == []


def test_where_the_server_decides_nothing_is_judged_and_nothing_asked() -> None:
    scene = Scene(decide="server")
    scene.reply(1000, 9000)
    scene.says(3000, 5000)
    scene.run()
    assert not any((scene.interrupted, scene.asked, scene.removed))


def test_the_button_interrupts_and_what_is_said_is_answered() -> None:
    scene = Scene(decide="push_to_talk")
    scene.reply(1000, 9000)

    def press(talking: bool) -> None:
        scene.judged(scene.judge.talk(talking=talking, at_ns=scene.now * MS))

    scene.at(3000, lambda: press(True))
    scene.run(3001)
    assert scene.interrupted == [3000]
    decision = scene.judge.decision()
    assert (decision.talk, decision.talk_ns) == (True, 3000 * MS)
    scene.at(4000, lambda: press(False))
    scene.at(4150, lambda: scene.read(events.Committed("item")))
    scene.run(4200)
    decision = scene.judge.decision()
    assert (decision.talk, decision.talk_ns) == (False, 4000 * MS)
    assert scene.asked == [4150]
    scene.run()
    assert scene.interrupted == [3000]


@pytest.mark.parametrize("decide", ["server", "client", "never", "push_to_talk"])
def test_a_command_that_comes_late_is_not_followed_but_a_button_is_let_go(decide: str) -> None:
    judge = Scene(decide=decide).judge
    assert not judge.refuses("interrupt", COMMAND_NS)
    assert "1001 ms late" in judge.refuses("interrupt", COMMAND_NS + MS)
    button = "push_to_talk" if decide != "push_to_talk" else ""
    for command, age_ns in (("talk", 0), ("release", 0), ("release", 10 * COMMAND_NS)):
        refused = judge.refuses(command, age_ns)
        assert bool(refused) == bool(button)
        assert button in refused
    assert judge.refuses("talk", COMMAND_NS + MS)


def test_the_button_pressed_before_the_answer_is_there_ends_it_when_it_comes() -> None:
    scene = Scene(decide="push_to_talk")
    scene.at(1000, lambda: scene.read(events.Committed("item")))
    scene.at(1010, lambda: scene.judged(scene.judge.talk(talking=True, at_ns=scene.now * MS)))
    scene.run()
    assert scene.interrupted == [1010, 1000 + LAG_MS]


# whatever is said


@given(
    said=st.lists(
        st.tuples(
            st.integers(600, 4000),  # of silence before
            st.one_of(st.integers(100, 420), st.integers(580, 3000)),  # of speech
            st.sampled_from(["both", "both", "both", "here", "server"]),
        ),
        min_size=1,
        max_size=12,
    ),
    latency=st.sampled_from([50, 200, 1200]),
    reply_ms=st.sampled_from([400, 3000, 8000]),
)
def test_whatever_is_said_each_turn_is_answered_or_removed(
    said: list[tuple[int, int, str]], latency: int, reply_ms: int
) -> None:
    scene = Scene()
    scene.latency, scene.reply_ms = latency, reply_ms
    at = 500
    turns: dict[str, tuple[int, int]] = {}
    longest = {"here": 0, "server": 0}
    before = "both"
    for number, (silence, length, who) in enumerate(said):
        # what one alone hears cannot be told from what the other alone heard shortly before
        at += silence if "both" in (who, before) or who == before else silence + 1000
        before = who
        name = f"item_{number}"
        if who != "server":
            scene.voice(at, at + length)
        if who != "here":
            scene.turn(at, at + length, name)
            turns[name] = (at, at + length)
        for each, most in longest.items():
            longest[each] = max(most, length if who in ("both", each) else 0)
        at += length
    scene.run(at + 30_000)
    assert scene.errors == 0, "asked while a response was under way"
    # an answer is asked for after each turn that is not removed
    kept = [end for name, (_, end) in turns.items() if name not in scene.removed]
    if kept:
        assert scene.asked
        assert max(scene.asked) >= max(kept)
    assert len(scene.removed) == len(set(scene.removed))
    # only what is short is removed, and only what is long interrupts
    assert all(turns[name][1] - turns[name][0] < 500 for name in scene.removed)
    if max(longest.values()) < 500:
        assert scene.interrupted == []
    decision = scene.judge.decision()
    assert (decision.answer, decision.unwanted) == (0, [])
    assert scene.judge.due_ns(scene.now * MS) == 0
