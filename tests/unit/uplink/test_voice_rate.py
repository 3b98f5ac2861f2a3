"""The person's voice at the rate at which the server takes it."""

from __future__ import annotations

import numpy as np
import pytest

from services.uplink.voice_rate import VoiceRate
from shared.audio import pcm

FRAME = (np.arange(pcm.FRAME) * 20).astype("<i2").tobytes()


def test_at_the_rate_of_the_bus_audio_is_passed_on_as_it_is() -> None:
    assert VoiceRate(24_000).convert(FRAME) is FRAME


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_a_second_of_audio_is_a_second_at_another_rate(rate: int) -> None:
    voice = VoiceRate(24_000)
    voice.set(rate)
    samples = sum(len(voice.convert(FRAME)) // 2 for _ in range(50))
    assert samples == rate
    voice.set(24_000)
    assert voice.convert(FRAME) is FRAME


@pytest.mark.parametrize("rate", [0, 7999, 2**62])
def test_a_rate_that_cannot_be_changes_nothing(rate: int) -> None:
    voice = VoiceRate(24_000)
    voice.set(rate)
    assert voice.convert(FRAME) is FRAME
