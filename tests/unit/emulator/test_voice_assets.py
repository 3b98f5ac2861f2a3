"""The recorded voice: index.json describes the audio files in the repository."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

FOLDER: Final = Path(__file__).parents[3] / "services" / "emulator" / "voice"
INDEX: Final[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
CLIPS: Final[dict[str, Any]] = INDEX["clips"]
RATE: Final = 24000
FRAME_MS: Final = 10

Levels = npt.NDArray[np.float64]


@cache
def decode(file: str) -> npt.NDArray[np.float32]:
    """Return the samples of a mono file in the voice's folder."""
    samples, rate = soundfile.read(FOLDER / file, dtype="float32")
    assert rate == RATE
    assert samples.ndim == 1
    return np.asarray(samples, dtype=np.float32)


def levels(file: str, start_ms: int, end_ms: int) -> Levels:
    """Return the RMS level of each whole frame of FRAME_MS from start to end, dBFS."""
    size = RATE * FRAME_MS // 1000
    part = decode(file)[start_ms * RATE // 1000 : end_ms * RATE // 1000].astype(np.float64)
    assert len(part) >= size, f"{file}: nothing between {start_ms} and {end_ms} ms"
    power = np.mean(part[: len(part) // size * size].reshape(-1, size) ** 2, axis=1)
    return np.asarray(10 * np.log10(power + 1e-12))


def mean_dbfs(frames: Levels) -> float:
    """Return the level of all frames together, dBFS."""
    return float(10 * np.log10(np.mean(10 ** (frames / 10))))


def test_the_audio_is_small_and_all_of_it_is_indexed() -> None:
    files = {path.name: path.stat().st_size for path in FOLDER.glob("*.opus")}
    assert sum(files.values()) < 3_000_000
    assert set(files) == {clip["file"] for clip in CLIPS.values()} | {INDEX["person"]["script"]}


def test_every_clip_named_by_the_index_is_there() -> None:
    roles = ("greeting", "stopped", "stopped_unheard", "onward", "long")
    assert INDEX["rate"] == RATE
    assert {INDEX[role] for role in roles} <= set(CLIPS)
    assert set(INDEX["replies"]) <= set(CLIPS)
    assert len(INDEX["replies"]) == len(set(INDEX["replies"])) >= 4


@pytest.mark.parametrize("name", CLIPS)
def test_the_length_is_exact(name: str) -> None:
    assert len(decode(CLIPS[name]["file"])) == CLIPS[name]["samples"]


@pytest.mark.parametrize("name", CLIPS)
def test_the_words_are_the_transcript(name: str) -> None:
    clip = CLIPS[name]
    assert " ".join(word for word, _, _ in clip["words"]) == clip["transcript"]


@pytest.mark.parametrize("name", CLIPS)
def test_word_times_grow_and_lie_within_the_clip(name: str) -> None:
    words = CLIPS[name]["words"]
    times = [time for _, start, end in words for time in (start, end)]
    assert all(type(time) is int for time in times)
    assert all(start < end for _, start, end in words)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] * RATE <= CLIPS[name]["samples"] * 1000


@pytest.mark.parametrize("name", CLIPS)
def test_there_is_speech_in_every_word(name: str) -> None:
    for word, start, end in CLIPS[name]["words"]:
        assert levels(CLIPS[name]["file"], start, end).max() > -35, f"{word} at {start} ms"


@pytest.mark.parametrize("name", CLIPS)
def test_it_is_quiet_between_sentences(name: str) -> None:
    words = CLIPS[name]["words"]
    for (last, _, end), (first, start, _) in pairwise(words):
        if last[-1] not in ".?!":
            continue
        # A vowel may go on for some ms after its word ends, so test the median, not the maximum.
        gap = np.median(levels(CLIPS[name]["file"], end, start))
        assert gap < -50, f"{last} {first} at {end} to {start} ms"


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_begins_and_ends_with_its_speech(name: str) -> None:
    file, words = CLIPS[name]["file"], CLIPS[name]["words"]
    length_ms = CLIPS[name]["samples"] * 1000 // RATE
    loud = np.flatnonzero(levels(file, 0, length_ms) > -55)
    assert loud[0] * FRAME_MS <= 60
    # At most 150 ms of silence, plus the width of a frame.
    assert length_ms - (loud[-1] + 1) * FRAME_MS <= 160
    assert words[0][1] <= 60


@pytest.mark.parametrize("name", CLIPS)
def test_the_assistant_speaks_at_its_level(name: str) -> None:
    samples = decode(CLIPS[name]["file"])
    frames = levels(CLIPS[name]["file"], 0, len(samples) * 1000 // RATE)
    assert -23 < mean_dbfs(frames[frames > frames.max() - 30]) < -17
    assert np.abs(samples).max() < 10 ** (-1 / 20)


def test_the_long_reply_is_long() -> None:
    words = CLIPS[INDEX["long"]]["words"]
    assert words[-1][2] - words[0][1] >= 180_000


def test_the_person_speaks_where_the_index_says() -> None:
    person = INDEX["person"]
    file = person["script"]
    assert len(decode(file)) == person["samples"]
    length_ms = person["samples"] * 1000 // RATE
    spoken = [(u["start_ms"], u["end_ms"]) for u in person["utterances"]]
    for start, end in spoken:
        frames = levels(file, start, end)
        assert -26 < mean_dbfs(frames[frames > frames.max() - 30]) < -20
        # The speech fills the span: there is sound in its first and in its last 100 ms.
        assert levels(file, start, start + 100).max() > -50
        assert levels(file, end - 100, end).max() > -50
    silences = pairwise([0, *(time for span in spoken for time in span), length_ms])
    for start, end in list(silences)[::2]:
        room = levels(file, start, end - FRAME_MS)
        assert room.max() < -55, f"a sound between {start} and {end} ms"
        assert -80 < float(np.median(room)) < -65


def test_the_person_leaves_the_assistant_time_to_speak() -> None:
    spoken = [(u["start_ms"], u["end_ms"]) for u in INDEX["person"]["utterances"]]
    greeting_ms = CLIPS[INDEX["greeting"]]["samples"] * 1000 // RATE
    assert spoken[0][0] > greeting_ms
    assert all(after - end >= 5000 for (_, end), (after, _) in pairwise(spoken))
