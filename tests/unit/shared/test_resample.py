"""Resampling of a live stream: lengths, delay, pitch, level, and the filter's attenuation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audio.resample import Resampler

Samples = npt.NDArray[np.int16]

RATES = [
    (24_000, 48_000),
    (48_000, 24_000),
    (24_000, 44_100),
    (44_100, 24_000),
    (24_000, 16_000),
    (16_000, 24_000),
    (24_000, 96_000),
    (192_000, 24_000),
    (11_025, 24_000),
]


def tone(frequency: float, rate: int, seconds: float = 1.0, peak: float = 10_000) -> Samples:
    moments = np.arange(round(rate * seconds)) / rate
    return np.round(peak * np.sin(2 * np.pi * frequency * moments)).astype(np.int16)


def run(resampler: Resampler, samples: Samples, sizes: Iterable[int]) -> Samples:
    made, place = [], 0
    for size in sizes:
        made.append(resampler.process(samples[place : place + size]))
        place += size
    made.append(resampler.process(samples[place:]))
    return np.concatenate(made)


def decibels(samples: npt.NDArray[np.floating]) -> float:
    return float(10 * np.log10(np.mean(samples**2) / (10_000**2 / 2) + 1e-12))


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("count", [0, 1, 2, 479, 480, 24_000])
def test_length_is_kept(rate_in: int, rate_out: int, count: int) -> None:
    made = Resampler(rate_in, rate_out).process(np.zeros(count, np.int16))
    assert len(made) == -(-count * rate_out // rate_in)
    assert made.dtype == np.int16


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("part", [0.01, 0.1, 0.4])
def test_pitch_phase_and_level_are_kept(rate_in: int, rate_out: int, part: float) -> None:
    frequency = part * min(rate_in, rate_out)
    resampler = Resampler(rate_in, rate_out)
    made = resampler.process(tone(frequency, rate_in)).astype(np.float64)
    moments = np.arange(len(made)) / rate_out - resampler.delay / rate_in
    expected = 10_000 * np.sin(2 * np.pi * frequency * moments)
    settled = slice(rate_out // 20, None)
    assert decibels((made - expected)[settled]) < -70, "the same tone, later by the delay"


@pytest.mark.parametrize(("rate_in", "rate_out"), [(48_000, 24_000), (44_100, 24_000)])
@pytest.mark.parametrize("frequency", [12_600, 15_000, 20_000])
def test_frequencies_above_the_lower_rates_limit_are_removed(
    rate_in: int, rate_out: int, frequency: int
) -> None:
    made = Resampler(rate_in, rate_out).process(tone(frequency, rate_in))
    assert decibels(made[rate_out // 20 :].astype(np.float64)) < -70


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_a_click_comes_out_at_the_delay(rate_in: int, rate_out: int) -> None:
    resampler = Resampler(rate_in, rate_out)
    click = np.zeros(4000, np.int16)
    click[1000] = 20_000
    made = resampler.process(click)
    place = (1000 + resampler.delay) * rate_out / rate_in
    assert abs(int(np.argmax(made)) - place) <= 1
    assert resampler.delay_ns == resampler.delay * 1_000_000_000 // rate_in


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_the_delay_is_short(rate_in: int, rate_out: int) -> None:
    # 32 samples of the lower rate, and one for rounding.
    assert Resampler(rate_in, rate_out).delay_ns <= 33 / min(rate_in, rate_out) * 1e9


@given(
    st.sampled_from(RATES),
    st.lists(st.integers(0, 700), max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_the_cuts_between_blocks_are_not_heard(
    rates: tuple[int, int], sizes: list[int], seed: int
) -> None:
    samples = np.random.default_rng(seed).integers(-9000, 9000, 8000, np.int16)
    whole = Resampler(*rates).process(samples)
    cut = run(Resampler(*rates), samples, sizes)
    np.testing.assert_array_equal(cut, whole)


@given(st.sampled_from(RATES), st.lists(st.integers(0, 700), max_size=20))
def test_needed_is_exact(rates: tuple[int, int], wanted: list[int]) -> None:
    resampler = Resampler(*rates)
    for count in wanted:
        needed = resampler.needed(count)
        assert bool(needed) == bool(count)
        if needed:
            made = len(resampler.process(np.zeros(needed - 1, np.int16)))
            assert made < count, "one sample less would not be enough"
            made += len(resampler.process(np.zeros(1, np.int16)))
            assert made >= count


def test_next_input_tells_where_the_next_sample_lies() -> None:
    resampler = Resampler(48_000, 24_000)
    assert resampler.next_input == 0
    resampler.process(np.zeros(1, np.int16))
    assert resampler.next_input == 1, "the second output lies on the third input"
    resampler = Resampler(24_000, 48_000)
    resampler.process(np.zeros(7, np.int16))
    assert resampler.next_input == 0, "each input made its two outputs"


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
@pytest.mark.parametrize("skipped", [0, 1, 7, 768, 1000])
def test_skipped_samples_are_missing_and_the_others_do_not_change(
    rate_in: int, rate_out: int, skipped: int
) -> None:
    samples = tone(440, rate_in)
    whole, other = Resampler(rate_in, rate_out), Resampler(rate_in, rate_out)
    for resampler in (whole, other):
        resampler.process(samples[:1001])
    whole.process(samples[1001 : 1001 + skipped])
    other.skip(samples[1001 : 1001 + skipped])
    wanted = whole.process(samples[1001 + skipped :])
    np.testing.assert_array_equal(other.process(samples[1001 + skipped :]), wanted)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_full_scale_is_clipped_not_wrapped(rate_in: int, rate_out: int) -> None:
    # A filtered square wave overshoots.
    square = np.where(np.arange(2000) // 40 % 2, 32767, -32768).astype(np.int16)
    resampler = Resampler(rate_in, rate_out)
    made = resampler.process(square)
    settled = made[round(resampler.delay * 2 * rate_out / rate_in) :]
    assert settled.max() == 32767
    assert settled.min() == -32768
    # A sample that wrapped around would stand alone between samples of the opposite sign.
    signs = settled[settled != 0] > 0
    runs = np.diff(np.flatnonzero(np.diff(signs)))
    assert runs.min() > 40 * rate_out / rate_in * 0.5


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_a_constant_stays_constant(rate_in: int, rate_out: int) -> None:
    made = Resampler(rate_in, rate_out).process(np.full(4000, 12_345, np.int16))
    assert set(made[len(made) // 2 :]) == {12_345}, "every phase of the filter has the same gain"


def test_silence_stays_silent() -> None:
    resampler = Resampler(24_000, 44_100)
    resampler.process(tone(1000, 24_000, 0.1))
    tail = resampler.process(np.zeros(2 * resampler.delay + 1, np.int16))
    assert tail.any(), "the filter's content comes out"
    assert not resampler.process(np.zeros(1000, np.int16)).any(), "and then nothing"
