"""Microphones and speakers through PortAudio, on a fake PortAudio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyaudio
import pytest

from shared.audio import pcm, portaudio
from shared.audio.device import DeviceError
from shared.audio.portaudio import PortAudioInput, PortAudioOutput
from shared.audio.portaudio_stream import offset_ns
from tests.support.fake_portaudio import NOW, FakePortAudio


def times(current: float = 9.0, adc: float = 0.0, dac: float = 0.0) -> dict[str, float]:
    return {"current_time": current, "input_buffer_adc_time": adc, "output_buffer_dac_time": dac}


class Speaker:
    """A started speaker that renders the numbers from 1 on, and what it was asked for."""

    def __init__(self, fake: FakePortAudio) -> None:
        self.device = PortAudioOutput("")
        self.asked: list[tuple[int, int]] = []
        self.rendered: list[npt.NDArray[np.int16]] = []
        self._next = 1
        self.device.start(self.render)
        assert fake.stream is not None
        self.stream = fake.stream

    def render(self, samples: int, dac_ns: int) -> bytes:
        self.asked.append((samples, dac_ns))
        block = np.arange(self._next, self._next + samples).astype(np.int16)
        self._next += samples
        self.rendered.append(block)
        return pcm.from_array(block)

    def call(self, frames: int, status: int = 0, **clock: float) -> npt.NDArray[np.int16]:
        block, after = self.stream.callback(None, frames, times(**clock), status)
        assert after == pyaudio.paContinue
        assert block is not None
        return pcm.to_array(block).reshape(frames, -1)


class Microphone:
    """A started microphone and the blocks that it delivered."""

    def __init__(self, fake: FakePortAudio, channel: int = 0) -> None:
        self.device = PortAudioInput("", channel)
        self.blocks: list[tuple[npt.NDArray[np.int16], int, bool]] = []
        self.device.start(
            lambda block, at, lost: self.blocks.append((pcm.to_array(block), at, lost))
        )
        assert fake.stream is not None
        self.stream = fake.stream

    def call(self, samples: npt.NDArray[Any], status: int = 0, **clock: float) -> None:
        data = pcm.from_array(samples.astype(np.int16).reshape(-1))
        answer = self.stream.callback(data, len(samples), times(**clock), status)
        assert answer == (None, pyaudio.paContinue)


# --- in which format --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepts", "tried", "description"),
    [
        (lambda _r, _c: True, [(24_000, 1)], "at 24000 Hz, latency 8 ms"),
        (
            lambda _r, c: c == 2,
            [(24_000, 1), (24_000, 2)],
            "at 24000 Hz, 2 channels, latency 8 ms",
        ),
        (
            lambda r, _c: r == 48_000,
            [(24_000, 1), (24_000, 2), (24_000, 6), (48_000, 1)],
            "at 48000 Hz, resampled, latency 9 ms",
        ),
        (
            lambda r, c: r == 48_000 and c == 6,
            [(24_000, 1), (24_000, 2), (24_000, 6), (48_000, 1), (48_000, 2), (48_000, 6)],
            "at 48000 Hz, resampled, 6 channels, latency 9 ms",
        ),
    ],
)
def test_a_device_is_opened_as_near_to_24_khz_mono_as_it_goes(
    fake: FakePortAudio,
    accepts: Callable[[int, int], bool],
    tried: list[tuple[int, int]],
    description: str,
) -> None:
    fake.devices = [fake.device("loud", outputs=6)]
    fake.accepts = accepts
    device = PortAudioOutput("")
    assert fake.tried == tried
    assert device.description == f"portaudio 0 'loud' {description}"
    assert device.rate == tried[-1][0]
    assert fake.stream is not None
    options = fake.stream.options
    assert options["frames_per_buffer"] == device.rate * 128 // 24_000
    assert options["output_device_index"] == 0
    assert options["output"] is True
    device.stop()


def test_a_microphone_asks_for_10_ms(fake: FakePortAudio) -> None:
    fake.accepts = lambda rate, _channels: rate == 48_000
    device = PortAudioInput("")
    assert fake.stream is not None
    options = fake.stream.options
    assert options["frames_per_buffer"] == 480
    assert options["input_device_index"] == 0
    assert options["input"] is True
    device.stop()


def test_a_device_that_takes_nothing_is_reported(fake: FakePortAudio) -> None:
    fake.accepts = lambda _rate, _channels: False
    with pytest.raises(DeviceError) as raised:
        PortAudioInput("0")
    assert str(raised.value) == (
        "input device 0 'loud' cannot be opened: Invalid sample rate; is it in use, or unplugged?"
    )


def test_a_device_that_does_not_start_is_reported(fake: FakePortAudio) -> None:
    device = PortAudioInput("")
    assert fake.stream is not None
    fake.stream.refuses = OSError(-9999, "Unanticipated host error")
    with pytest.raises(DeviceError, match="portaudio 0 'loud' does not start: Unanticipated host"):
        device.start(lambda *_: None)
    assert device.failure() is None
    device.stop()


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "converter", "expected"),
    [
        (1.8e9, 1.8e9 + 0.0109375, 10_937_500),  # the wall clock
        (5.0, 5.0, 0),
        (5.0, 5.5, 500_000_000),
        (5.0, 5.6, 8),  # too far ahead
        (5.0, 4.9, 8),  # it would be heard before now
        (0.0, 5.0, 8),
        (5.0, 0.0, 8),
        (0.0, 0.0, 8),
        (float("nan"), 5.0, 8),
        (5.0, float("inf"), 8),
    ],
)
def test_a_time_is_believed_if_it_can_be_true(
    current: float, converter: float, expected: int
) -> None:
    assert offset_ns(current, converter, 8, 500_000_000) == pytest.approx(expected, abs=300)
    if 0 <= converter < 1e300:
        mirrored = 2 * current - converter if current and converter else converter
        assert offset_ns(current, mirrored, -8, -500_000_000) == pytest.approx(-expected, abs=300)


# --- a speaker --------------------------------------------------------------------------------


def test_a_speaker_hands_on_what_is_rendered(fake: FakePortAudio) -> None:
    speaker = Speaker(fake)
    assert speaker.call(64, dac=9.01)[:, 0].tolist() == list(range(1, 65))
    assert speaker.call(3)[:, 0].tolist() == [65, 66, 67]
    assert speaker.asked == [(64, NOW + 10_000_000), (3, NOW + 8_000_000)]
    assert speaker.device.underflows == 0
    speaker.call(64, pyaudio.paOutputUnderflow)
    assert speaker.device.underflows == 1
    assert speaker.device.warning() is None
    speaker.device.stop()


@pytest.mark.parametrize("channels", [2, 6])
def test_a_speaker_puts_mono_on_the_front_pair(fake: FakePortAudio, channels: int) -> None:
    fake.devices = [fake.device("loud", outputs=channels)]
    fake.accepts = lambda _rate, count: count == channels
    speaker = Speaker(fake)
    frames = speaker.call(64)
    assert frames.shape == (64, channels)
    assert frames[:, 0].tolist() == frames[:, 1].tolist() == list(range(1, 65))
    assert not frames[:, 2:].any()
    speaker.device.stop()


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000, 16_000])
@pytest.mark.parametrize("frames", [64, 95, 104, 1, 1024])
def test_a_resampled_speaker_renders_no_sample_too_many(
    fake: FakePortAudio, rate: int, frames: int
) -> None:
    fake.devices = [fake.device("loud", rate=rate)]
    fake.accepts = lambda asked, _channels: asked == rate
    speaker = Speaker(fake)
    played = np.concatenate([speaker.call(frames)[:, 0] for _ in range(300)])
    rendered = np.concatenate(speaker.rendered)
    assert len(played) == 300 * frames
    # All that was rendered was played, except for what the last sample made beyond the request.
    made = -(-len(rendered) * rate // 24_000)
    assert 0 <= made - len(played) < max(1, rate / 24_000)
    # The rendered numbers rise by one a sample; at the other rate they do so too, delayed.
    delay = 32 * max(1, 24_000 / rate)
    place = np.arange(len(played)) * 24_000 / rate
    # From where the filter is filled to where the numbers exceed 16 bits.
    steady = (place > 2 * delay + 2) & (place < 30_000)
    late = (place + 1 - played)[steady]
    assert np.abs(late - delay).max() < 1
    speaker.device.stop()


@pytest.mark.parametrize("rate", [48_000, 44_100, 96_000, 16_000])
def test_a_resampled_speaker_knows_when_a_sample_is_heard(fake: FakePortAudio, rate: int) -> None:
    fake.devices = [fake.device("loud", rate=rate)]
    fake.accepts = lambda asked, _channels: asked == rate
    device = PortAudioOutput("")
    count, promised = 0, 0

    def render(samples: int, dac_ns: int) -> bytes:
        nonlocal count, promised
        block = np.zeros(samples, np.int16)
        if count <= 1000 < count + samples:
            block[1000 - count] = 30_000  # a click
            promised = dac_ns + (1000 - count) * 10**9 // 24_000
        count += samples
        return pcm.from_array(block)

    device.start(render)
    assert fake.stream is not None
    played = []
    for call in range(60):
        # The device's clock goes on, and its converter is 10 ms ahead.
        fake.now = NOW + call * 97 * 10**9 // rate
        block, _ = fake.stream.callback(None, 97, times(current=9.0, dac=9.01), 0)
        played.append(pcm.to_array(block or b""))
    place = int(np.concatenate(played).argmax())
    click = NOW + 10_000_000 + place * 10**9 // rate
    assert promised == pytest.approx(click, abs=0.6 * 10**9 / rate)
    assert device.latency_ns == 8_000_000 + 32 * 10**9 // min(rate, 24_000)
    device.stop()


def test_an_exception_in_render_ends_the_stream_and_is_reported(fake: FakePortAudio) -> None:
    device = PortAudioOutput("")

    def broken(_samples: int, _dac_ns: int) -> bytes:
        raise ZeroDivisionError("a\nline")

    device.start(broken)
    assert fake.stream is not None
    assert device.failure() is None
    assert fake.stream.callback(None, 64, times(), 0) == (bytes(128), pyaudio.paAbort)
    assert device.failure() == "ZeroDivisionError: a line"
    device.stop()
    assert device.failure() == "ZeroDivisionError: a line"


def test_a_render_of_the_wrong_length_is_reported(fake: FakePortAudio) -> None:
    device = PortAudioOutput("")
    device.start(lambda samples, _dac_ns: bytes(samples))
    assert fake.stream is not None
    fake.stream.callback(None, 64, times(), 0)
    assert device.failure() == "ValueError: render returned 64 bytes for 64 samples"
    device.stop()


# --- a microphone -----------------------------------------------------------------------------


def test_a_microphone_gives_what_it_hears(fake: FakePortAudio) -> None:
    fake.devices = [fake.device("ears", inputs=1)]
    microphone = Microphone(fake)
    microphone.call(np.arange(240), adc=8.988)
    microphone.call(np.arange(48), pyaudio.paInputOverflow)
    microphone.call(np.arange(48), pyaudio.paInputUnderflow, adc=9.0)
    assert [len(block) for block, _, _ in microphone.blocks] == [240, 48, 48]
    assert microphone.blocks[0][0].tolist() == list(range(240))
    assert [lost for _, _, lost in microphone.blocks] == [False, True, False]
    first, second, third = (at for _, at, _ in microphone.blocks)
    assert first == pytest.approx(NOW - 12_000_000, abs=300)
    assert second == NOW - 8_000_000, "without a time, the stream's latency is used"
    assert third == NOW - 2_000_000, "no sample is delivered before it was heard"
    microphone.device.stop()


@pytest.mark.parametrize("channels", [2, 6])
def test_a_microphone_mixes_the_first_two_channels(fake: FakePortAudio, channels: int) -> None:
    fake.devices = [fake.device("ears", inputs=channels)]
    fake.accepts = lambda _rate, count: count == channels
    microphone = Microphone(fake)
    frames = np.full((10, channels), 9999)
    frames[:, 0], frames[:, 1] = 32767, 32765
    microphone.call(frames)
    assert microphone.blocks[0][0].tolist() == [32766] * 10, "without wrapping"
    microphone.device.stop()


@pytest.mark.parametrize(
    ("channel", "accepts", "tried"),
    [
        # Two, so that they can be mixed here; one or all where the device refuses two.
        (0, {1, 2, 6}, [2]),
        (0, {1, 6}, [2, 1]),
        (0, {6}, [2, 1, 6]),
        # All: a sound server mixes what it is not asked for into the others.
        (1, {1, 2, 6}, [6]),
        (5, {1, 2, 6}, [6]),
        (1, {1, 2}, [6, 2]),
    ],
)
def test_a_microphone_is_opened_with_the_channels_that_are_needed(
    fake: FakePortAudio, channel: int, accepts: set[int], tried: list[int]
) -> None:
    fake.devices = [fake.device("array", inputs=6)]
    fake.accepts = lambda _rate, count: count in accepts
    device = PortAudioInput("", channel)
    assert fake.tried == [(24_000, count) for count in tried]
    used = f", channel {channel} of {tried[-1]}" if channel else f", {tried[-1]} channels"
    assert device.description == "portaudio 0 'array' at 24000 Hz" + (
        (used if tried[-1] > 1 else "") + ", latency 8 ms"
    )
    device.stop()


def test_one_channel_of_a_microphone_is_heard_alone(fake: FakePortAudio) -> None:
    fake.devices = [fake.device("array", inputs=6)]
    microphone = Microphone(fake, 5)
    frames = np.tile(np.arange(100, 700, 100), (10, 1))
    microphone.call(frames)
    assert microphone.blocks[0][0].tolist() == [500] * 10
    microphone.device.stop()


def test_a_channel_that_the_microphone_lacks_is_reported(fake: FakePortAudio) -> None:
    with pytest.raises(DeviceError) as raised:
        PortAudioInput("", 3)
    assert str(raised.value) == (
        "capture.channel = 3: microphone 'loud' has 2 channels, 1 to 2; 0 is the mix"
    )


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_channels_in_opposite_phase_are_reported(fake: FakePortAudio, rate: int) -> None:
    fake.accepts = lambda asked, _channels: asked == rate
    microphone = Microphone(fake)
    said = np.random.default_rng(1).integers(-9000, 9000, 240)
    for _ in range(30):
        microphone.call(np.stack((said, -said), axis=1))
    assert "opposite phase" in str(microphone.device.fault())
    assert not any(block.any() for block, _, _ in microphone.blocks)
    microphone.device.stop()


def test_a_muted_microphone_is_all_zeros_when_it_is_resampled(fake: FakePortAudio) -> None:
    fake.accepts = lambda asked, _channels: asked == 48_000
    microphone = Microphone(fake)
    for _ in range(30):
        microphone.call(np.zeros((480, 2)))
    assert not any(block.any() for block, _, _ in microphone.blocks)
    microphone.device.stop()


@pytest.mark.parametrize("rate", [48_000, 44_100, 16_000])
def test_a_resampled_microphone_keeps_count_and_time(fake: FakePortAudio, rate: int) -> None:
    fake.devices = [fake.device("ears", inputs=1, rate=rate)]
    fake.accepts = lambda asked, _channels: asked == rate
    microphone = Microphone(fake)
    sound = np.zeros(rate // 2)
    sound[rate // 4] = 30_000  # a click after 250 ms
    for start in range(0, len(sound), 127):
        block = sound[start : start + 127]
        fake.now = NOW + (start + len(block)) * 10**9 // rate
        microphone.call(block, adc=9.0 - len(block) / rate)
    heard = np.concatenate([block for block, _, _ in microphone.blocks])
    assert 12_000 - 40 * 24 <= len(heard) <= 12_000, "soxr holds less than 40 ms back"
    given = 0
    for pcm_block, at, _ in microphone.blocks:
        assert at == pytest.approx(NOW + given * 10**9 / 24_000, abs=1000), "no gap, no overlap"
        given += len(pcm_block)
    ((samples, at),) = [(b, t) for b, t, _ in microphone.blocks if b.max() > 5_000]
    click = at - NOW + int(samples.argmax()) * 10**9 // 24_000
    assert click == pytest.approx(250_000_000, abs=0.6 * 10**9 / 24_000)
    microphone.device.stop()


def test_an_overflow_is_reported_even_without_audio(fake: FakePortAudio) -> None:
    fake.devices = [fake.device("ears", inputs=1)]
    fake.accepts = lambda asked, _channels: asked == 48_000
    microphone = Microphone(fake)
    while not microphone.blocks:
        microphone.call(np.zeros(48))
    before = len(microphone.blocks)
    microphone.call(np.zeros(1), pyaudio.paInputOverflow)
    assert len(microphone.blocks) == before, "one sample is not enough to give anything"
    while len(microphone.blocks) < before + 2:
        microphone.call(np.zeros(48))
    assert [lost for _, _, lost in microphone.blocks[before:]] == [True, False]
    microphone.device.stop()


def test_an_exception_in_on_block_ends_the_stream_and_is_reported(fake: FakePortAudio) -> None:
    device = PortAudioInput("")

    def broken(_block: bytes, _adc_ns: int, _lost: bool) -> None:
        raise ZeroDivisionError("oh")

    device.start(broken)
    assert fake.stream is not None
    assert fake.stream.callback(bytes(128), 64, times(), 0) == (None, pyaudio.paAbort)
    assert device.failure() == "ZeroDivisionError: oh"
    device.stop()


# --- watching ---------------------------------------------------------------------------------


def test_a_stream_that_stopped_by_itself_is_reported(fake: FakePortAudio) -> None:
    speaker = Speaker(fake)
    assert speaker.device.failure() is None
    speaker.stream.active = False
    failure = speaker.device.failure()
    assert failure == (
        "portaudio 0 'loud' stopped by itself: unplugged, or the sound server is gone"
    )
    speaker.stream.active = True
    assert speaker.device.failure() == failure, "for good"
    speaker.device.stop()


def test_before_and_after_nothing_is_wrong(fake: FakePortAudio) -> None:
    device = PortAudioOutput("")
    assert device.failure() is None
    device.start(lambda samples, _dac_ns: bytes(2 * samples))
    device.stop()
    assert device.failure() is None
    device.stop()
    with pytest.raises(RuntimeError, match="started once"):
        device.start(lambda samples, _dac_ns: bytes(2 * samples))


def test_a_stream_that_falls_silent_is_reported(
    fake: FakePortAudio,
) -> None:
    speaker = Speaker(fake)

    def failure_at(seconds: float) -> str | None:
        fake.now = NOW + round(seconds * 1e9)
        return speaker.device.failure()

    def call_at(seconds: float) -> None:
        fake.now = NOW + round(seconds * 1e9)
        speaker.call(64)

    # At first a sound server may take up to 5 s.
    assert failure_at(4.5) is None
    assert failure_at(4.9) is None
    call_at(4.95)
    call_at(10)
    assert failure_at(11.9) is None
    # The whole process was stopped, not the device: a second look finds the device working.
    assert failure_at(14) is None
    call_at(14.1)
    assert failure_at(14.4) is None
    # The device stops, is looked at, calls once, and stops again.
    assert failure_at(16.2) is None
    call_at(16.3)
    assert failure_at(18.4) is None
    assert failure_at(18.6) is None
    assert failure_at(18.8) == "portaudio 0 'loud' hangs: nothing from it for 2.5 s"
    speaker.device.stop()


def test_pythons_state_of_the_devices_thread_is_kept_once(
    fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[None] = []
    monkeypatch.setattr(portaudio, "keep_thread_state", lambda: kept.append(None))
    for number in (1, 2):
        speaker = Speaker(fake)
        for _ in range(3):
            speaker.call(128)
        assert len(kept) == number
        speaker.device.stop()
