"""The page of a recording: what it says, and what it leaves out."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from commands.report.__main__ import make
from commands.report.drawing import clock
from commands.report.facts import TOTAL, Facts, hops
from commands.report.page import page
from commands.report.sound import Sound
from harness import references
from shared import messages, recording, registry
from shared.audio import pcm
from shared.messages import Stamp
from shared.recording import Recorded, Recording

pytestmark = pytest.mark.unit

MS = 1_000_000


class Reader(HTMLParser):
    """Reads a page: its text, its tags, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.struck = "", ""
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self._struck = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._struck |= tag == "del"
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self._struck &= tag != "del"

    def handle_data(self, data: str) -> None:
        self.text += data
        self.struck += data if self._struck else ""


def of_reference(directory: Path, *, redact: bool) -> Reader:
    return Reader(make(references.unpack("client-decides", directory), redact=redact))


def test_the_page_shows_the_interruption_and_the_words_as_they_were_heard(tmp_path: Path) -> None:
    path = references.unpack("client-decides", tmp_path)
    read = [each.message for each in recording.read(path)]
    [cut] = [each for each in read if isinstance(each, messages.Interruption)]
    said = [each for each in read if isinstance(each, messages.Transcript) and each.unheard]
    shown = Reader(make(path, redact=False))
    assert "1 interruption" in shown.text
    assert f"silent after {hops(cut)[TOTAL]:.1f} ms" in shown.text
    assert f"the server was told {cut.reports[0].audio_end_ms} ms" in shown.text
    assert cut.reports[0].heard_text in shown.text
    assert said[-1].unheard in shown.struck
    assert {"svg", "table"} <= shown.tags


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    shown = of_reference(tmp_path, redact=False)
    # This recording has no voices.
    assert shown.loads == []
    assert not {"script", "link", "img", "iframe"} & shown.tags


def test_a_redacted_page_has_no_words(tmp_path: Path) -> None:
    path = references.unpack("client-decides", tmp_path)
    words = {
        word.strip(".,!?—").lower()
        for each in recording.read(path)
        if isinstance(each.message, messages.Transcript)
        for word in each.message.text.split()
        if len(word) > 6
    }
    assert len(words) > 10
    shown = of_reference(tmp_path, redact=True)
    found = words & {word.strip(".,:;()").lower() for word in shown.text.split()}
    assert found <= {"interruption"}
    assert "words left out" in shown.text
    assert "silent after" in shown.text


def take(
    facts: Facts, message: messages.Message, at_ms: int, seq: int = 0, topic: str = ""
) -> None:
    row = registry.BY_NAME[topic] if topic else registry.of(type(message))
    facts.take(Recorded(row, message, Stamp(seq=seq, epoch=1, t=at_ms * MS)))


def frame(at_ms: int) -> messages.MicClean:
    return messages.MicClean(stream=1, position=0, captured_ns=at_ms * MS, overflows=0)


def test_slow_parts_are_listed_the_slowest_first() -> None:
    facts = Facts()
    for seq, at_ms in enumerate((1000, 1020, 1040, 1540, 1560, 1760)):
        take(facts, frame(at_ms - 10), at_ms, seq)
    take(facts, frame(1770), 1780, 9)
    facts.finish()
    assert [(round(each.ms), each.at_ns // MS) for each in facts.slow] == [
        (500, 1040),
        (200, 1560),
        (0, 1780),
    ]
    assert "3 messages are missing" in facts.slow[2].what
    assert facts.ways_ms["microphone to echo's output"] == [10.0] * 7


def test_a_stage_that_is_not_well_says_why() -> None:
    facts = Facts()
    for second, well in enumerate((True, False, False, True)):
        health = messages.Health(
            pid=1, ok=well, state="waits for a <microphone>", counters={"frames": 50 * second}
        )
        take(facts, health, 1000 * second + 1, second, "capture.health")
    stage = facts.stages["capture"]
    assert [well for _, well in stage.beats] == [True, False, False, True]
    assert stage.trouble == {"waits for a <microphone>": 2}
    assert stage.grown == {"frames": 150}


def test_text_from_others_is_shown_as_text_and_not_as_html() -> None:
    facts = Facts()
    text = "<script>alert(1)</script>"
    take(
        facts,
        messages.Transcript(session=1, item_id="a", role="user", text=text, final=True),
        1000,
    )
    take(facts, messages.LinkState(state="refused", reason=text), 1500)
    read = Reader(page(facts, Recording(), ([], []), (0, ""), redact=False))
    assert "script" not in read.tags
    assert text in read.text


def test_a_time_has_less_than_sixty_seconds() -> None:
    assert [clock(s) for s in (0, 59.94, 59.96, 119.99, 599.98)] == [
        "0:00.0", "0:59.9", "1:00.0", "2:00.0", "10:00.0",
    ]  # fmt: skip


def test_the_sound_is_what_was_heard_and_when() -> None:
    rng = np.random.default_rng(3)
    noise = np.convolve(rng.standard_normal(48_000 + 20), np.ones(20) / 20, "valid")[:48_000]
    person, assistant = (np.stack([noise, noise[::-1]]) * 20_000).astype("<i2")
    sound = Sound()
    for at in range(0, 48_000, pcm.FRAME):
        at_ns = 10**12 + pcm.samples_to_ns(at)
        voices = [voice[at : at + pcm.FRAME].tobytes() for voice in (person, assistant)]
        for message in (
            messages.MicClean(
                stream=1, position=at, captured_ns=at_ns, overflows=0, payload=voices[0]
            ),
            messages.SpeakerFrame(stream=1, position=at, played_ns=at_ns, payload=voices[1]),
        ):
            row = registry.of(type(message))
            sound.take(Recorded(row, message, Stamp(seq=0, epoch=1, t=at_ns)))
    kind, _, data = sound.finish().partition(",")
    assert kind == "data:audio/ogg;base64"
    played, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
    assert (len(played), rate) == (48_000, pcm.RATE)
    for number, voice in enumerate((person, assistant)):
        assert np.corrcoef(played[:, number], voice)[0, 1] > 0.9
