"""One channel out of several: the mix, one by number, and two that cancel each other."""

from __future__ import annotations

import numpy as np
import pytest

from shared.audio import pcm
from shared.audio.channels import Channels, check_channel
from shared.audio.device import DeviceError

BLOCK = 240


def voice(seconds: float = 1.0, seed: int = 1, level: float = 1000) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.asarray(chance.standard_normal(round(seconds * pcm.RATE)) * level)


def heard(channels: Channels, *columns: np.ndarray) -> np.ndarray:
    """Return what is left of channels that a device gives in blocks of 10 ms."""
    frames = np.rint(np.stack(columns, axis=1)).astype("<i2")
    blocks = [frames[at : at + BLOCK] for at in range(0, len(frames), BLOCK)]
    return np.concatenate([pcm.to_array(channels.mono(block.tobytes())) for block in blocks])


def test_one_channel_passes_through_untouched() -> None:
    block = voice().astype("<i2").tobytes()
    assert Channels(1, 0).mono(block) is block
    assert Channels(1, 1).mono(block) == block


@pytest.mark.parametrize("count", [2, 4, 6])
def test_the_mix_is_that_of_the_first_two(count: int) -> None:
    columns = [np.full(480, value) for value in (32767, 32765, 9, 9, 9, 9)[:count]]
    assert set(heard(Channels(count, 0), *columns)) == {32766}, "without wrapping"


@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_a_channel_by_number_counts_from_one(wanted: int) -> None:
    columns = [np.full(480, value) for value in (100, 200, 300)]
    assert set(heard(Channels(3, wanted), *columns)) == {100 * wanted}


@pytest.mark.parametrize("mismatch_db", [0, 1, -1.4])
def test_two_channels_in_opposite_phase_are_a_fault(mismatch_db: float) -> None:
    channels = Channels(2, 0)
    assert channels.fault() is None
    said = voice()
    heard(channels, said, -said * 10 ** (mismatch_db / 20))
    assert "opposite phase" in str(channels.fault())
    assert "capture.channel = 1" in str(channels.fault())
    heard(channels, np.zeros(48_000), np.zeros(48_000))
    assert channels.fault() is not None, "silence is no news"
    heard(channels, said, said)
    assert channels.fault() is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (voice(seed=1), voice(seed=1)),
        (voice(seed=1), voice(seed=2)),
        (voice(seed=1), np.zeros(pcm.RATE)),
        (voice(seed=1), -voice(seed=1) * 0.5),
        (voice(level=5), -voice(level=5)),
        (voice(seed=1) + voice(seed=2), voice(seed=2) - voice(seed=1)),
    ],
    ids=["alike", "strangers", "one empty", "one much softer", "noise", "a room and a hum"],
)
def test_other_channels_are_none(left: np.ndarray, right: np.ndarray) -> None:
    channels = Channels(2, 0)
    heard(channels, left, right)
    assert channels.fault() is None


def test_a_channel_that_was_chosen_cannot_be_cancelled() -> None:
    channels = Channels(2, 2)
    said = voice()
    np.testing.assert_array_equal(heard(channels, said, -said), np.rint(-said))
    assert channels.fault() is None


@pytest.mark.parametrize(("wanted", "count"), [(0, 1), (1, 1), (2, 2), (1, 6)])
def test_a_channel_that_the_device_has_is_accepted(wanted: int, count: int) -> None:
    check_channel(wanted, count, "microphone 'USB'")


def test_a_channel_that_the_device_lacks_is_reported() -> None:
    with pytest.raises(DeviceError) as raised:
        check_channel(3, 2, "microphone 'USB'")
    expected = "capture.channel = 3: microphone 'USB' has 2 channels, 1 to 2; 0 is the mix"
    assert str(raised.value) == expected
    with pytest.raises(DeviceError, match="'USB' has 1 channel; 0 is the mix"):
        check_channel(2, 1, "microphone 'USB'")
