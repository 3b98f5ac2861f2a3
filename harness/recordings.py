"""The recordings of the person and the assistant in the tests, and functions that find them."""

from __future__ import annotations

import base64
import functools
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from services.emulator.clips import Voice
from services.emulator.options import VOICE
from shared import messages
from shared.audio import pcm

Samples = npt.NDArray[np.int16]

INDEX: dict[str, Any] = json.loads((VOICE / "index.json").read_text("utf-8"))
QUESTION, WAIT, TIDES, THANKS = range(4)


def seconds(utterance: int) -> float:
    """Return how long one of the person's utterances lasts, s."""
    said = INDEX["person"]["utterances"][utterance]
    return float(said["end_ms"] - said["start_ms"]) / 1000


@functools.cache
def person() -> Samples:
    """Return the person's whole recording."""
    samples, rate = soundfile.read(VOICE / "person.opus", dtype="float32")
    assert rate == pcm.RATE
    heard: Samples = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
    return heard


def spoken(utterance: int) -> Samples:
    """Return one of the person's utterances."""
    said = INDEX["person"]["utterances"][utterance]
    return person()[pcm.ms_to_samples(said["start_ms"]) : pcm.ms_to_samples(said["end_ms"])]


def microphone(path: Path, said: Iterable[tuple[float, int]], length_s: float) -> str:
    """Write a recording of utterances, each at its time in s; return it as a device's name."""
    heard = np.zeros(round(length_s * pcm.RATE), np.int16)
    for at_s, utterance in said:
        speech = spoken(utterance)
        start = round(at_s * pcm.RATE)
        heard[start : start + len(speech)] = speech
    soundfile.write(path, heard, pcm.RATE, subtype="PCM_16")
    return f"file:{path}"


def numbered(path: Path, frames: int) -> str:
    """Write a recording in which every sample of a frame is the frame's number, from 1."""
    numbers = np.repeat(np.arange(1, frames + 1, dtype=np.int16), pcm.FRAME)
    soundfile.write(path, numbers, pcm.RATE, subtype="PCM_16")
    return f"file:{path}"


def number(frame: bytes) -> int:
    """Return the number of a frame of a numbered recording; 0: silence."""
    return int(pcm.to_array(frame)[0])


def clip(name: str, seconds: float = 1000) -> bytes:
    """Return the PCM of one of the assistant's clips, ``seconds`` of it at the most."""
    said = Voice(VOICE).say(name)
    return said.read(0, min(said.samples, round(seconds * pcm.RATE)))


def short_greeting(directory: Path) -> str:
    """Make a voice that greets with one word; return its directory."""
    shutil.copytree(VOICE, directory, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    index = {**INDEX, "greeting": "acknowledge"}
    (directory / "index.json").write_text(json.dumps(index), "utf-8")
    return str(directory)


def stream(frames: Sequence[messages.SpeakerFrame | messages.MicFrame]) -> bytes:
    """Return the joined frames of one device. None may be missing."""
    assert len({frame.stream for frame in frames}) == 1
    for number, frame in enumerate(frames):
        assert frame.position == frames[0].position + number * pcm.FRAME
    return b"".join(frame.payload for frame in frames)


def place(said: bytes, within: bytes, begin: int = 0) -> int:
    """Return the sample at which a recording contains exactly these samples."""
    at = within.find(said, begin * pcm.SAMPLE_BYTES)
    while at > 0 and at % pcm.SAMPLE_BYTES:
        at = within.find(said, at + 1)
    assert at >= 0, "the recording does not contain these samples"
    return at // pcm.SAMPLE_BYTES


def appended(event: dict[str, Any]) -> list[int]:
    """Return the samples in an ``input_audio_buffer.append``."""
    return [int(sample) for sample in pcm.to_array(base64.b64decode(event["audio"]))]
