"""A conversation on a real sound server: a reply, an interruption, silence, and the next reply.

The person's speech is played into the microphone, and the speaker's sound is recorded. Between the
two are the real stages, PortAudio, ALSA and PulseAudio. The conversation takes place once, and all
tests of this module examine its recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness import speech
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE, Samples, spans
from shared import messages

pytestmark = pytest.mark.sound

REPLY = "lighthouse"
#: The person's utterances, as their numbers in the script.
QUESTION, OBJECTION = 0, 1
TALKED_OVER_AFTER_S = 2.0
PHRASE = speech.PHRASE_MS * RATE // 1000
#: How much audio a busy machine may lose: 50 ms, less than a word.
LOST = RATE // 20
#: Silence of this length is the end of the reply, s. It is longer than any pause in the reply, and
#: shorter than the person's objection.
PAUSE_S = 0.8


@dataclass(frozen=True)
class Talk:
    """A recording of the speaker, and when things happened, in samples of the recording."""

    heard: Samples
    asked: int  # the question ended
    objected: int  # the person began to talk over the reply
    silent: int  # the assistant fell silent
    spoke: int  # the person's objection ended
    answered: int  # the next reply began

    @property
    def reply(self) -> Samples:
        """The sound of the interrupted reply."""
        return speech.without_gaps(self.heard[self.asked : self.silent])


@pytest.fixture(scope="module")
def talk(sound_server: SoundServer) -> Talk:
    """Hold the conversation, with a server that sends deltas for 600 ms after a cancel."""
    settings = {"session.greeting": "Greet the person."}
    late = ("--late", "600")
    with (
        sound_server.record() as ear,
        Pipeline(env=sound_server.env, settings=settings, emulator=late) as run,
    ):
        run.bus.wait_for(messages.Heard, lambda h: not h.playing and any(i.whole for i in h.items))
        sound_server.play(speech.person(QUESTION)).wait()
        asked = len(ear.audio)
        reply = ear.wait_for_sound(after=asked)
        ear.wait_for(lambda heard: len(heard) > reply + TALKED_OVER_AFTER_S * RATE)
        objected = len(ear.audio)
        objection = sound_server.play(speech.person(OBJECTION))
        run.bus.wait_for(messages.FlushReport)
        silent = ear.wait_for_silence(PAUSE_S, after=objected)
        objection.wait()
        spoke = len(ear.audio)
        answered = ear.wait_for_sound(after=silent)
        last_words = len(speech.clip("stopped")) + 3 * RATE
        heard = ear.wait_for(lambda heard: len(heard) > answered + last_words)
    return Talk(heard, asked, objected, silent, spoke, answered)


def begins_with(heard: Samples, name: str) -> bool:
    """Return whether a recording begins with the first words of a clip."""
    # Skip LOST samples, in case there are some ms of another sound before the clip.
    sound = heard[LOST : LOST + PHRASE]
    place = speech.find(sound, speech.clip(name)[: 3 * PHRASE])
    return place.correlation > speech.HEARD and place.at < 2 * LOST


def test_the_assistant_is_heard_from_its_first_word(talk: Talk) -> None:
    before = speech.without_gaps(talk.heard[: talk.asked])
    found = [speech.find(sound, before) for _, sound in speech.phrases("greeting")]
    assert all(place.correlation > speech.HEARD for place in found), found
    assert found == sorted(found, key=lambda place: place.at)
    assert begins_with(before, "greeting")


def test_it_answers_the_question(talk: Talk) -> None:
    words, sound = speech.phrases(REPLY)[0]
    assert speech.find(sound, talk.reply).correlation > speech.HEARD, words


def test_it_stops_when_spoken_over(talk: Talk) -> None:
    assert talk.objected < talk.silent < talk.spoke, "it stops while the person still speaks"
    length = (talk.silent - talk.asked) / RATE
    assert length < len(speech.clip(REPLY)) / RATE / 2, "it stops in the middle of the reply"
    lead_in, _ = spans(speech.clip("stopped"))[0]  # the next reply begins softly
    # The fade may still be audible for 10 ms after the level at which ``silent`` was found.
    between = talk.heard[talk.silent + RATE // 100 : talk.answered - lead_in - LOST]
    assert not between.any(), "every sample in between is zero"


def test_nothing_of_the_interrupted_reply_is_heard_later(talk: Talk) -> None:
    reply = speech.clip(REPLY)
    last = talk.reply[-PHRASE:]
    heard_last = speech.find(last, reply)
    assert heard_last.correlation > speech.HEARD
    unheard = reply[heard_last.at + PHRASE + LOST :]
    later = speech.without_gaps(talk.heard[talk.silent :])
    for at in range(0, 12 * RATE, PHRASE // 2):
        piece = unheard[at : at + PHRASE]
        assert speech.find(piece, later).correlation < speech.HEARD, at / RATE


def test_the_next_reply_is_heard_from_its_first_word(talk: Talk) -> None:
    assert begins_with(speech.without_gaps(talk.heard[talk.silent :]), "stopped")
