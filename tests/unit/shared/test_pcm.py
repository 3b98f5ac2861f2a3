"""PCM arithmetic."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audio import pcm


def test_a_frame_is_20_ms() -> None:
    assert pcm.samples_to_ms(pcm.FRAME) == 20
    assert pcm.ms_to_samples(20) == pcm.FRAME
    assert pcm.samples_to_ns(pcm.FRAME) == 20_000_000
    assert pcm.FRAME_BYTES == 960


def test_conversions_round_down() -> None:
    assert pcm.samples_to_ms(23) == 0
    assert pcm.samples_to_ms(24 * 1000 + 23) == 1000
    assert pcm.samples_to_ns(1) == 41_666
    assert pcm.ns_to_samples(41_666) == 0
    assert pcm.ns_to_samples(41_667) == 1


@given(st.integers(0, 10**9))
def test_ms_survive_the_way_there_and_back(ms: int) -> None:
    assert pcm.samples_to_ms(pcm.ms_to_samples(ms)) == ms


@given(st.integers(0, 10**12))
def test_a_count_of_samples_is_never_said_to_be_longer(samples: int) -> None:
    assert pcm.ms_to_samples(pcm.samples_to_ms(samples)) <= samples
    assert samples - 1 <= pcm.ns_to_samples(pcm.samples_to_ns(samples)) <= samples


@given(st.lists(st.integers(-32768, 32767)))
def test_arrays_are_exact(values: list[int]) -> None:
    samples = np.array(values, np.int16)
    data = pcm.from_array(samples)
    assert len(data) == len(values) * pcm.SAMPLE_BYTES
    assert pcm.to_array(data).tolist() == values


def test_the_byte_order_is_little() -> None:
    assert pcm.from_array(np.array([1, -2], np.int16)) == b"\x01\x00\xfe\xff"
    assert pcm.to_array(b"\x01\x00\xfe\xff").tolist() == [1, -2]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        pcm.to_array(b"abc")


def test_levels() -> None:
    square = np.tile(np.array([32767, -32767], np.int16), 1000)
    sine = np.round(32767 * np.sin(np.arange(24_000) * 2 * np.pi / 24)).astype(np.int16)
    assert pcm.dbfs(pcm.from_array(square)) == pytest.approx(0, abs=0.01)
    assert pcm.dbfs(pcm.from_array(sine)) == pytest.approx(-3.01, abs=0.01)
    assert pcm.dbfs(pcm.from_array(sine // 10)) == pytest.approx(-23.01, abs=0.01)
    # The one value whose magnitude does not fit into int16.
    assert pcm.dbfs(pcm.from_array(np.full(10, -32768, np.int16))) == 0


@pytest.mark.parametrize("silence", [b"", bytes(960), bytearray(2), memoryview(bytes(4))])
def test_silence_has_a_finite_level(silence: bytes) -> None:
    assert pcm.dbfs(silence) == pcm.SILENCE_DBFS


def test_the_constants_cost_no_numpy() -> None:
    code = "import sys; from shared.audio import pcm, devices; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
