"""PortAudio's devices, its thread, and what it writes to stderr, on a fake PortAudio."""

from __future__ import annotations

import os
import threading

import pyaudio
import pytest

from shared.audio import portaudio_library
from shared.audio.device import DeviceError, DeviceHangs
from shared.audio.jobs import JobThread
from shared.audio.portaudio import PortAudioInput, PortAudioOutput
from shared.audio.portaudio_library import Device, choose
from tests.support.fake_portaudio import FakePortAudio

# --- which device -----------------------------------------------------------------------------


def devices() -> list[Device]:
    names = ("Built-in", "USB Headset", "USB Speaker", "usb", "7")
    return [Device(2 * i, n, "FAKE", 2, 48_000, 9.0, i == 1) for i, n in enumerate(names)]


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("", "USB Headset"),
        ("0", "Built-in"),
        ("4", "USB Speaker"),
        ("built", "Built-in"),
        ("HEADSET", "USB Headset"),
        ("USB", "usb"),  # a whole name goes before a part
    ],
)
def test_a_device_is_named_by_index_or_part_of_its_name(wanted: str, name: str) -> None:
    assert choose(devices(), "output", wanted).name == name


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("sp eaker", "no speaker is called 'sp eaker'; there are: 0 'Built-in', 2 'USB Headset', "),
        ("1", "no speaker is called '1'; there are: 0 'Built-in', "),
        ("7", "no speaker is called '7'"),
        ("²", "no speaker is called '²'"),
        ("usb ", "2 speakers are called 'usb '; give the index of one: 2 'USB Headset', 4 'USB Sp"),
    ],
)
def test_the_error_for_a_wrong_device_lists_the_devices(wanted: str, said: str) -> None:
    with pytest.raises(DeviceError) as raised:
        choose(devices(), "output", wanted)
    assert str(raised.value).startswith(said)


def test_an_error_without_devices_says_what_to_do(fake: FakePortAudio) -> None:
    fake.devices = [fake.device("mic", outputs=0)]
    with pytest.raises(DeviceError, match="no speaker: PortAudio finds no output devices; use fi"):
        PortAudioOutput("")
    fake.default = None
    with pytest.raises(DeviceError, match=r"no default microphone; name one with .*: 0 'mic'"):
        PortAudioInput("")


def test_the_table(fake: FakePortAudio) -> None:
    fake.devices = [
        fake.device("Built-in"),
        fake.device("mic only", outputs=0),
        fake.device(b"K\xf6nigs\n klang", rate=44_100.0, outputs=32),
    ]
    fake.default = 2
    assert portaudio_library.list_devices("output").splitlines() == [
        "   index  name          host API  channels  rate      latency",
        "   0      Built-in      FAKE      2         48000 Hz  9 ms",
        "*  2      K\ufffdnigs klang  FAKE      32        44100 Hz  9 ms",
    ]
    fake.devices = []
    assert portaudio_library.list_devices("input") == "PortAudio finds no input devices."


# --- the thread, and stderr -------------------------------------------------------------------


def test_a_sound_system_that_hangs_hangs_nobody(
    fake: FakePortAudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portaudio_library, "_OPEN_S", 0.05)
    monkeypatch.setattr(portaudio_library, "_CLOSE_S", 0.05)
    monkeypatch.setattr(portaudio_library, "_THREAD", JobThread("portaudio"))
    device = PortAudioOutput("")
    fake.hangs = threading.Event()
    for _ in range(3):
        with pytest.raises(DeviceHangs, match="does not answer: restart the sound server") as hung:
            PortAudioOutput("")
    device.stop()  # it waits behind the opening that hangs, is given up, and is done later
    assert fake.initialised == 1
    fake.hangs.set()
    assert hung.value.over.wait(5)
    portaudio_library._THREAD.finish(lambda: None, 5)
    # The device that opened late is closed again, and the two other openings were never tried.
    assert fake.initialised == 0
    assert len(fake.tried) == 2


def test_a_device_that_does_not_start_is_closed(fake: FakePortAudio) -> None:
    device = PortAudioOutput("")
    assert fake.stream is not None
    fake.stream.refuses = OSError(-9999, "Unanticipated host error")
    with pytest.raises(DeviceError, match="does not start: Unanticipated host error"):
        device.start(lambda samples, _: bytes(2 * samples))
    assert fake.initialised == 0
    device.stop()


def test_alsa_is_not_heard_on_stderr(
    fake: FakePortAudio, capfd: pytest.CaptureFixture[str]
) -> None:
    class Noisy(FakePortAudio):
        def __call__(self) -> FakePortAudio:
            os.write(2, b"ALSA lib confmisc.c:855:(parse_card) cannot find card '0'\n")
            return fake()

    pyaudio.PyAudio = Noisy()
    PortAudioOutput("").stop()
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"
