"""The judgements of the doctor, and the report without what is private."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from commands.doctor import acoustics, machine, report, sound
from commands.doctor.findings import Finding, summary
from commands.doctor.server import judge_clock
from shared.audio import pcm
from shared.config import resolve

pytestmark = pytest.mark.unit

#: What the simulated speaker and microphone add, ms.
OUT_MS, IN_MS, ROOM_MS = 20, 15, 5
BLOCK = 240  # samples in a block of either device


def blocks(samples: int, *, begun_ms: float, shift_ms: float) -> list[acoustics.Block]:
    """Return the blocks of a device whose converter is ``shift_ms`` after the call."""
    return [
        acoustics.Block(
            at,
            round((begun_ms + shift_ms) * 1e6) + pcm.samples_to_ns(at),
            round(begun_ms * 1e6) + pcm.samples_to_ns(at),
        )
        for at in range(0, samples, BLOCK)
    ]


def simulate(gain: float, noise: float, began_ms: float = 130.0) -> acoustics.Measurement:
    """Return what is measured in a room. The microphone starts at 100 ms, the speaker later."""
    sound = acoustics.programme().astype(np.float64) * gain
    lag = pcm.ms_to_samples(round(began_ms + OUT_MS + ROOM_MS + IN_MS - 100))
    recorded = np.random.default_rng(1).normal(0, max(noise, 1e-9), len(sound) + lag + pcm.RATE)
    recorded[lag : lag + len(sound)] += sound
    samples = np.clip(np.round(recorded), -32768, 32767).astype(np.int16)
    return acoustics.measure(
        samples,
        blocks(len(samples), begun_ms=100, shift_ms=-IN_MS),
        blocks(len(sound), begun_ms=began_ms, shift_ms=OUT_MS),
    )


@pytest.mark.parametrize(("gain", "noise"), [(1.0, 3.0), (0.05, 30.0), (-0.3, 3.0), (0.02, 100.0)])
def test_the_tone_tells_the_round_trip_and_the_level_of_the_echo(gain: float, noise: float) -> None:
    heard = simulate(gain, noise)
    assert heard.round_trip_ms == pytest.approx(OUT_MS + ROOM_MS + IN_MS, abs=10)  # one block
    assert heard.echo_db == pytest.approx(20 * np.log10(abs(gain)), abs=1.5)
    assert heard.noise_dbfs == pytest.approx(20 * np.log10(noise / 32768), abs=1)


def test_headphones_return_no_tone() -> None:
    heard = simulate(0.0, 100.0)
    assert heard.round_trip_ms is None
    judged = {f.check: f.ok for f in acoustics.judge(heard, 35.0)}
    assert judged == {"noise": True, "clipping": True, "latency": None, "echo level": None}


def test_each_fault_of_the_sound_says_what_to_do() -> None:
    def faults(heard: acoustics.Measurement) -> dict[str, str]:
        return {f.check: f.text for f in acoustics.judge(heard, 35.0) if f.ok is False}

    assert "unmute" in faults(simulate(0.0, 0.0))["noise"]
    assert "fan" in faults(simulate(1.0, 2000.0))["noise"]
    assert "lower the microphone's level" in faults(simulate(9.0, 3.0))["clipping"]
    assert "Lower the speaker's volume" in faults(simulate(2.0, 3.0))["echo level"]
    slow = acoustics.Measurement(-60, 0, zero=False, round_trip_ms=400.0, echo_db=-20)
    assert "Bluetooth" in faults(slow)["latency"]
    assert faults(simulate(0.1, 3.0)) == {}


@pytest.mark.parametrize(
    ("version", "bounds", "good"),
    [
        ("27.3.0", ">=27.3.0,<28", True),
        ("28.0.0", ">=27.3.0,<28", False),
        ("27.2.9", "<28,>=27.3.0", False),
        ("1.10", ">=1.9,<2", True),
        ("2.0.0rc1", ">=2", True),
    ],
)
def test_a_version_is_within_its_bounds(version: str, bounds: str, good: bool) -> None:
    assert machine.fits(version, bounds) is good


def test_a_missing_package_is_a_fault() -> None:
    found = machine.versions(["no-such-thing>=1", "numpy<1", 'pytest>=99; extra == "dev"'])
    assert found.ok is False
    assert "no-such-thing is missing" in found.text
    assert "numpy" in found.text
    assert "pytest" not in found.text


def test_a_wrong_clock_is_a_fault() -> None:
    assert judge_clock(59).ok
    assert not judge_clock(-61).ok
    assert "4000 s ahead" in judge_clock(4000).text


def test_the_summary_names_the_faults() -> None:
    assert summary([Finding("key", True, ""), Finding("echo", None, "")]) == "No fault was found."
    assert summary([Finding("key", False, ""), Finding("DNS", False, "")]).startswith(
        "2 faults: key, DNS"
    )


PRIVATE = (
    "marker",
    "ann",
    "Ann",
    "annsbox",
    "10.1.2.3",
    "2001:db8::7",
    "secret",
    "corp.example",
    "pirate",
)


def test_a_report_has_nothing_private() -> None:
    environment = {
        "BARGEIN_LINK__URL": "wss://voice.corp.example:9000/v1/realtime",
        "BARGEIN_LINK__PROXY": "http://ann:secret@proxy.corp.example:3128",
        "BARGEIN_SESSION__INSTRUCTIONS": "Speak like a pirate.",
        "BARGEIN_SESSION__VOICE": "cedar",
        "BARGEIN_CAPTURE__DEVICE": "portaudio:Ann's AirPods",
        "BARGEIN_VAD__SILENCE_MS": "400",
    }
    loaded = resolve(None, environment, [])
    hosts = report.private_hosts(["wss://voice.corp.example:9000/x", "proxy.corp.example:3128"])
    redactor = report.Redactor(["marker-key-12345", "ann", "annsbox", "/home/ann", *hosts])
    findings = [
        Finding("key", False, "Incorrect API key: marker-key-12345 and sk-secretsecret"),
        Finding("DNS", True, "voice.corp.example has the address 10.1.2.3 and [2001:db8::7]"),
        Finding("bus", True, "/home/ann/bus on annsbox, /run/user/1000, 127.0.0.1, 12:30:45"),
        Finding("proxy", True, "http://ann:secret@proxy.corp.example:3128"),
        Finding("microphone", True, "portaudio 3 'Ann's AirPods' at 24000 Hz"),
    ]
    sections = {"settings": report.settings(loaded.config, loaded.sources)}
    text = report.report(findings, sections, redactor)
    assert [word for word in PRIVATE if word in text] == []
    for kept in (
        'session.voice = "cedar"',
        "vad.silence_ms = 400",
        "127.0.0.1",
        "AirPods",
        "12:30:45",
    ):
        assert kept in text
    assert 'capture.device = "portaudio:****"' in text


def test_azures_name_of_a_resource_is_private_and_the_service_is_not() -> None:
    hosts = report.private_hosts(["wss://mine.openai.azure.com/x", "wss://api.openai.com/v1"])
    assert report.Redactor(hosts).text("mine.openai.azure.com api.openai.com") == (
        "****.openai.azure.com api.openai.com"
    )


def test_a_file_in_the_place_of_a_speaker_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "speaker.wav"
    path.write_bytes(b"mine")
    settings = resolve(
        None, {"BARGEIN_PLAYBACK__DEVICE": f"file:{path}", "BARGEIN_CAPTURE__DEVICE": "null"}, []
    ).config
    found = sound.check(settings, {}, tone=True)
    assert {each.check: each.ok for each in found} == {
        "microphone": None,
        "speaker": None,
        "latency": None,
    }
    assert path.read_bytes() == b"mine"


def test_no_tone_gets_into_a_conversation() -> None:
    [found] = sound.check(resolve(None, {}, []).config, {"capture": 4242}, tone=True)
    assert found.ok is None
    assert "bargein stop" in found.text
