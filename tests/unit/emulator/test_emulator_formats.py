"""G.711 and PCM on the wire."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from services.emulator import formats, sound


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        # Values of ITU-T G.711, in 16 bits.
        ("audio/pcmu", 0xFF, 0),
        ("audio/pcmu", 0x00, -32124),
        ("audio/pcmu", 0x80, 32124),
        ("audio/pcmu", 0xEF, 132),
        ("audio/pcma", 0xD5, 8),
        ("audio/pcma", 0x55, -8),
        ("audio/pcma", 0xAA, 32256),
        ("audio/pcma", 0x2A, -32256),
    ],
)
def test_codes_have_the_standards_values(kind: str, code: int, value: int) -> None:
    assert np.frombuffer(sound.expand(bytes([code]), kind), np.int16)[0] == value


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_speech_survives_there_and_back(kind: str) -> None:
    wave = np.rint(8000 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)).astype(np.int16)
    there = formats.encode(wave.tobytes(), kind)
    assert len(there) == 8000
    back = np.frombuffer(sound.expand(there, kind), np.int16).astype(float)
    error = back - wave[::3]
    assert 10 * np.log10(np.mean(wave.astype(float) ** 2) / np.mean(error[100:-100] ** 2)) > 30


def test_pcm_is_left_as_it_is() -> None:
    decoder = formats.Decoder(formats.PCM)
    assert decoder.decode(base64.b64encode(b"\x01\x02\x03").decode()) == b"\x01\x02"
    assert decoder.decode(base64.b64encode(b"\x04").decode()) == b"\x03\x04"
    assert formats.encode(b"\x01\x02", formats.PCM) == b"\x01\x02"
