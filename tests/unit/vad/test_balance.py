"""How loud the echo is, compared with the person, and when that hides the person."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from services.vad.__main__ import Vad
from services.vad.balance import HIDDEN_DB, Balance
from shared import config, messages
from shared.audio import pcm
from shared.stage import Stage
from tests.support.standin import StageStandIn

pytestmark = pytest.mark.unit


def frame(dbfs: float) -> bytes:
    tone = np.sin(2 * np.pi * np.arange(pcm.FRAME) / 24)  # 1 kHz
    samples = np.rint(tone * np.sqrt(2) * 32768 * 10 ** (dbfs / 20))
    return pcm.from_array(samples.astype(np.int16))


def listened(
    person_db: float, echo_db: float, *, removed_db: int = 30, frames: int = 150
) -> Balance:
    """Return a balance after so many frames of the person, and of the echo."""
    balance = Balance()
    for _ in range(frames):
        balance.add(frame(person_db), far=False, removed_db=0, speaking=True)
        balance.add(frame(-80), far=False, removed_db=0, speaking=False)
        clean = frame(echo_db - removed_db)
        balance.add(clean, far=True, removed_db=removed_db, speaking=False)
    return balance


@pytest.mark.parametrize("removed_db", [0, 20, 40])
def test_the_echo_is_compared_as_the_microphone_heard_it(removed_db: int) -> None:
    echo_db = listened(-40, -30, removed_db=removed_db).echo_db
    assert echo_db == pytest.approx(10, abs=0.5)


def test_a_few_words_are_needed() -> None:
    assert listened(-60, -20, frames=149).echo_db is None
    assert not listened(-60, -20, frames=149).is_hidden


@pytest.mark.parametrize(("beyond", "hidden"), [(-1, False), (1, True)])
def test_an_echo_that_is_much_louder_hides_the_person(beyond: float, hidden: bool) -> None:
    assert listened(-50, -50 + HIDDEN_DB + beyond).is_hidden is hidden


def test_without_an_echo_nobody_is_hidden() -> None:
    assert not listened(-50, -70, removed_db=0).is_hidden


def test_a_volume_that_is_turned_down_is_noticed() -> None:
    balance = listened(-50, -10)
    assert balance.is_hidden
    for _ in range(2500):
        balance.add(frame(-80), far=True, removed_db=30, speaking=False)
    assert not balance.is_hidden


class Rig:
    """The stage vad, given frames in which a person speaks or the assistant does."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, settings: config.Config | None = None
    ) -> None:
        monkeypatch.setattr("services.vad.__main__.Silero", Loud)
        self.bus = StageStandIn(settings)
        Vad(cast("Stage", self.bus))
        self._at = 0

    def well(self) -> bool:
        return self.bus.ok

    def seconds(self, count: int, dbfs: float, *, far: bool = False) -> None:
        for _ in range(count * 50):
            self._at += pcm.FRAME
            self.bus.deliver(
                messages.MicClean(
                    stream=1,
                    position=self._at,
                    captured_ns=10**9 + pcm.samples_to_ns(self._at),
                    overflows=0,
                    far=far,
                    removed_db=30 * far,
                    payload=frame(dbfs),
                )
            )
        self.bus.tick()


class Loud:
    """A detector that takes every sound louder than -66 dBFS for speech."""

    def __call__(self, window: bytes) -> float:
        return float(pcm.dbfs(window) > -66)

    def reset(self) -> None:
        pass


def test_the_stage_reports_it_once_in_its_health(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    for turn in range(4):
        rig.seconds(1, -50)
        rig.seconds(1, -80)
        assert rig.well() or turn > 2, "a few words are needed"
        rig.seconds(1, -20 - 30, far=True)
    assert not rig.well()
    assert rig.bus.state.endswith(" dB louder than the person")
    (warning,) = rig.bus.warnings
    assert "dB louder than the person" in warning
    assert "Lower the speaker's volume" in warning
    for _ in range(20):
        rig.seconds(2, -70 - 30, far=True)
    assert rig.well()
    assert rig.bus.state in ("someone speaks", "nobody speaks")


def test_with_half_duplex_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, config.Config(echo=config.Echo(half_duplex=True)))
    rig.seconds(4, -50)
    rig.seconds(4, -50, far=True)
    assert rig.bus.ok


def test_an_impossible_reduction_is_no_error() -> None:
    balance = Balance()
    balance.add(b"\x7f\x7f" * 480, far=True, removed_db=2**63 - 1, speaking=False)
    assert balance.echo_db is None
