"""The server knows which part of a reply was heard at the speaker: to 5 ms, and in words.

The person talks over replies that stalled on their way. So neither the time since a reply began nor
the audio that has arrived tells how much was heard: only the samples given to the device do.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness import speech
from harness.ears import Ear
from harness.pulse import SoundServer
from harness.soundbench import Pipeline
from harness.waves import RATE
from shared import messages

pytestmark = pytest.mark.sound

REPLY = "long"
#: How much of each reply the person hears before talking over it, s.
HEARD_S = (1.3, 2.1, 3.4)
#: The server sends 1 s of a reply, then nothing for 1.8 s, then the rest.
STALL = ("--stall", "1000:1800")
PAUSE = RATE // 2
#: The tolerance, ms. The last samples of the fade (3 ms) are too soft for the recording, and a
#: truncate has whole ms, rounded down.
TOLERANCE_MS = 5


@dataclass(frozen=True)
class Belief:
    """One interruption: what the server believes was heard, and how much the recording contains."""

    audio_end_ms: int
    words: str
    heard_ms: float


@pytest.fixture(scope="module")
def beliefs(sound_server: SoundServer) -> list[Belief]:
    """Talk over several replies, and return what the server believes about each."""
    # Without ducking: a ducked pause may be too soft for the recording to show its end.
    settings = {"session.greeting": "Tell the story.", "interruption.duck": "off"}
    replies = ("--reply", f"clip:{REPLY}", *STALL)
    last_heard_ms: list[float] = []
    with (
        sound_server.record() as ear,
        Pipeline(env=sound_server.env, settings=settings, emulator=replies) as run,
    ):
        for number, seconds in enumerate(HEARD_S):
            listen_until(run, number, round(seconds * RATE))
            over = sound_server.play(speech.person(0))
            run.bus.wait_for(messages.FlushReport, after=number)
            last_heard_ms.append(heard_ms(ear))
            over.wait()
        told = run.wait_for_journal("truncate", len(HEARD_S))
    assert [entry["ok"] for entry in told] == [True] * len(HEARD_S)
    return [
        Belief(entry["audio_end_ms"], entry["heard"], heard)
        for entry, heard in zip(told, last_heard_ms, strict=True)
    ]


def listen_until(run: Pipeline, number: int, samples: int) -> None:
    """Wait until ``samples`` of a reply were heard; ``number`` replies came before it."""
    run.bus.wait_for(
        messages.Heard,
        lambda heard: len(heard.items) == number + 1 and heard.items[-1].heard > samples,
    )


def heard_ms(ear: Ear) -> float:
    """Return how much of the reply was heard that has just been cut, measured in the recording."""
    # Wait for samples that are all zero, because the reply's own pauses are almost silent.
    recording = ear.wait_for(lambda heard: not heard[-PAUSE:].any(), what="silence")
    sound = speech.without_gaps(recording[-3 * RATE :])[-RATE:]
    place = speech.find(sound, speech.clip(REPLY)[: 8 * RATE])
    assert place.correlation > speech.HEARD
    return (place.at + len(sound)) * 1000 / RATE


def test_the_server_is_told_what_was_heard(beliefs: list[Belief]) -> None:
    for belief in beliefs:
        assert belief.audio_end_ms == pytest.approx(belief.heard_ms, abs=TOLERANCE_MS), beliefs


def test_the_server_knows_the_words_that_were_heard(beliefs: list[Belief]) -> None:
    for belief in beliefs:
        spoken = speech.index()["clips"][REPLY]["words"]
        known = len(belief.words.split())
        (_, begin, _), (_, next_begin, _) = spoken[known - 1], spoken[known]
        # The last word ends with a dash if it was cut off.
        assert bare(belief.words) == bare(" ".join(word for word, *_ in spoken[:known]))
        assert begin - TOLERANCE_MS < belief.heard_ms < next_begin + TOLERANCE_MS


def bare(words: str) -> list[str]:
    """Return the words without their punctuation."""
    return [word.rstrip(",.—") for word in words.split()]
