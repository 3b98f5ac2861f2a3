"""Which words were heard."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import messages
from shared.audio.pcm import RATE
from shared.realtime.words import SAMPLES_PER_CHAR, split

TEXT = "One two three four"
#: Each word comes just before its half second of audio.
BESIDE = [
    messages.Mark(0, 0),
    messages.Mark(3, 12_000),
    messages.Mark(7, 24_000),
    messages.Mark(13, 36_000),
]


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (0, ""),
        (11_999, ""),
        (12_000, "One"),
        (23_999, "One"),
        (24_000, "One two"),
        (47_999, "One two three"),
        (48_000, "One two three four"),
    ],
)
def test_words_beside_their_audio_are_heard_with_it(heard: int, words: str) -> None:
    assert split(TEXT, BESIDE, heard, 48_000, done=False) == (words, TEXT[len(words) :])


def test_words_that_run_ahead_are_spread_evenly() -> None:
    ahead = [messages.Mark(0, 0), messages.Mark(7, 0)]
    assert split("aaa bbb ccc", ahead, 11_000 * 3 // 11, 11_000, done=True)[0] == "aaa"
    assert split("aaa bbb ccc", ahead, 11_000 * 7 // 11, 11_000, done=True)[0] == "aaa bbb"
    # without the end, at the pace of speech
    assert split("aaa bbb ccc", ahead, 3 * SAMPLES_PER_CHAR, 50_000, done=False)[0] == "aaa"
    assert split("aaa bbb ccc", ahead, 3 * SAMPLES_PER_CHAR - 1, 50_000, done=False)[0] == ""


def test_all_is_heard_at_the_end_alone() -> None:
    assert split(TEXT, [], 100, 100, done=True) == (TEXT, "")
    assert split(TEXT, [], 100, 100, done=False) == ("", TEXT)
    assert split("", [], 50, 100, done=True) == ("", "")


texts = st.text(st.sampled_from("ab \n"), max_size=40)


@given(
    texts,
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 50_000)), max_size=8),
    st.lists(st.integers(0, 60_000), min_size=2, max_size=6),
    st.booleans(),
)
def test_more_heard_audio_means_more_words_for_any_marks(
    text: str, places: list[tuple[int, int]], heard: list[int], done: bool
) -> None:
    chars, samples = sorted(c for c, _ in places), sorted(s for _, s in places)
    marks = [messages.Mark(c, s) for c, s in zip(chars, samples, strict=True)]
    received = max([RATE, *samples])
    parts = [split(text, marks, h, received, done=done) for h in sorted(heard)]
    for said, rest in parts:
        assert said + rest == text
        # no word is cut in two
        assert not (said and rest) or said[-1].isspace() or rest[0].isspace()
    assert all(len(less) <= len(more) for (less, _), (more, _) in pairwise(parts))
