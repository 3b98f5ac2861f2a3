"""The chain from ``mic.frame`` to ``mic.clean``: each setting of echo switches its own part."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.echo.chain import Chain
from services.echo.kalman import VOICE_FREQUENCIES
from shared import config, messages
from shared.audio import pcm

pytestmark = pytest.mark.unit

FRAMES = 200
STEP_NS = pcm.samples_to_ns(pcm.FRAME)


def run(settings: config.Echo) -> tuple[list[bytes], list[messages.MicClean]]:
    """Run an echo 12 dB below the far end through the chain; return what went in and came out."""
    far = np.random.default_rng(1).standard_normal(FRAMES * pcm.FRAME) * 3000
    far[: 50 * pcm.FRAME] = 0
    near = np.concatenate((np.zeros(1000), far[:-1000])) / 4
    near += np.random.default_rng(2).standard_normal(len(near)) * 10
    chain, given, taken = Chain(settings), [], []
    for at in range(0, len(far), pcm.FRAME):
        now = 10**9 + pcm.samples_to_ns(at) + STEP_NS
        played = pcm.from_array(far[at : at + pcm.FRAME].astype(np.int16))
        captured = pcm.from_array(near[at : at + pcm.FRAME].astype(np.int16))
        given.append(captured)
        chain.speaker(
            messages.SpeakerFrame(stream=1, position=at, played_ns=now - STEP_NS, payload=played),
            now,
        )
        chain.microphone(
            messages.MicFrame(
                stream=2, position=at, captured_ns=now - STEP_NS, overflows=3, payload=captured
            )
        )
        taken += [clean for _, clean in chain.take(now)]
    return given, taken


def test_it_removes_the_echo_and_says_how_much() -> None:
    given, taken = run(config.Echo())
    assert [clean.position for clean in taken] == [n * pcm.FRAME for n in range(len(taken))]
    assert len(taken) > FRAMES - 4
    assert all(clean.overflows == 3 for clean in taken)
    assert not any(clean.far for clean in taken[:49])
    assert taken[-1].far
    assert min(clean.removed_db for clean in taken[-50:]) > 20
    loudest = max(abs(pcm.to_array(clean.payload)).max() for clean in taken[-50:])
    assert loudest < 0.1 * max(abs(pcm.to_array(frame)).max() for frame in given[-50:])


def test_it_knows_the_noise_of_the_room() -> None:
    for level in (20, 200):
        chain, rng = Chain(config.Echo()), np.random.default_rng(1)
        assert chain.canceller is not None
        noise = rng.normal(0, level, FRAMES * pcm.FRAME).astype(np.int16)
        for n, frame in enumerate(noise.reshape(FRAMES, pcm.FRAME)):
            now = 10**9 + n * STEP_NS
            chain.microphone(
                messages.MicFrame(
                    stream=2,
                    position=n * pcm.FRAME,
                    captured_ns=now - STEP_NS,
                    overflows=0,
                    payload=pcm.from_array(frame),
                )
            )
            list(chain.take(now))
        # white noise has its power in equal parts in all bins
        in_band = len(VOICE_FREQUENCIES) / (pcm.FRAME + 1) * (level / 32768) ** 2
        assert abs(chain.canceller.noise_dbfs - 10 * math.log10(in_band)) < 3


def test_switched_off_it_passes_each_frame_and_needs_no_far_end() -> None:
    settings = config.Echo(enabled=False)
    given, taken = run(settings)
    assert [clean.payload for clean in taken] == given[: len(taken)]
    assert not any(clean.far or clean.removed_db for clean in taken)
    assert not Chain(settings).needs_far


def test_half_duplex_mutes_while_the_speaker_plays_also_without_the_canceller() -> None:
    settings = config.Echo(enabled=False, half_duplex=True)
    given, taken = run(settings)
    assert Chain(settings).needs_far
    assert [clean.payload for clean in taken[:49]] == given[:49]
    assert all(clean.payload == bytes(pcm.FRAME_BYTES) for clean in taken[51:])
