"""The link that a person is told, and when the page is the only way to talk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commands import page
from shared import config, door
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.audio.paced import null_input, null_output

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://127.0.0.1:8791/", "http://127.0.0.1:8791/"),
        ("http://0.0.0.0:8791/", "http://localhost:8791/"),
        ("https://[::]:8791/", "https://localhost:8791/"),
        ("https://192.168.1.2:8791/", "https://192.168.1.2:8791/"),
    ],
)
def test_the_link_has_the_token(tmp_path: Path, address: str, shown: str) -> None:
    assert page.link(tmp_path, 0) == ""
    (tmp_path / door.ADDRESS).write_text(f"{address}\n")
    assert page.link(tmp_path, 0) == f"{shown}#token={door.token(tmp_path)}"


def test_an_old_address_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / door.ADDRESS
    path.write_text("http://127.0.0.1:8791/\n")
    before_ns = page.written_ns(tmp_path)
    assert page.link(tmp_path, before_ns) == ""
    # The next monitor writes its own address, also if the clock was set back meanwhile.
    path.write_text("http://127.0.0.1:8792/\n")
    os.utime(path, (1, 1))
    assert page.link(tmp_path, before_ns).startswith("http://127.0.0.1:8792/")


def test_a_monitor_that_listens_on_its_socket_alone_serves_no_page(tmp_path: Path) -> None:
    (tmp_path / door.ADDRESS).write_text("\n")
    assert page.link(tmp_path, 0) == ""


@pytest.mark.parametrize("microphone", [True, False])
@pytest.mark.parametrize("speaker", [True, False])
@pytest.mark.parametrize("setting", ["", "capture.device=null", "monitor.listen="])
def test_only_a_machine_without_any_sound_takes_the_page(
    monkeypatch: pytest.MonkeyPatch, microphone: bool, speaker: bool, setting: str
) -> None:
    def missing(*_: object) -> None:
        raise DeviceError("there is none")

    monkeypatch.setattr(devices, "open_input", lambda _: null_input() if microphone else missing())
    monkeypatch.setattr(devices, "open_output", lambda _: null_output() if speaker else missing())
    settings = config.resolve(Path(os.devnull), {}, [setting] if setting else []).config
    assert page.is_silent(settings) == (not microphone and not speaker and not setting)
