"""A microphone that is the speaker's own monitor, and microphones that are none."""

from __future__ import annotations

import time
from typing import cast

import numpy as np
import pytest
import soxr

from harness import rooms
from harness.acoustics import responses
from services.echo.__main__ import Echo
from services.echo.aligner import Aligned
from services.echo.monitor_source import MonitorSourceCheck
from shared import messages
from shared.audio import pcm
from shared.stage import Stage
from tests.support.standin import StageStandIn

pytestmark = pytest.mark.unit

Sound = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
#: When the assistant speaks: 3 s of silence, 4 s of speech, 3 s of silence.
QUIET, SPEAKS = 3 * pcm.RATE, 4 * pcm.RATE


def far() -> Sound:
    speech = rooms.assistant(SPEAKS, 0) * responses.level(-20)
    return np.concatenate((np.zeros(QUIET), speech, np.zeros(QUIET)))


def room(sound: Sound, reverb_s: float) -> Sound:
    response = rooms.response(np.random.default_rng(1), reverb_s, 20)
    echo = responses.convolved(sound, response)
    return np.asarray(echo * (responses.level(-26) / responses.active_rms(echo)))


def late(sound: Sound, samples: int) -> Sound:
    return np.roll(sound, samples)


def resampled(sound: Sound) -> Sound:
    return np.asarray(soxr.resample(soxr.resample(sound, 24_000, 44_100), 44_100, 24_000))


def hiss(sound: Sound, dbfs: float) -> Sound:
    return np.asarray(np.random.default_rng(2).standard_normal(len(sound)) * responses.level(dbfs))


def silenced(sound: Sound, played: Sound) -> Sound:
    """Return what a driver leaves that silences the pauses."""
    frames = np.abs(played.reshape(-1, pcm.FRAME)).max(axis=1)
    kept = np.convolve(frames, np.ones(25))[: len(frames)] > 0
    return sound * np.repeat(kept, pcm.FRAME)


def whole(sound: Sound) -> bytes:
    return np.rint(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()


def found(microphone: Sound, played: Sound) -> list[bool]:
    """Return for each frame whether the microphone was taken for the speaker's monitor."""
    check = MonitorSourceCheck()
    near, out = whole(microphone), []
    for at in range(0, len(played), pcm.FRAME):
        payload = near[2 * at : 2 * (at + pcm.FRAME)]
        frame = messages.MicFrame(
            stream=1, position=at, captured_ns=1, overflows=0, payload=payload
        )
        check.add(Aligned(frame, played[at : at + pcm.FRAME].astype(np.float32), at == 0))
        out.append(check.found)
    return out


@pytest.mark.parametrize(
    "heard",
    [
        lambda played: played,
        lambda played: late(played, 777) * 0.1,
        lambda played: late(played, -1000),
        lambda played: late(played, 20_000),
        lambda played: late(resampled(played), 333) * 0.5,
    ],
    ids=["at once", "soft", "early", "late", "resampled"],
)
def test_a_monitor_is_found_within_three_seconds_of_a_reply(heard: object) -> None:
    played = far()
    result = found(heard(played), played)  # type: ignore[operator]
    assert not any(result[: QUIET // pcm.FRAME])
    assert all(result[QUIET // pcm.FRAME + 150 :]), "and it stays one in silence"


@pytest.mark.parametrize(
    "heard",
    [
        lambda played: room(played, 0.05),
        lambda played: room(played, 0.4),
        lambda played: silenced(room(played, 0.2), played),
        lambda played: silenced(
            late(played, 500) + 0.3 * late(played, 540) + 0.1 * late(played, 600), played
        ),
        lambda played: played + hiss(played, -80),
        lambda played: 0 * played,
        lambda played: silenced(np.roll(played, 3 * pcm.RATE // 2), np.roll(played, 100)),
    ],
    ids=["dry room", "room", "gated", "one reflection", "crosstalk", "muted", "another sound"],
)
def test_a_microphone_is_none(heard: object) -> None:
    played = far()
    assert not any(found(heard(played), played))  # type: ignore[operator]


def test_a_reply_at_once_is_no_proof_before_a_pause_has_shown_what_the_microphone_is() -> None:
    played = far()[QUIET:]
    assert not any(found(played + hiss(played, -80), played))
    result = found(played, played)
    assert not any(result[: SPEAKS // pcm.FRAME])
    assert result[-1]


def test_the_stage_reports_it_once_in_its_health(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = StageStandIn()
    Echo(cast("Stage", bus))
    now = 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    played = far()
    speaker, microphone = whole(played), whole(late(played, 700))
    for at in range(0, len(played), pcm.FRAME):
        here = slice(2 * at, 2 * (at + pcm.FRAME))
        began = now
        now += 20_000_000
        bus.deliver(
            messages.SpeakerFrame(stream=1, position=at, played_ns=began, payload=speaker[here])
        )
        bus.deliver(
            messages.MicFrame(
                stream=1, position=at, captured_ns=began, overflows=0, payload=microphone[here]
            )
        )
        if at % pcm.RATE == 0:
            bus.tick()
            assert bus.ok or at > QUIET
    assert not bus.ok
    assert bus.state == "the microphone is the speaker's own monitor"
    (warning,) = bus.warnings
    assert "capture.device" in warning
    said = np.random.default_rng(3).integers(-900, 900, pcm.FRAME).astype("<i2").tobytes()
    for at in range(len(played), len(played) + 2 * pcm.RATE, pcm.FRAME):
        now += 20_000_000
        bus.deliver(
            messages.MicFrame(stream=1, position=at, captured_ns=now, overflows=0, payload=said)
        )
    bus.tick()
    assert bus.ok
