"""A device's name in the configuration, and the errors for a wrong one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared.audio import devices
from shared.audio.device import DeviceError, InputDevice, OutputDevice


@pytest.mark.parametrize("open_device", [devices.open_input, devices.open_output])
@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "",
            "'' is none of: auto, portaudio:<index or part of a name>, file:<path>, browser, null",
        ),
        ("speakers", "'speakers' is none of: auto, "),
        ("AUTO", "'AUTO' is none of: auto, "),
        ("null:", "'null:' is none of: auto, "),
        ("auto:1", "'auto:1' is none of: auto, "),
        ("pulse:1", "'pulse:1' is none of: auto, "),
        ("file:", "'file:': after the colon belongs a path"),
        ("portaudio:", "'portaudio:': after the colon belongs a device's index or a part of its"),
        ("portaudio: ", "'portaudio: ': after the colon belongs a device's index or a part of its"),
    ],
)
def test_the_error_for_a_wrong_name_lists_the_right_ones(
    open_device: object, spec: str, said: str
) -> None:
    assert callable(open_device)
    with pytest.raises(DeviceError) as raised:
        open_device(spec)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_null_opens_without_sound() -> None:
    microphone: InputDevice = devices.open_input("null")
    speaker: OutputDevice = devices.open_output("null")
    for device in (microphone, speaker):
        assert device.rate == 24_000
        assert device.description.startswith("null")
        assert device.failure() is None
        device.stop()


def test_a_file_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    speaker = devices.open_output(f"file:{tmp_path}/a:b.wav")
    speaker.stop()
    assert (tmp_path / "a:b.wav").exists()
    devices.open_input(f"file:{tmp_path}/a:b.wav").stop()


@pytest.mark.parametrize("spec", ["auto", "portaudio:0"])
def test_without_pyaudio_one_line_says_so(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    for module in (
        "shared.audio.portaudio",
        "shared.audio.portaudio_library",
        "shared.audio.portaudio_stream",
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
    with pytest.raises(DeviceError, match=r"PyAudio cannot be loaded .*; install it, or use file:"):
        devices.open_output(spec)
    with pytest.raises(DeviceError, match="PyAudio cannot be loaded"):
        devices.list_devices("input")
    devices.open_output("null").stop()
