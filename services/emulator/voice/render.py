"""Render the clips, the scripted person and index.json from script.py.

    apt-get install flite
    python -m services.emulator.voice.render

flite (CMU Flite 2.2) is not a dependency of Bargein: only this script runs it. README.md has the
licence of its voices.

The word times come from flite, which says when each phoneme ends. An edit-distance alignment finds
the phonemes of each word, because flite does not say to which word a phoneme belongs.
"""

import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
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
SEED: Final = 7  # of the noise of the person's room
QUALITY: Final = 0.88  # libsndfile's compression level for Opus: about 40 kbit/s mono

ASSISTANT_DBFS: Final = -20.0
PERSON_DBFS: Final = -23.0
# -2 dBFS before encoding. Opus overshoots by some tenths of a dB, and decoded audio must stay below
# -1 dBFS.
PEAK: Final = 10 ** (-2.0 / 20)
NOISE_DBFS: Final = -70.0  # the noise of the person's room
SOFT_MS: Final = 60  # sound below the level of silence that stays at a sentence's end

# flite's voices, and how long each takes for a word, relative to the voice's own pace.
ASSISTANT, ASSISTANT_PACE = "rms", 0.8
PERSON, PERSON_PACE = "awb", 0.85

# The long-term average spectrum of speech, of men and women in twelve languages: the level in each
# third of an octave, dB (D. Byrne et al., J. Acoust. Soc. Am. 96, 1994, page 2108). flite's voices
# are up to 15 dB louder than that below 200 Hz, and up to 15 dB softer around 1 kHz.
SPECTRUM: Final = {
    100: 54.4, 125: 57.7, 160: 56.8, 200: 60.2, 250: 60.3, 315: 59.0, 400: 62.1, 500: 62.1,
    630: 60.5, 800: 56.8, 1000: 53.7, 1250: 53.0, 1600: 52.0, 2000: 48.7, 2500: 48.1, 3150: 46.8,
    4000: 45.6, 5000: 44.5, 6300: 44.3,
}  # fmt: skip
LOWEST: Final = 200  # Hz: a lower band is not amplified more than this one
MOST_GAIN_DB: Final = 20.0  # of the equaliser, in both directions
TAPS: Final = 1023  # of the equaliser's filter: 43 ms, which resolves the lowest of these bands

FRAME_MS: Final = 5  # the length of a frame whose level is measured
SILENT_DB: Final = -27.0  # relative to the speech: below this level is silence, or a breath
LEAD_MS: Final = 20  # silence that stays before the first sound
TAIL_MS: Final = 110  # silence that stays after the last sound
PAUSE_DB: Final = -35.0  # relative to the speech: below this level is a pause
PAUSE_MS: Final = 30  # a shorter pause is part of a consonant

SENTENCE_END = re.compile(r"(?<=[.?!:])\s+")
VOWELS: Final = frozenset(
    "aa ae ah ao aw ax axr ay eh er ey ih ix iy ow oy uh uw".split()  # noqa: SIM905
)
PAUSE: Final = "pau"


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
    if PAUSE in (a, b):
        return 0.6 if "" in (a, b) else 9.0
    if "" in (a, b):
        return 1.0
    # A reduced vowel can replace any other vowel. A consonant never replaces a vowel.
    return 0.8 if (a in VOWELS) == (b in VOWELS) else 2.1


def align(said: list[str], words: list[list[str]]) -> list[tuple[int, int]]:
    """Return the span of each word's phonemes in `said`, the phonemes of the sentence."""
    expected = [(p, i) for i, word in enumerate(words) for p in word]
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
        if step == 1 and said[i - 1] != PAUSE:
            owner[i - 1] = expected[j - 1][1]
        i -= step in (1, 2)
        j -= step in (1, 3)
    spans = []
    for w in range(len(words)):
        mine = [k for k in range(n) if owner[k] == w]
        if not mine:
            raise ValueError(f"word {w} has no phoneme in {''.join(said)}")
        spans.append((mine[0], mine[-1] + 1))
    # A phoneme that no word expects belongs to the word next to it.
    for w in range(len(spans)):
        start, end = spans[w]
        limit = spans[w - 1][1] if w else 0
        while start > limit and said[start - 1] != PAUSE:
            start -= 1
        limit = spans[w + 1][0] if w + 1 < len(spans) else n
        while end < limit and said[end] != PAUSE:
            end += 1
        spans[w] = (start, end)
    return spans


class Voice:
    """One of flite's voices, which renders speech with the time of every word."""

    def __init__(self, name: str) -> None:
        self._name = name

    def render(self, text: str, pace: float) -> tuple[Samples, int, list[tuple[str, float]]]:
        """Return samples, their rate, and each phoneme with the time of its end, ms."""
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            line = ["flite", "-voice", self._name, "--setf", f"duration_stretch={pace}", "-psdur"]
            told = subprocess.run(
                [*line, "-t", text, "-o", file.name], capture_output=True, check=True, text=True
            )
            samples, rate = soundfile.read(file.name, dtype="float32")
        timed = [each.rpartition(":") for each in told.stdout.split()]
        return samples, int(rate), [(name, float(end) * 1000) for name, _, end in timed]

    @cache  # noqa: B019 - the script ends soon
    def phonemes(self, word: str) -> list[str]:
        """Return the phonemes of a word that is said alone."""
        return [p for p, _ in self.render(word, 1.0)[2] if p != PAUSE]

    def say(self, sentence: str, pace: float) -> Speech:
        """Render one sentence."""
        words = sentence.split()
        spelled = [script.SPELLINGS.get(word.strip(".,:;?!"), word) for word in words]
        samples, rate, timed = self.render(" ".join(spelled), pace)
        alone = [self.phonemes(word.strip(".,:;?!")) for word in spelled]
        spans = align([p for p, _ in timed], alone)
        edges = [0.0, *(end for _, end in timed)]
        found = tuple(
            Word(word, edges[first], edges[after])
            for word, (first, after) in zip(words, spans, strict=True)
        )
        return Speech(samples, rate, found)

    def recite(self, text: str, pace: float) -> Speech:
        """Render all sentences of a text, without pauses other than the voice's own."""
        parts: list[Samples] = []
        words: list[Word] = []
        offset = 0.0
        for sentence in SENTENCE_END.split(" ".join(text.split())):
            speech = self.say(sentence, pace)
            words += (Word(w.text, w.start + offset, w.end + offset) for w in speech.words)
            parts.append(speech.samples)
            offset += len(speech.samples) * 1000 / speech.rate
        return Speech(np.concatenate(parts), speech.rate, tuple(words))


def convert(speech: Speech) -> Speech:
    """Resample speech to RATE."""
    samples = soxr.resample(speech.samples, speech.rate, RATE, quality="VHQ")
    return Speech(np.asarray(samples, np.float32), RATE, speech.words)


def equaliser(voice: Voice, pace: float, texts: Iterable[str]) -> Samples:
    """Return the filter that brings what a voice says to SPECTRUM on average."""
    said = np.concatenate([convert(voice.recite(text, pace)).samples for text in texts])
    window = np.hanning(2048)
    blocks = np.lib.stride_tricks.sliding_window_view(said, 2048)[::1024] * window
    powers = np.abs(np.fft.rfft(blocks)) ** 2
    totals = powers.sum(axis=1)
    mean = powers[totals > totals.max() / 1000].mean(axis=0)
    hertz = np.fft.rfftfreq(2048, 1 / RATE)
    bands = np.array(list(SPECTRUM))
    edges = np.append(bands / 2 ** (1 / 6), bands[-1] * 2 ** (1 / 6))
    levels = 10 * np.log10(
        [mean[(hertz >= low) & (hertz < high)].sum() for low, high in pairwise(edges)]
    )
    gains = np.array(list(SPECTRUM.values())) - levels
    gains -= np.average(gains, weights=10 ** (levels / 10))
    # Below its pitch a voice has no speech.
    gains[bands < LOWEST] = np.minimum(gains[bands < LOWEST], gains[bands >= LOWEST][0])
    gains = np.clip(gains, -MOST_GAIN_DB, MOST_GAIN_DB)
    curve = 10 ** (np.interp(np.log(np.maximum(hertz, 1)), np.log(bands), gains) / 20)
    taps = np.roll(np.fft.irfft(curve), TAPS // 2)[:TAPS] * np.hanning(TAPS)
    return np.asarray(taps, np.float32)


def equalise(speech: Speech, taps: Samples) -> Speech:
    """Filter speech; no sound moves."""
    samples = np.convolve(speech.samples, taps)[len(taps) // 2 :][: len(speech.samples)]
    return Speech(np.asarray(samples, np.float32), speech.rate, speech.words)


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

    flite's first phoneme after a pause can begin before its sound.
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


def clip(voice: Voice, taps: Samples, name: str, text: str) -> dict[str, Any]:
    """Render one of the assistant's clips, and return its entry in the index."""
    speech = equalise(convert(voice.recite(text, ASSISTANT_PACE)), taps)
    speech = align_after_pauses(trim(speech))
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
    taps = equaliser(voice, PERSON_PACE, [text for _, text in script.PERSON])
    parts: list[Samples] = []
    spans: list[tuple[str, int, int]] = []
    at = 0
    for gap_ms, text in script.PERSON:
        said = equalise(convert(voice.recite(text, PERSON_PACE)), taps).samples
        first, last = sounding(said)
        # The end is soft: a sound that stops at once would ring on in the codec.
        said = level(said[first : last + RATE * SOFT_MS // 1000], PERSON_DBFS)
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
    voice = Voice(ASSISTANT)
    taps = equaliser(voice, ASSISTANT_PACE, [script.CLIPS[name] for name in script.REPLIES])
    clips = {}
    for name, text in script.CLIPS.items():
        clips[name] = clip(voice, taps, name, text)
        print(f"{name}: {clips[name]['samples'] / RATE:.1f} s")
    track = person(Voice(PERSON))
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
