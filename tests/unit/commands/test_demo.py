"""``bargein demo``: the table that it prints, and the environment of the stages."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import soundfile

from commands import demo
from commands.demo import Interruption, Record
from harness import references
from shared import config, messages, recording
from shared.audio import devices
from shared.audio.device import DeviceError
from shared.loopback import is_loopback
from shared.realtime import endpoint

pytestmark = pytest.mark.unit


def report(**changed: Any) -> dict[str, Any]:
    given = messages.ItemReport("item", 0, 1234, 5678, "truncate", 1234)
    return {**msgspec.to_builtins(given), **changed}


def interruption(*reports: dict[str, Any], **changed: Any) -> Interruption:
    made: dict[str, Any] = {
        "at_ms": 83_456,
        "cause": "speech_started",
        "event_ns": 10**12,
        "silent_ns": 10**12 + 9_300_000,
        "latency_ns": 2_000_000,
        "reports": list(reports),
    }
    return Interruption(**made | changed)


def rows(*interruptions: Interruption) -> list[str]:
    heading, *found = demo.table(Record(list(interruptions))).splitlines()
    assert heading.split() == ["when", "event", "to", "silence", "heard"]
    return found


def test_a_conversation_without_interruptions() -> None:
    assert demo.table(Record([])) == "no interruptions"


def test_a_row_says_when_how_fast_and_what_was_heard() -> None:
    heading, row = demo.table(Record([interruption(report())])).splitlines()
    when, silence, heard = re.split(r" {2,}", row.strip())
    assert (when, silence) == ("1:23.456", "11.3 ms")
    assert heard == "1.23 s of 5.68 s (truncate at 1234 ms)"
    # Each value is under its heading.
    for title, value in (("when", when), ("event to silence", silence)):
        assert heading.index(title) + len(title) == row.index(value) + len(value)
    assert heading.index("heard") == row.index(heard)


def test_several_items_and_none() -> None:
    several = interruption(
        report(), report(action="delete", heard_ms=0), report(action="none", heard_ms=5678)
    )
    first, second = rows(several, interruption())
    assert first.endswith(
        "1.23 s of 5.68 s (truncate at 1234 ms), 0.00 s of 5.68 s (delete), 5.68 s of 5.68 s (none)"
    )
    assert second.endswith("nothing was playing")


@pytest.mark.parametrize(
    ("at_ms", "when"),
    [(0, "0:00.000"), (59_999, "0:59.999"), (60_000, "1:00.000"), (3_725_008, "62:05.008")],
)
def test_when(at_ms: int, when: str) -> None:
    assert rows(interruption(at_ms=at_ms))[0].split()[0] == when


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"event_ns": 0, "cause": "lost flush"}, "flush was lost"),
        ({"event_ns": 0, "cause": "abandoned"}, "nothing played"),
        ({"silent_ns": 0, "latency_ns": 0}, "not reported"),
        ({"event_ns": 0, "silent_ns": 0, "latency_ns": 0, "cause": "told late"}, "not known"),
    ],
)
def test_an_interruption_without_both_times_has_no_time_to_silence(
    known: dict[str, Any], why: str
) -> None:
    (row,) = rows(interruption(report(), **known))
    assert " ms  " not in row
    assert why in row


def test_the_record_is_read_as_the_recorder_writes_it() -> None:
    written = messages.Interruption(
        generation=1,
        session=2,
        cause="control",
        event_ns=3,
        flush_ns=4,
        received_ns=5,
        silent_ns=6,
        latency_ns=7,
        reports=[messages.ItemReport("item", 0, 1, 2, "delete", 0)],
        cancelled=["resp"],
    )
    text = msgspec.json.encode({"interruptions": [{"at_ms": 9, **msgspec.to_builtins(written)}]})
    (found,) = msgspec.json.decode(text, type=Record).interruptions
    assert (found.at_ms, found.event_ns, found.silent_ns, found.latency_ns) == (9, 3, 6, 7)
    assert demo.table(Record([found]))


# The environment.


@pytest.fixture(name="sound")
def _sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "has_sound", lambda: None)


@pytest.fixture(name="no_sound")
def _no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "has_sound", lambda: "no sound card here")


def in_force(env: dict[str, str]) -> config.Config:
    """Return the configuration that the stages read from an environment."""
    return config.resolve(None, env, []).config


@pytest.mark.usefixtures("sound")
def test_with_a_sound_card_it_is_live(tmp_path: Path) -> None:
    env, told, _ = demo.environment(tmp_path, None)
    found = in_force(env)
    assert (found.capture.device, found.playback.device) == ("auto", "auto")
    assert found.recorder.seconds == demo.LIVE_S
    assert any("live" in line for line in told)
    assert any(f"after {demo.LIVE_S:g} s" in line for line in told)


@pytest.mark.usefixtures("no_sound")
def test_without_one_a_recorded_person_speaks(tmp_path: Path) -> None:
    env, told, _ = demo.environment(tmp_path, None)
    found = in_force(env)
    assert found.capture.device == f"file:{tmp_path / 'microphone.wav'}"
    said = soundfile.info(tmp_path / "microphone.wav")
    assert said.duration == pytest.approx(demo.script_seconds(), abs=0.01)
    assert found.tools.modules == ["examples.tools.timers"]
    assert found.playback.device == f"file:{tmp_path / 'speaker.wav'}"
    assert found.recorder.seconds == pytest.approx(demo.script_seconds())
    assert found.recorder.seconds > demo.AFTER_S
    assert told == [
        "no live conversation (no sound card here): a recorded person speaks instead",
        "to talk yourself, open the page that 'bin/demo --browser' names",
    ]


@pytest.mark.usefixtures("no_sound")
def test_without_one_a_page_can_be_the_microphone_and_the_speaker(tmp_path: Path) -> None:
    env, told, _ = demo.environment(tmp_path, None, browser=True)
    found = in_force(env)
    assert (found.capture.device, found.playback.device) == ("browser", "browser")
    assert found.recorder.seconds == demo.LIVE_S
    assert "open the page" in told[0]


@pytest.mark.parametrize("card", ["sound", "no_sound"])
def test_seconds_set_the_length_of_the_demo(
    request: pytest.FixtureRequest, tmp_path: Path, card: str
) -> None:
    request.getfixturevalue(card)
    env, told, _ = demo.environment(tmp_path, 7.5)
    assert told[0].startswith("live: ") == (card == "sound")
    assert in_force(env).recorder.seconds == 7.5


@pytest.mark.usefixtures("no_sound")
def test_it_is_led_to_the_emulator_without_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(endpoint.KEY_VARIABLE, "sk-secret-secret")
    monkeypatch.setenv("BARGEIN_LINK__KEY_FILE", "/the/key")
    monkeypatch.setenv("BARGEIN_LINK__URL", "wss://api.openai.com/v1/realtime")
    env, told, _ = demo.environment(tmp_path, None)
    found = in_force(env)
    assert is_loopback(found.link.url)
    assert found.link.key_file == ""
    assert endpoint.KEY_VARIABLE not in env
    assert "sk-secret" not in " ".join([*env.values(), *told])
    assert os.environ[endpoint.KEY_VARIABLE] == "sk-secret-secret"
    assert found.recorder.directory == str(tmp_path)
    assert found.session.greeting


@pytest.mark.usefixtures("no_sound")
def test_every_demo_has_a_port_of_its_own(tmp_path: Path) -> None:
    urls = {in_force(demo.environment(tmp_path, None)[0]).link.url for _ in range(3)}
    assert all(url.startswith("ws://127.0.0.1:") for url in urls)
    assert len(urls) > 1


@pytest.mark.usefixtures("no_sound")
def test_the_stages_run_on_the_same_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "/other/bin")
    env, _, _ = demo.environment(tmp_path, None)
    assert env["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/other/bin"


def test_devices_that_are_configured_are_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unused(spec: str) -> None:
        raise AssertionError(f"{spec} was opened")

    monkeypatch.setattr(devices, "open_input", unused)
    monkeypatch.setattr(devices, "open_output", unused)
    monkeypatch.setenv("BARGEIN_CAPTURE__DEVICE", "null")
    env, told, _ = demo.environment(tmp_path, None)
    found = in_force(env)
    assert found.capture.device == "null"
    assert found.playback.device == f"file:{tmp_path / 'speaker.wav'}"
    assert told == []
    monkeypatch.setenv("BARGEIN_PLAYBACK__DEVICE", "null")
    assert in_force(demo.environment(tmp_path, None)[0]).playback.device == "null"


def test_a_wrong_setting_is_reported_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BARGEIN_PLAYBACK__JITER_MS", "1")
    with pytest.raises(config.ConfigError, match=r"did you mean playback\.jitter_ms"):
        demo.environment(tmp_path, None)


@pytest.mark.parametrize("broken", ["input", "output"])
def test_both_a_microphone_and_a_speaker_are_needed(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    stopped = []

    class Device:
        def __init__(self, name: str) -> None:
            self.name = name

        def stop(self) -> None:
            stopped.append(self.name)

    def opener(name: str) -> Any:
        def opened(spec: str) -> Device:
            assert spec == "auto"
            if name == broken:
                raise DeviceError(f"no {name}")
            return Device(name)

        return opened

    monkeypatch.setattr(devices, "open_input", opener("input"))
    monkeypatch.setattr(devices, "open_output", opener("output"))
    assert demo.has_sound() == f"no {broken}"
    broken = "none"
    assert demo.has_sound() is None
    assert stopped[-2:] == ["input", "output"]


def test_a_demo_replaces_the_recording_of_the_demo_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tmp_path / "conversation-20260101-000000.mcap"
    earlier.write_bytes(b"somebody else's")
    before = demo.recordings(tmp_path)
    (tmp_path / "conversation.mcap").write_bytes(b"that of the demo before")
    made = references.unpack("client-decides", tmp_path)
    made = made.rename(tmp_path / "conversation-20260101-000001.mcap")
    os.utime(made, (1, 1))  # the clock was set back meanwhile
    demo.leave_report(tmp_path, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "conversation-20260101-000000.mcap",
        "conversation.mcap",
        "report.html",
    ]
    assert list(recording.read(tmp_path / "conversation.mcap"))
    assert f"on one page: {tmp_path}/report.html" in capsys.readouterr().out
