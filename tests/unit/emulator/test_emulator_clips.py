"""Recorded speech that is cut, joined and read in chunks; and the rising tone."""

from __future__ import annotations

from array import array
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.emulator import tone
from services.emulator.clips import RATE, Clip, Voice, VoiceError, join
from services.emulator.options import VOICE
from tests.support.emulator import patiently, said, voice


def test_a_cut_is_exact_and_marks_the_word_it_cuts() -> None:
    whole = said("one", "two", "three", "four")
    cut = whole.cut(100, 250)
    assert cut.samples == 150 * 24
    assert cut.read(0, cut.samples) == whole.read(2400, 6000)
    assert [(w.text, w.start_ms, w.end_ms) for w in cut.words] == [
        ("two", 0, 100),
        ("three—", 100, 150),
    ]


def test_the_last_words_end_where_it_was_cut() -> None:
    whole = said(*"abcdefgh")
    last = whole.last_words(730, 5)
    assert last is not None
    assert last.transcript == "d e f g h—"
    assert last.samples == 430 * 24
    assert whole.last_words(0, 5) is None
    assert whole.heard(730) == "a b c d e f g h—"


def test_joined_clips_keep_their_words_with_their_audio() -> None:
    first, second = said("one", "two"), said("three")
    both = join([first, second])
    assert both.transcript == "one two three"
    assert both.words[2].start_ms == 200
    assert both.samples == first.samples + second.samples
    assert both.cut(200, 300).read(0, 2400) == second.read(0, 2400)


@patiently
@given(st.lists(st.integers(0, 9600), min_size=2, max_size=9).map(sorted))
def test_audio_is_the_same_however_it_is_read(at: list[int]) -> None:
    whole = join([said("a", "b"), said("c"), said("d")])
    pieces = b"".join(whole.read(a, b) for a, b in pairwise(at))
    assert pieces == whole.read(at[0], at[-1])


def test_the_voice_in_the_repository_is_whole() -> None:
    for name in voice().index.clips:
        clip = voice().say(name)
        assert clip.words[-1].end_ms * 24 <= clip.samples
        if clip.samples < 10 * RATE:
            assert len(clip.read(0, clip.samples)) == 2 * clip.samples


def test_a_voice_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match=r"index\.json: No such file"):
        Voice(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(VoiceError, match="missing required field"):
        Voice(tmp_path)
    (tmp_path / "index.json").write_bytes((VOICE / "index.json").read_bytes())
    with pytest.raises(VoiceError, match="no such file"):
        Voice(tmp_path)
    with pytest.raises(VoiceError, match="no clip named 'nobody'"):
        voice().say("nobody")


def test_a_recording_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.opus"
    path.write_bytes(b"OggS, but no more than that")
    with pytest.raises(VoiceError, match=r"x\.opus"):
        Clip(path, 100).read(0, 10)


def test_a_recording_shorter_than_its_index_ends_in_silence() -> None:
    entry = voice().index.clips["acknowledge"]
    clip = Clip(VOICE / entry.file, entry.samples + 24000)
    assert clip.read(entry.samples + 2000, entry.samples + 24000) == bytes(2 * 22000)


@patiently
@given(st.floats(0, 5000), st.floats(100, 60_000))
def test_the_tones_pitch_tells_its_position(at: float, duration: float) -> None:
    assert tone.position_ms(tone.frequency_hz(at, duration), duration) == pytest.approx(
        at, abs=1e-6
    )


def test_the_tone_has_the_pitch_it_says() -> None:
    sweep = tone.Tone(2 * RATE)
    for at_ms in (200, 1000, 1700):
        start = at_ms * 24 - 600
        samples = array("h", sweep.read(start, start + 1200))
        crossings = sum(a < 0 <= b for a, b in pairwise(samples))
        assert crossings / 0.05 == pytest.approx(tone.frequency_hz(at_ms, 2000), rel=0.06)
    assert max(array("h", sweep.read(0, 2 * RATE))) < 32767 * tone.AMPLITUDE + 1
