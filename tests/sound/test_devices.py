"""PortAudio's devices on a real sound server: they play and record every sample, at its time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyaudio
import pytest

from harness.ears import Ear
from harness.pulse import SoundServer
from harness.waves import RATE, Samples, loudest_frequency, spans, tone
from shared.audio import devices, pcm, portaudio_library
from shared.audio.device import DeviceError, InputDevice, OutputDevice
from shared.audio.reopening import ReopeningDevice
from shared.stage import Stage
from tests.support.standin import StageStandIn

SOON = 10.0  # s: how long a busy machine may take for something that normally takes no time
FORMATS = [(24_000, 1), (24_000, 2), (48_000, 1), (48_000, 2), (44_100, 1), (16_000, 1)]


@pytest.fixture(autouse=True)
def _machine(sound_server: SoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process use the private sound server."""
    for name in set(os.environ) - set(sound_server.env):
        monkeypatch.delenv(name)
    for name, value in sound_server.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def accept_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that makes all devices refuse any other rate and number of channels."""

    def accept_only(rate: int, channels: int) -> None:
        opened = pyaudio.PyAudio.open
        described = pyaudio.PyAudio.get_device_info_by_index

        def choosy(self: Any, *arguments: Any, **options: Any) -> Any:
            if (options["rate"], options["channels"]) != (rate, channels):
                raise OSError(pyaudio.paInvalidSampleRate, "Invalid sample rate")
            return opened(self, *arguments, **options)

        def at_rate(self: Any, index: int) -> Any:
            return described(self, index) | {"defaultSampleRate": float(rate)}

        monkeypatch.setattr(pyaudio.PyAudio, "open", choosy)
        monkeypatch.setattr(pyaudio.PyAudio, "get_device_info_by_index", at_rate)

    return accept_only


class Speaker:
    """A started speaker that plays a test's sounds, with silence before and after each."""

    def __init__(self, spec: str = "auto") -> None:
        self.device: OutputDevice = devices.open_output(spec)
        self.rendered = 0  # samples
        self.calls = 0
        self.begun = threading.Event()
        #: When the first silence after a sound will be heard, ns, as the device says.
        self.silent_from: int | None = None
        self._rest = np.zeros(0, np.int16)
        self._loud = False
        self.device.start(self._render)
        assert self.begun.wait(SOON)

    def say(self, sound: Samples) -> None:
        """Play a sound from the next callback on. An empty sound is silence."""
        self.silent_from = None
        self._rest = sound

    def _render(self, samples: int, dac_ns: int) -> bytes:
        self.begun.set()
        self.calls += 1
        self.rendered += samples
        block, self._rest = self._rest[:samples], self._rest[samples:]
        if self._loud and not len(block) and self.silent_from is None:
            self.silent_from = dac_ns
        self._loud = len(block) > 0
        return block.tobytes() + bytes(pcm.SAMPLE_BYTES * (samples - len(block)))


class Microphone:
    """A started microphone and the blocks that it recorded."""

    def __init__(self, spec: str = "auto") -> None:
        self.device: InputDevice = devices.open_input(spec)
        #: For each callback, the time of the call and the callback's arguments.
        self.blocks: list[tuple[int, bytes, int, bool]] = []
        self._changed = threading.Condition()
        self.device.start(self._on_block)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, SOON)

    @property
    def audio(self) -> Samples:
        return np.frombuffer(b"".join(block for _, block, _, _ in self.blocks), np.int16)

    def _on_block(self, block: bytes, adc_ns: int, overflowed: bool) -> None:
        with self._changed:
            self.blocks.append((time.monotonic_ns(), block, adc_ns, overflowed))
            self._changed.notify_all()


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    """Yield a speaker on the default device."""
    speaker = Speaker()
    yield speaker
    speaker.device.stop()


@pytest.fixture
def ear(sound_server: SoundServer) -> Iterator[Ear]:
    """Yield a recording of the speaker."""
    with sound_server.record() as ear:
        yield ear


def only_sound(heard: Samples) -> Samples:
    """Return the only sound of a recording, without the silence around it."""
    ((first, last),) = spans(heard)
    return heard[first:last]


def wait_for_failure(device: InputDevice | OutputDevice) -> str:
    """Wait until a device has failed, and return the reason. A device does not report it itself."""
    deadline = time.monotonic() + SOON
    while (failure := device.failure()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return failure


def played(ear: Ear, sound: Samples) -> tuple[OutputDevice, Samples]:
    """Play a sound on a new speaker. Return the speaker and the sound that was heard."""
    for _ in range(20):
        speaker = Speaker()
        speaker.say(sound)
        begin = ear.wait_for_sound(after=len(ear.audio))
        end = ear.wait_for_silence(0.2, after=begin)
        speaker.device.stop()
        heard = ear.audio[begin:end]
        # The device's buffer is 10 ms. If the machine is busy for longer, the sound has a gap, or
        # the device skips audio and reports an underflow. The sound server also makes some gaps
        # itself, which PortAudio does not notice. Try again in these cases.
        holes = spans((np.abs(heard) < 100).astype(np.int16) * 32767, gap_ms=0.05)
        whole = all(last - first < RATE // 2000 for first, last in holes)
        if whole and not speaker.device.underflows:
            return speaker.device, heard
    pytest.fail("the sound had a gap twenty times in a row: the machine is too busy for this test")


def test_every_sample_rendered_is_heard_and_no_other(ear: Ear) -> None:
    # Noise, so that every sample is loud and no part is like another.
    sound = np.random.default_rng(1).integers(3000, 20_000, RATE // 4, np.int16)
    speaker, heard = played(ear, sound)
    assert speaker.rate == RATE
    np.testing.assert_array_equal(heard, sound)


@pytest.mark.parametrize(("rate", "channels"), FORMATS)
def test_a_speaker_of_any_format_keeps_length_and_pitch(
    ear: Ear, accept_only: Callable[[int, int], None], rate: int, channels: int
) -> None:
    accept_only(rate, channels)
    speaker, heard = played(ear, tone(1000, 0.25))
    assert speaker.rate == rate
    assert ("resampled" in speaker.description) == (rate != RATE)
    assert len(heard) == pytest.approx(0.25 * RATE, rel=0.01)
    assert loudest_frequency(heard) == pytest.approx(1000, abs=3)
    assert pcm.dbfs(heard.tobytes()) == pytest.approx(-15.05, abs=0.2)


@pytest.mark.parametrize(("rate", "channels"), FORMATS)
def test_a_microphone_of_any_format_keeps_length_and_pitch(
    sound_server: SoundServer,
    accept_only: Callable[[int, int], None],
    rate: int,
    channels: int,
) -> None:
    accept_only(rate, channels)
    microphone = Microphone()
    assert microphone.device.rate == rate
    microphone.wait_for(lambda: len(microphone.blocks) > 0)
    mouth = sound_server.play(tone(1000, 0.5))
    mouth.wait()
    microphone.wait_for(
        lambda: (
            bool(spans(microphone.audio))
            and len(microphone.audio) - spans(microphone.audio)[-1][1] > 0.2 * RATE
        )
    )
    microphone.device.stop()
    heard = only_sound(microphone.audio)
    assert len(heard) == pytest.approx(0.5 * RATE, rel=0.005)
    assert loudest_frequency(heard) == pytest.approx(1000, abs=3)
    assert pcm.dbfs(heard.tobytes()) == pytest.approx(-15.05, abs=0.2)
    assert not any(overflowed for *_, overflowed in microphone.blocks)


def test_a_microphone_keeps_the_clocks_time(sound_server: SoundServer) -> None:
    microphone = Microphone()
    # Ignore the first second, in which the times of a new stream are inexact.
    microphone.wait_for(lambda: len(microphone.audio) > 2 * RATE)
    microphone.device.stop()
    places = np.cumsum([0] + [len(block) // 2 for _, block, _, _ in microphone.blocks])
    begins = np.array([adc for _, _, adc, _ in microphone.blocks])
    for called, block, adc, _ in microphone.blocks:
        assert adc + len(block) // 2 * 10**9 // RATE <= called, "a block ends before its callback"
    settled = places[:-1] > RATE
    lasted = (begins[settled][-1] - begins[settled][0]) / 1e9
    assert (places[:-1][settled][-1] - places[:-1][settled][0]) / RATE == pytest.approx(
        lasted, rel=0.05
    )


def test_silence_is_heard_when_it_was_promised(ear: Ear, speaker: Speaker) -> None:
    speaker.say(tone(1000, 30))
    begin = ear.wait_for_sound()
    ear.wait_for(lambda heard: len(heard) > begin + RATE)
    event = time.monotonic()
    speaker.say(tone(1000, 0))
    end = ear.wait_for_silence(0.2, after=begin)
    assert speaker.silent_from is not None
    promised = speaker.silent_from / 1e9
    assert event < promised
    # The recording's clock is exact to 5 ms. The tolerance is below the 100 ms of a large buffer.
    assert ear.time_of(end) == pytest.approx(promised, abs=0.05)


def test_stop_is_prompt_and_final(ear: Ear) -> None:
    speaker, microphone = Speaker(), Microphone()
    speaker.say(tone(1000, 30))
    ear.wait_for_sound()
    microphone.wait_for(lambda: len(microphone.blocks) > 10)
    for device in (speaker.device, microphone.device):
        before = time.monotonic()
        device.stop()
        assert time.monotonic() - before < 0.5
        device.stop()
        assert device.failure() is None
    calls, blocks = speaker.calls, len(microphone.blocks)
    ear.wait_for_silence(0.3)
    assert (speaker.calls, len(microphone.blocks)) == (calls, blocks), "no call after stop"


def test_a_device_can_be_opened_again_and_again(ear: Ear) -> None:
    for _ in range(3):
        speaker = Speaker()
        speaker.say(tone(1000, 0.1))
        ear.wait_for_silence(0.15, after=ear.wait_for_sound(after=len(ear.audio)))
        speaker.device.stop()
    devices.open_output("auto").stop()  # never started


def test_an_exception_of_the_callback_is_reported() -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("oh")

    speaker = devices.open_output("auto")
    speaker.start(broken)
    assert wait_for_failure(speaker) == "ZeroDivisionError: oh"
    speaker.stop()
    microphone = devices.open_input("auto")
    microphone.start(broken)
    assert wait_for_failure(microphone) == "ZeroDivisionError: oh"
    microphone.stop()


def test_a_lost_sound_server_is_reported_and_its_return_is_seen(
    sound_server: SoundServer,
) -> None:
    speaker, microphone = Speaker(), Microphone()
    microphone.wait_for(lambda: len(microphone.blocks) > 0)
    sound_server.stop()
    try:
        for device in (speaker.device, microphone.device):
            assert wait_for_failure(device).endswith(
                "stopped by itself: unplugged, or the sound server is gone"
            )
            device.stop()
        with pytest.raises(DeviceError, match="no speaker: PortAudio finds no output devices"):
            devices.open_output("auto")
        with pytest.raises(DeviceError, match="no microphone: PortAudio finds no input devices"):
            devices.open_input("auto")
    finally:
        sound_server.start()
    speaker = Speaker()
    with sound_server.record() as ear:
        speaker.say(tone(1000, 0.2))
        ear.wait_for_sound()
    speaker.device.stop()


def microphone_starter(device: InputDevice) -> Callable[[], None]:
    return lambda: device.start(lambda *_: None)


def speaker_starter(device: OutputDevice) -> Callable[[], None]:
    return lambda: device.start(lambda samples, _: bytes(samples * pcm.SAMPLE_BYTES))


def test_a_sound_server_that_hangs_leaves_no_stream_behind_and_new_devices_are_found(
    sound_server: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portaudio_library, "_OPEN_S", 0.3)
    owner = StageStandIn()
    stage = cast("Stage", owner)
    sound_server.freeze()
    try:
        microphone = ReopeningDevice[InputDevice](
            stage, "microphone", lambda: devices.open_input("auto"), microphone_starter
        )
        speaker = ReopeningDevice[OutputDevice](
            stage, "speaker", lambda: devices.open_output("auto"), speaker_starter
        )
        for _ in range(5):
            owner.tick()
        assert (microphone.device, speaker.device) == (None, None)
        assert owner.counters["no_device"] == 2
    finally:
        sound_server.thaw()
    monkeypatch.setattr(portaudio_library, "_OPEN_S", SOON)
    deadline = time.monotonic() + SOON
    while microphone.device is None or speaker.device is None:
        assert time.monotonic() < deadline, owner.warnings
        owner.tick()
        time.sleep(0.01)
    for streams in ("source-outputs", "sink-inputs"):
        assert len(sound_server.pactl("list", "short", streams).splitlines()) == 1
    owner.close()
    # PortAudio looks for devices when its first user in a process begins. So the last one has gone.
    config = Path(os.environ["ALSA_CONFIG_PATH"])
    before = config.read_text()
    assert "headset" not in devices.list_devices("output")
    try:
        config.write_text(before.replace('"pulse"', '"headset"').replace(".pulse", ".headset"))
        assert "headset" in devices.list_devices("output")
    finally:
        config.write_text(before)


def test_devices_are_listed_and_found_by_name() -> None:
    header, *rows = devices.list_devices("output").splitlines()
    assert header.split() == ["index", "name", "host", "API", "channels", "rate", "latency"]
    assert len([row for row in rows if row.startswith("*")]) == 1
    assert any(" pulse " in row for row in rows)
    speaker = devices.open_output("portaudio:PULS")
    assert " 'pulse' at 24000 Hz, latency " in speaker.description
    speaker.stop()
    with pytest.raises(DeviceError, match=r"no microphone is called 'tube'; there are: .*'pulse'"):
        devices.open_input("portaudio:tube")


def test_nothing_is_written_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    # Use the machine's own ALSA configuration, with which ALSA complains about each missing card.
    os.environ.pop("ALSA_CONFIG_PATH")
    devices.list_devices("input")
    assert capfd.readouterr().err == ""
